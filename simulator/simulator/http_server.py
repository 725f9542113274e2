"""The HTTP server: connections, the guard against foreign origins, routing and the switches that make it misbehave."""

import asyncio
import ipaddress
import logging
import urllib.parse

from .http_messages import MAX_HEADER, BadRequest, Response, error_page, read_request
from .misbehaviour import as_list


def _is_loopback(host):
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def foreign_origin(headers):
    """A browser page of another host talks to a loopback address: ComfyUI refuses that with 403. (host, origin) or None."""
    host, origin = headers.get("host"), headers.get("origin")
    if not host or not origin:
        return None
    asked, asking = urllib.parse.urlsplit("//" + host.lower()), urllib.parse.urlsplit(origin.lower())
    try:
        ports = asked.port, asking.port
    except ValueError:
        return host, origin
    if not _is_loopback(asked.hostname) or not asking.hostname:
        return None
    # ports count only when both sides name one
    pair = (asked.netloc, asking.netloc) if None not in ports else (asked.hostname, asking.hostname)
    return None if pair[0] == pair[1] else pair


class HttpServer:
    """Routes are added by method and pattern; "{name}" in a pattern stands for one path segment."""

    def __init__(self, arguments, switches):
        self.switches = switches
        self.cors_origin = arguments.enable_cors_header
        self.max_body = round(arguments.max_upload_size * 1024 * 1024)
        self.routes = []
        self.on_websocket = None

    def add(self, method, pattern, handler):
        self.routes.append((method, pattern.split("/")[1:], handler))

    async def listen(self, host, port, tls):
        return await asyncio.start_server(self._serve, host, port, limit=MAX_HEADER, ssl=tls)

    async def _serve(self, reader, writer):
        """All requests of one connection."""
        try:
            while True:
                try:
                    request = await read_request(reader, writer, self.max_body)
                except BadRequest as error:
                    writer.write(error_page(error.status).encode(False))
                    await writer.drain()
                    return
                if request is None:
                    return
                if request.path in ("/ws", "/api/ws") and request.method == "GET" and not self._guard(request):
                    await self.on_websocket(request, reader, writer)
                    return
                response = await self._answer(request, writer)
                writer.write(response.encode(request.keep_alive, request.method != "HEAD"))
                await writer.drain()
                if not request.keep_alive:
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _guard(self, request):
        """The answer that ends a request before it reaches its handler, or None."""
        faulty = self.switches.get("http_500")
        if faulty is True or any(request.path.startswith(prefix) for prefix in as_list(faulty)):
            return error_page(500)
        foreign = foreign_origin(request.headers) if self.cors_origin is None else None
        if foreign:
            logging.warning("WARNING: request with non matching host and origin %s != %s, returning 403", *foreign)
            return Response(status=403)
        return Response() if request.method == "OPTIONS" else None

    async def _answer(self, request, writer):
        delay = self.switches.number("http_delay_ms")
        if delay:
            await asyncio.sleep(delay / 1000)
        response = self._guard(request)
        if response is None:
            try:
                response = self._route(request)
            except Exception:
                logging.exception("Error handling request from %s", (writer.get_extra_info("peername") or "?")[0])
                response = error_page(500)
        if response.status == 500:
            # after an exception the connection is not used again
            request.keep_alive = False
        elif self.cors_origin and response.status != 405:
            response.headers["Access-Control-Allow-Origin"] = self.cors_origin
            response.headers["Access-Control-Allow-Methods"] = "POST, GET, DELETE, PUT, OPTIONS"
            response.headers["Access-Control-Allow-Headers"] = "Content-Type, Authorization"
            response.headers["Access-Control-Allow-Credentials"] = "true"
        return response

    def _route(self, request):
        """Every route also answers below /api, except the internal ones."""
        path = request.path
        if path.startswith("/api/") and not path.startswith("/api/internal"):
            path = path[4:]
        segments = path.split("/")[1:]
        method = "GET" if request.method == "HEAD" else request.method
        allowed = {"GET", "HEAD"}
        for route_method, pattern, handler in self.routes:
            values = self._match(pattern, segments) if len(pattern) == len(segments) else None
            if values is not None:
                if route_method == method:
                    return handler(request, *values)
                allowed.add(route_method)
        if method == "GET":
            # where the files of the graph editor would be
            return Response(status=404, content_type="application/octet-stream")
        response = error_page(405)
        response.headers["Allow"] = ",".join(sorted(allowed))
        return response

    @staticmethod
    def _match(pattern, segments):
        values = []
        for wanted, given in zip(pattern, segments):
            if wanted.startswith("{"):
                values.append(urllib.parse.unquote(given))
            elif wanted != given:
                return None
        return values
