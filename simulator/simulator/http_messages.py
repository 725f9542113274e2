"""HTTP requests and responses: reading one from a stream within limits, and making the bytes of the other."""

import asyncio
import http
import json
import time
import urllib.parse

MAX_HEADER = 64 * 1024
IDLE_SECONDS = 75


class BadRequest(Exception):
    """The bytes are no request we accept; the connection ends after this answer."""

    def __init__(self, status):
        super().__init__(status)
        self.status = status


class Request:
    def __init__(self, method, target, version, headers):
        self.method, self.headers = method, headers
        self.path, _, query = target.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.body = b""
        connection = headers.get("connection", "").lower()
        self.keep_alive = "close" not in connection if version == "HTTP/1.1" else "keep-alive" in connection

    def json(self):
        return json.loads(self.body.decode("utf-8"))


class Response:
    """Without a body there is no content type either, unless one is given."""

    def __init__(self, body=b"", status=200, content_type=None, headers=None):
        self.body, self.status = body, status
        kind = content_type or ("application/octet-stream" if body else None)
        self.headers = {**({"Content-Type": kind} if kind else {}), **(headers or {})}

    def encode(self, keep_alive, with_body=True):
        headers = {"Content-Length": len(self.body), "Date": _date(), "Server": "ComfyUI-simulator", **self.headers}
        if not keep_alive:
            headers["Connection"] = "close"
        lines = ["HTTP/1.1 %d %s" % (self.status, reason(self.status))]
        lines += ["%s: %s" % item for item in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (self.body if with_body else b"")


def _date():
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())


def reason(status):
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def text(body, status=200):
    return Response(body.encode(), status, "text/plain; charset=utf-8")


def error_page(status):
    """The plain text a handler-less answer carries."""
    tail = "\n\nServer got itself in trouble" if status == 500 else ""
    return text(("%d %s" if status == 500 else "%d: %s") % (status, reason(status)) + tail, status)


def json_response(document, status=200):
    return Response(json.dumps(document).encode(), status, "application/json; charset=utf-8")


def _parse_head(head):
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.0", "HTTP/1.1"):
        raise BadRequest(400)
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(400)
        headers[name.lower()] = value.strip()
    return Request(parts[0], parts[1], parts[2], headers)


async def _read_chunked(reader, limit):
    body = bytearray()
    while True:
        try:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        except ValueError:
            raise BadRequest(400)
        if size < 0 or len(body) + size > limit:
            raise BadRequest(413)
        if size == 0:
            while await reader.readuntil(b"\r\n") != b"\r\n":
                pass
            return bytes(body)
        body += await reader.readexactly(size)
        await reader.readexactly(2)


async def read_request(reader, writer, max_body):
    """The next request of a connection; None when the client has nothing more to say."""
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), IDLE_SECONDS)
    except asyncio.LimitOverrunError:
        raise BadRequest(431)
    except asyncio.TimeoutError:
        return None
    request = _parse_head(head[:-4])
    if request.headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "chunked" in request.headers.get("transfer-encoding", "").lower():
        request.body = await _read_chunked(reader, max_body)
    else:
        length = request.headers.get("content-length", "0")
        if not length.isdigit():
            raise BadRequest(400)
        if int(length) > max_body:
            raise BadRequest(413)
        request.body = await reader.readexactly(int(length))
    return request
