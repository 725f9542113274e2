"""The server side of a WebSocket connection (RFC 6455): handshake, fragments, ping and pong, close."""

import asyncio
import base64
import hashlib
import json
import struct

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MAX_MESSAGE = 4 * 1024 * 1024
MAX_UNSENT = 16 * 1024 * 1024
NORMAL, PROTOCOL_ERROR, BAD_DATA, TOO_BIG = 1000, 1002, 1007, 1009


class ProtocolError(Exception):
    """The peer broke the protocol; code is what the close frame says."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


def handshake(headers):
    """The bytes that accept an upgrade, or None when the request is not a proper one."""
    key = headers.get("sec-websocket-key", "")
    tokens = [token.strip().lower() for token in headers.get("connection", "").split(",")]
    if headers.get("upgrade", "").lower() != "websocket" or "upgrade" not in tokens or not key:
        return None
    if headers.get("sec-websocket-version") != "13":
        return None
    accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: upgrade", "Sec-WebSocket-Accept: " + accept]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _unmask(data, mask):
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


class WebSocket:
    """One connection. Sending never waits: a peer that does not read is cut off once too much is waiting for it."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.closed = False

    def send_json(self, document):
        self._send_frame(TEXT, json.dumps(document).encode())

    def _send_frame(self, opcode, payload):
        if self.closed:
            return
        size = len(payload)
        if size < 126:
            head = struct.pack(">BB", 0x80 | opcode, size)
        elif size < 65536:
            head = struct.pack(">BBH", 0x80 | opcode, 126, size)
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 127, size)
        self.writer.write(head + payload)
        if self.writer.transport.get_write_buffer_size() > MAX_UNSENT:
            self.abort()

    def close(self, code=NORMAL):
        """Send a close frame once and hang up after it."""
        if not self.closed:
            self._send_frame(CLOSE, struct.pack(">H", code))
            self.closed = True
            self.writer.close()

    def abort(self):
        """Hang up without a close frame."""
        self.closed = True
        self.writer.transport.abort()

    async def _read_frame(self):
        """(final, opcode, payload)."""
        first, second = await self.reader.readexactly(2)
        if first & 0x70 or not second & 0x80:
            raise ProtocolError(PROTOCOL_ERROR)  # reserved bits, or a client frame without a mask
        final, opcode, size = bool(first & 0x80), first & 0x0F, second & 0x7F
        if opcode >= CLOSE and (size > 125 or not final):
            raise ProtocolError(PROTOCOL_ERROR)
        if size == 126:
            (size,) = struct.unpack(">H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", await self.reader.readexactly(8))
        if size > MAX_MESSAGE:
            raise ProtocolError(TOO_BIG)
        mask = await self.reader.readexactly(4)
        return final, opcode, _unmask(await self.reader.readexactly(size), mask)

    async def _read_message(self):
        """The next text or binary message; None when the peer closes. Control frames between fragments are answered."""
        kind, parts = None, []
        while True:
            final, opcode, payload = await self._read_frame()
            if opcode == PING:
                self._send_frame(PONG, payload)
            elif opcode == CLOSE:
                self.close(struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else NORMAL)
                return None
            elif opcode in (TEXT, BINARY, CONTINUATION):
                if (opcode == CONTINUATION) != (kind is not None):
                    raise ProtocolError(PROTOCOL_ERROR)
                kind = kind or opcode
                parts.append(payload)
                if sum(map(len, parts)) > MAX_MESSAGE:
                    raise ProtocolError(TOO_BIG)
                if final:
                    data = b"".join(parts)
                    return data.decode() if kind == TEXT else data
            elif opcode != PONG:
                raise ProtocolError(PROTOCOL_ERROR)

    async def messages(self):
        """All messages until the connection ends, however it ends."""
        try:
            while not self.closed:
                message = await self._read_message()
                if message is None:
                    return
                yield message
        except ProtocolError as error:
            self.close(error.code)
        except UnicodeDecodeError:
            self.close(BAD_DATA)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed = True
