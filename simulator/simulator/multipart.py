"""Reads multipart/form-data, the format of uploads."""

import re


class Part:
    def __init__(self, filename, content):
        self.filename, self.content = filename, content

    @property
    def text(self):
        return self.content.decode("utf-8", "replace")


def _parameter(header, name):
    match = re.search(r'[;\s]%s="((?:[^"\\]|\\.)*)"|[;\s]%s=([^;\s]+)' % (name, name), header)
    return None if match is None else match.group(1) if match.group(1) is not None else match.group(2)


def parse(content_type, body):
    """name -> Part; nothing of another type. Raises ValueError when the body is not what the type promises."""
    if not content_type.lower().startswith("multipart/form-data"):
        return {}
    boundary = _parameter(content_type, "boundary")
    if not boundary:
        raise ValueError("multipart/form-data without a boundary")
    parts = {}
    for piece in (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:]:
        if piece.startswith(b"--"):
            break
        head, separator, content = piece.partition(b"\r\n\r\n")
        name = _parameter(head.decode("utf-8", "replace"), "name")
        if not separator or name is None:
            raise ValueError("broken part")
        parts[name] = Part(_parameter(head.decode("utf-8", "replace"), "filename"), content)
    return parts
