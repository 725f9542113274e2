"""Pictures of one colour: the only kind the simulator makes. Written as real PNG files."""

import struct
import zlib

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
OTHER_MAGICS = (b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM")


class UnidentifiedImageError(OSError):
    """Raised for files that are no pictures, under the name Pillow uses."""


UnidentifiedImageError.__module__ = "PIL"


class Image:
    """A batch of equal pictures in one colour; stands where ComfyUI passes a tensor of shape (batch, height, width, 3)."""

    def __init__(self, width, height, batch=1, color=0):
        self.width, self.height, self.batch, self.color = width, height, batch, color & 0xFFFFFF

    @property
    def shape(self):
        return (self.batch, self.height, self.width, 3)

    def __len__(self):
        return self.batch

    def changed(self, **fields):
        """A copy with some fields replaced."""
        known = {"width": self.width, "height": self.height, "batch": self.batch, "color": self.color}
        return Image(**{**known, **fields})

    def __repr__(self):
        return "Image(%d x %d x %d, #%06x)" % (self.batch, self.width, self.height, self.color)


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encode_png(image, texts=None, level=4):
    """PNG bytes of one picture; texts are stored as tEXt chunks, as ComfyUI stores the prompt."""
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 0)
    row = b"\0" + struct.pack(">I", image.color)[1:] * image.width
    packer = zlib.compressobj(level)
    packed = [packer.compress(row) for _ in range(image.height)]
    packed.append(packer.flush())
    parts = [PNG_MAGIC, _chunk(b"IHDR", header)]
    for key, text in (texts or {}).items():
        parts.append(_chunk(b"tEXt", key.encode("latin-1") + b"\0" + text.encode("latin-1", "replace")))
    parts += [_chunk(b"IDAT", b"".join(packed)), _chunk(b"IEND", b"")]
    return b"".join(parts)


def _png_chunks(data):
    position = len(PNG_MAGIC)
    while position + 8 <= len(data):
        (size,) = struct.unpack(">I", data[position : position + 4])
        yield data[position + 4 : position + 8], data[position + 8 : position + 8 + size]
        position += size + 12


def _first_color(data, depth, kind):
    """Colour of the top left pixel. In the first row every PNG filter leaves the first pixel as it is."""
    if depth != 8 or kind not in (0, 2, 4, 6):
        return 0x808080
    packed = b"".join(body for name, body in _png_chunks(data) if name == b"IDAT")
    start = zlib.decompressobj().decompress(packed, 4)
    if kind in (0, 4):
        return start[1] * 0x010101
    return int.from_bytes(start[1:4], "big")


def read_image(path):
    """The size and colour of a PNG; a grey square for other picture formats, which are not decoded."""
    with open(path, "rb") as stream:
        data = stream.read()
    if data.startswith(PNG_MAGIC) and data[12:16] == b"IHDR":
        width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
        try:
            return Image(width, height, 1, _first_color(data, depth, kind))
        except zlib.error as error:
            raise OSError("broken PNG file: %s" % error)
    if data.startswith(OTHER_MAGICS):
        return Image(64, 64, 1, 0x808080)
    raise UnidentifiedImageError("cannot identify image file %r" % path)
