"""Runs one prompt: order of the nodes, cache, messages, and what happens when a node fails."""

import inspect
import logging
import sys
import time
import traceback

from . import personality
from . import processing
from .devices import OutOfMemoryError
from .node_classes import NODE_CLASS_MAPPINGS, input_info, is_output_node
from .progress_state import ProgressState
from .result_cache import Entry, ResultCache, is_link
from .validation import full_type_name

OOM_TIP = "(newer versions add advice about memory here)"


def _plain(value):
    return value if value is None or isinstance(value, (int, float, bool, str)) else str(value)


class Outcome:
    """What goes to the history."""

    def __init__(self):
        self.success = True
        self.messages = []
        self.outputs = {}
        self.meta = {}

    def status(self):
        return {"status_str": "success" if self.success else "error", "completed": self.success, "messages": self.messages}


class Executor:
    """Lives in the worker thread; keeps the cache and the node objects from one prompt to the next."""

    def __init__(self, server, faults, cache_size=0, no_cache=False):
        self.server, self.faults = server, faults
        self.cache_size, self.no_cache = cache_size, no_cache
        self.reset()

    def reset(self):
        """Forget everything (POST /free with free_memory)."""
        self.cache = ResultCache(self.cache_size, self.no_cache)
        self.objects = {}

    def execute(self, prompt, prompt_id, extra_data, wanted_outputs):
        processing.interrupt_processing(False)
        self.server.client_id = extra_data.get("client_id")
        job = _Job(self, prompt, prompt_id, extra_data)
        try:
            job.run(wanted_outputs)
        finally:
            processing.progress_hook = None
        self.server.last_node_id = None
        return job.outcome


