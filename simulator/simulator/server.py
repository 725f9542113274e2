"""The prompt server: who is connected, who gets which message, and how prompts enter the queue."""

import json
import logging
import uuid

from . import logs
from . import personality
from . import websocket
from .http_messages import error_page
from .prompt_queue import PromptQueue
from .validation import validate_prompt

SERVER_FEATURES = {"supports_preview_metadata": True}


class PromptServer:
    def __init__(self, loop, switches, arguments):
        self.loop, self.switches = loop, switches
        self.max_upload_size = round(arguments.max_upload_size * 1024 * 1024)
        self.queue = PromptQueue(self.queue_updated)
        self.sockets = {}
        self.log_subscribers = set()
        self.number = 0
        # Of the running prompt; written by the worker thread.
        self.client_id = None
        self.last_node_id = None
        logs.subscriber = self._on_log_entry
        switches.on_change("drop_websockets", self._on_drop)

    # Messages ---------------------------------------------------------------------------------------------

    def send(self, event, data, sid=None):
        """To one socket, or to all when sid is None. Only from the event loop."""
        targets = list(self.sockets.values()) if sid is None else [self.sockets[sid]] if sid in self.sockets else []
        for socket in targets:
            socket.send_json({"type": event, "data": data})

    def send_sync(self, event, data, sid=None):
        """The same from any thread."""
        self.loop.call_soon_threadsafe(self.send, event, data, sid)

    def queue_info(self):
        return {"exec_info": {"queue_remaining": self.queue.remaining()}}

    def queue_updated(self):
        self.send_sync("status", {"status": self.queue_info()})

    def features(self):
        return {**SERVER_FEATURES, "max_upload_size": self.max_upload_size}

    def _on_log_entry(self, entry):
        for sid in list(self.log_subscribers):
            if sid in self.sockets:
                self.send_sync("logs", {"entries": [entry], "size": None}, sid)
            else:
                self.log_subscribers.discard(sid)

    # Prompts ----------------------------------------------------------------------------------------------

    def next_number(self, front=False):
        number = -self.number if front else self.number
        self.number += 1
        return number

    def enqueue(self, number, prompt_id, prompt, extra_data, outputs):
        self.queue.put((number, prompt_id, prompt, extra_data, outputs))

    # WebSocket --------------------------------------------------------------------------------------------

    def _on_drop(self, value):
        if value:
            self.loop.call_soon_threadsafe(lambda: [socket.abort() for socket in list(self.sockets.values())])

    async def on_websocket(self, request, reader, writer):
        """Serve one WebSocket connection until it ends."""
        answer = websocket.handshake(request.headers)
        if answer is None or self.switches.get("drop_websockets"):
            writer.write(error_page(400 if answer is None else 503).encode(False))
            await writer.drain()
            return
        writer.write(answer)
        socket = websocket.WebSocket(reader, writer)
        sid = "" if personality.FORK_PROTOCOL else request.query.get("clientId", "")
        sid = sid or uuid.uuid4().hex
        self.sockets[sid] = socket
        if personality.FORK_PROTOCOL:
            socket.send_json({"type": "client_id", "data": {"client_id": sid}})
        self.send("status", {"status": self.queue_info(), "sid": sid}, sid)
        if self.client_id == sid and self.last_node_id is not None:
            self.send("executing", {"node": self.last_node_id}, sid)
        first = True
        try:
            async for message in socket.messages():
                if isinstance(message, str):
                    self._on_message(message, sid, first)
                first = False
        finally:
            # a later connection with the same id has taken this one's place
            if self.sockets.get(sid) is socket:
                del self.sockets[sid]

    def _on_message(self, text, sid, first):
        try:
            message = json.loads(text)
            if personality.FORK_PROTOCOL:
                self._on_fork_message(message, sid)
            elif personality.IS_MODERN and first and message.get("type") == "feature_flags":
                self.send("feature_flags", self.features(), sid)
        except Exception as error:
            logging.error("Error handling websocket message: %s", error)

    def _on_fork_message(self, message, sid):
        """The fork's additions: ping, and prompts over the socket."""
        if message.get("type") == "ping":
            self.sockets[sid].send_json({"type": "pong"})
        elif message.get("type") == "prompt" and "prompt" in message.get("data", {}):
            data = message["data"]
            verdict = validate_prompt(data["prompt"])
            if verdict.error:
                self.send("error", {"error": verdict.error, "node_errors": verdict.node_errors}, sid)
                return
            extra_data = {**data.get("extra_data", {}), "client_id": sid}
            number, prompt_id = self.next_number(), str(uuid.uuid4())
            self.enqueue(number, prompt_id, data["prompt"], extra_data, verdict.outputs)
            self.send("prompt_queued", {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}, sid)
