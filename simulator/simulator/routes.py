"""The HTTP surface, except files."""

import json
import logging
import os
import shutil
import sys
import traceback
import uuid

from . import folder_paths
from . import logs
from . import node_classes
from . import personality
from . import processing
from .devices import memory_of_system
from .http_messages import Response, json_response
from .validation import no_prompt, validate_prompt

PAGE = b"<!doctype html><title>ComfyUI simulator</title><p>This is the ComfyUI simulator. It has no graph editor.</p>\n"


class Routes:
    """Handlers take the request and the values of the pattern's places."""

    def __init__(self, server):
        self.server, self.queue = server, server.queue

    def register(self, http):
        for method, pattern, handler in (
            ("GET", "/", self.get_root),
            ("GET", "/prompt", self.get_prompt),
            ("POST", "/prompt", self.post_prompt),
            ("GET", "/queue", self.get_queue),
            ("POST", "/queue", self.post_queue),
            ("GET", "/history", self.get_history),
            ("GET", "/history/{id}", self.get_history_of),
            ("POST", "/history", self.post_history),
            ("POST", "/interrupt", self.post_interrupt),
            ("POST", "/free", self.post_free),
            ("GET", "/system_stats", self.get_system_stats),
            ("GET", "/object_info", self.get_object_info),
            ("GET", "/object_info/{class}", self.get_object_info_of),
            ("GET", "/models", self.get_models),
            ("GET", "/models/{folder}", self.get_models_of),
            ("GET", "/embeddings", self.get_embeddings),
            ("GET", "/extensions", self.get_extensions),
            ("GET", "/internal/logs", self.get_logs),
            ("GET", "/internal/logs/raw", self.get_raw_logs),
            ("PATCH", "/internal/logs/subscribe", self.patch_log_subscription),
            ("GET", "/internal/folder_paths", self.get_folder_paths),
        ):
            http.add(method, pattern, handler)
        if personality.IS_MODERN:
            http.add("GET", "/features", lambda request: json_response(self.server.features()))
        http.on_websocket = self.server.on_websocket

    def get_root(self, request):
        return Response(PAGE, content_type="text/html", headers={"Cache-Control": "no-cache", "Pragma": "no-cache", "Expires": "0"})

    # Prompts and queue ------------------------------------------------------------------------------------

    def get_prompt(self, request):
        return json_response(self.server.queue_info())

    def post_prompt(self, request):
        logging.info("got prompt")
        body = request.json()
        front = "front" in body and bool(body["front"])
        number = float(body["number"]) if "number" in body else self.server.next_number(front)
        if "prompt" not in body:
            return json_response(no_prompt(), 400)
        prompt_id, targets = str(uuid.uuid4()), None
        if personality.IS_MODERN:
            prompt_id, targets = str(body.get("prompt_id", prompt_id)), body.get("partial_execution_targets")
        verdict = validate_prompt(body["prompt"], targets)
        if verdict.error:
            logging.warning("invalid prompt: %s", verdict.error)
            return json_response({"error": verdict.error, "node_errors": verdict.node_errors}, 400)
        extra_data = body.get("extra_data", {})
        if "client_id" in body:
            extra_data["client_id"] = body["client_id"]
        self.server.enqueue(number, prompt_id, body["prompt"], extra_data, verdict.outputs)
        return json_response({"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors})

    def get_queue(self, request):
        running, pending = self.queue.current()
        return json_response({"queue_running": running, "queue_pending": pending})

    def post_queue(self, request):
        body = request.json()
        if body.get("clear"):
            self.queue.clear()
        for prompt_id in body.get("delete", []):
            self.queue.delete(prompt_id)
        return Response()

    def get_history(self, request):
        limit = request.query.get("max_items")
        offset = request.query.get("offset", "-1") if personality.IS_MODERN else "-1"
        return json_response(self.queue.get_history(None if limit is None else int(limit), int(offset)))

    def get_history_of(self, request, prompt_id):
        return json_response(self.queue.get_history_of(prompt_id))

    def post_history(self, request):
        body = request.json()
        if body.get("clear"):
            self.queue.clear_history()
        for prompt_id in body.get("delete", []):
            self.queue.delete_history(prompt_id)
        return Response()

    def post_interrupt(self, request):
        """Only newer versions look at the body; the others always stop whatever runs."""
        try:
            prompt_id = request.json().get("prompt_id") if personality.IS_MODERN else None
        except json.JSONDecodeError:
            prompt_id = None
        if prompt_id and all(item[1] != prompt_id for item in self.queue.current()[0]):
            logging.info("Prompt %s is not currently running, skipping interrupt", prompt_id)
            return Response()
        if personality.IS_MODERN:
            logging.info("Interrupting prompt %s" % prompt_id if prompt_id else "Global interrupt (no prompt_id specified)")
        processing.interrupt_processing()
        return Response()

    def post_free(self, request):
        body = request.json()
        for flag in ("unload_models", "free_memory"):
            if body.get(flag, False):
                self.queue.set_flag(flag, body[flag])
        return Response()

    # What is here -----------------------------------------------------------------------------------------

    def get_system_stats(self, request):
        device = processing.device.describe()
        system = {"os": os.name, **memory_of_system(), "python_version": sys.version, "embedded_python": False, "argv": sys.argv}
        if personality.IS_MODERN:
            for name in ("required_frontend_version", "installed_templates_version", "required_templates_version"):
                system[name] = personality.FRONTEND_VERSION
        return json_response({"system": system, "devices": [device]})

    def get_object_info(self, request):
        found = {}
        for name in list(node_classes.NODE_CLASS_MAPPINGS):
            try:
                found[name] = node_classes.describe(name)
                json.dumps(found[name])
            except Exception:
                found.pop(name, None)
                logging.error("[ERROR] An error occurred while retrieving information for the '%s' node.", name)
                logging.error(traceback.format_exc())
        return json_response(found)

    def get_object_info_of(self, request, name):
        known = name in node_classes.NODE_CLASS_MAPPINGS
        return json_response({name: node_classes.describe(name)} if known else {})

    def get_models(self, request):
        return json_response(list(folder_paths.folder_names_and_paths))

    def get_models_of(self, request, folder):
        if folder not in folder_paths.folder_names_and_paths:
            return Response(status=404)
        return json_response(folder_paths.get_filename_list(folder))

    def get_embeddings(self, request):
        return json_response([os.path.splitext(name)[0] for name in folder_paths.get_filename_list("embeddings")])

    def get_extensions(self, request):
        return json_response([])

    # Internal ---------------------------------------------------------------------------------------------

    def get_logs(self, request):
        return json_response("".join(entry["t"] + " - " + entry["m"] for entry in list(logs.entries)))

    def get_raw_logs(self, request):
        columns, rows = shutil.get_terminal_size()
        return json_response({"entries": list(logs.entries), "size": {"cols": columns, "rows": rows}})

    def patch_log_subscription(self, request):
        body = request.json()
        (self.server.log_subscribers.add if body["enabled"] else self.server.log_subscribers.discard)(body["clientId"])
        return Response()

    def get_folder_paths(self, request):
        return json_response({name: paths for name, (paths, _) in folder_paths.folder_names_and_paths.items()})