class _Job:
    """One run of one prompt."""

    def __init__(self, executor, prompt, prompt_id, extra_data):
        self.executor, self.server, self.cache = executor, executor.server, executor.cache
        self.prompt, self.prompt_id, self.extra_data = prompt, prompt_id, extra_data
        self.outcome = Outcome()
        self.executed = []
        self.progress = ProgressState(self.server, prompt_id)
        self.node_id = None

    def message(self, event, data, broadcast=False):
        """Send a message and note it in the history; without a client only some are sent, to everybody."""
        data = {**data, "timestamp": int(time.time() * 1000)}
        self.outcome.messages.append((event, data))
        if self.server.client_id is not None or broadcast:
            self.server.send_sync(event, data, self.server.client_id)

    def tell_client(self, event, data):
        if self.server.client_id is not None:
            self.server.send_sync(event, data, self.server.client_id)

    def run(self, wanted_outputs):
        self.message("execution_start", {"prompt_id": self.prompt_id})
        self.cache.begin(self.prompt)
        cached = self.cache.cached_nodes()
        self.message("execution_cached", {"nodes": cached, "prompt_id": self.prompt_id})
        self.executor.objects = {key: value for key, value in self.executor.objects.items() if key[0] in self.prompt}
        processing.progress_hook = self._on_progress
        total = max(1, len(self.prompt) - len(cached))
        for number, node_id in enumerate(self._order(wanted_outputs), 1):
            if personality.FORK_PROTOCOL:
                self._message_node_executing(node_id, number, total)
            if not self._run_node(node_id):
                self.outcome.success = False
                break
        else:
            self.message("execution_success", {"prompt_id": self.prompt_id})
        for node_id in self.prompt:
            entry = self.cache.get(node_id)
            if entry is not None and entry.ui is not None:
                self.outcome.outputs[node_id], self.outcome.meta[node_id] = entry.ui, entry.meta

    def _order(self, wanted_outputs):
        """Output nodes and what they need, needed ones first; cached nodes that are only needed are left out."""
        needs = {}
        waiting = list(wanted_outputs)
        while waiting:
            node_id = waiting.pop()
            if node_id not in needs:
                links = [value[0] for value in self.prompt[node_id]["inputs"].values() if is_link(value)]
                needs[node_id] = {source for source in links if self.cache.get(source) is None}
                waiting += sorted(needs[node_id], reverse=True)
        done = set()
        while needs:
            ready = [node_id for node_id in needs if not needs[node_id] - done]
            first = next((node_id for node_id in ready if is_output_node(self._class_of(node_id))), ready[0])
            del needs[first]
            done.add(first)
            yield first

    def _class_of(self, node_id):
        return NODE_CLASS_MAPPINGS[self.prompt[node_id]["class_type"]]

    def _message_node_executing(self, node_id, number, total):
        progress = {"current": number, "total": total, "percentage": int(number / total * 100)}
        data = {"node": node_id, "prompt_id": self.prompt_id, "class_type": self.prompt[node_id]["class_type"], "progress": progress}
        self.message("node_executing", data)

    def _on_progress(self, value, maximum):
        self.progress.update(self.node_id, value, maximum)
        data = {"value": value, "max": maximum, "prompt_id": self.prompt_id, "node": self.node_id}
        self.server.send_sync("progress", data, self.server.client_id)

    def _run_node(self, node_id):
        """True when the node ran or was cached."""
        about = {"node": node_id, "display_node": node_id, "prompt_id": self.prompt_id}
        entry = self.cache.get(node_id)
        if entry is not None:
            self.tell_client("executed", {**about, "output": entry.ui})
            self.progress.finish(node_id)
            return True
        self.node_id = self.server.last_node_id = node_id
        values = {}
        try:
            self.progress.start(node_id)
            values = self._inputs_of(node_id)
            self.tell_client("executing", dict(about))
            entry = self._call(node_id, values)
            if entry.ui is not None:
                self.tell_client("executed", {**about, "output": entry.ui})
            self.cache.set(node_id, entry)
        except processing.InterruptProcessingException:
            logging.info("Processing interrupted")
            self.message("execution_interrupted", self._failure(node_id), broadcast=True)
            return False
        except Exception as error:
            self._report_error(node_id, error, values)
            return False
        self.progress.finish(node_id)
        self.executed.append(node_id)
        return True

    def _inputs_of(self, node_id):
        """Constants, results of linked nodes and the hidden inputs a node class asked for."""
        node_class, values = self._class_of(node_id), {}
        declared = node_class.INPUT_TYPES()
        for name, value in self.prompt[node_id]["inputs"].items():
            if is_link(value):
                outputs = self.cache.get(value[0]).outputs
                values[name] = outputs[value[1]] if value[1] < len(outputs) else None
            elif input_info(node_class, name, declared)[1] is not None:
                values[name] = value
        hidden = {"PROMPT": self.prompt, "DYNPROMPT": self.prompt, "UNIQUE_ID": node_id}
        hidden["EXTRA_PNGINFO"] = self.extra_data.get("extra_pnginfo")
        for name, kind in declared.get("hidden", {}).items():
            if kind in hidden:
                values[name] = hidden[kind]
        return values

    def _call(self, node_id, values):
        """Make or find the node's object and call its function."""
        node_class, objects = self._class_of(node_id), self.executor.objects
        key = (node_id, self.prompt[node_id]["class_type"])
        if key not in objects:
            objects[key] = node_class()
        processing.throw_if_interrupted()
        self.executor.faults.before_node(node_class, first=not self.executed)
        result = getattr(objects[key], node_class.FUNCTION)(**values)
        if inspect.isawaitable(result):
            raise TypeError("asynchronous nodes are not simulated")
        ui = None
        if isinstance(result, dict):
            ui, result = result.get("ui"), result.get("result", ())
        meta = {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}
        return Entry(tuple(result or ()), ui, meta if ui is not None else None)

    def _failure(self, node_id):
        class_type = self.prompt[node_id]["class_type"]
        return {"prompt_id": self.prompt_id, "node_id": node_id, "node_type": class_type, "executed": list(self.executed)}

    def _report_error(self, node_id, error, values):
        logging.error("!!! Exception during processing !!! %s", error)
        logging.error(traceback.format_exc())
        out_of_memory = isinstance(error, OutOfMemoryError)
        if out_of_memory:
            logging.error("Got an OOM, unloading all loaded models.")
            processing.device.unload_all()
        text = "%s\n%s" % (error, OOM_TIP if out_of_memory else "") if personality.IS_MODERN else str(error)
        details = {
            "exception_message": text,
            "exception_type": full_type_name(type(error)),
            "traceback": traceback.format_tb(sys.exc_info()[2]),
            "current_inputs": {name: [_plain(value)] for name, value in values.items()},
            "current_outputs": list(self.prompt),
        }
        self.message("execution_error", {**self._failure(node_id), **details})
