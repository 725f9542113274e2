"""The queue of prompts, the one that runs, and the history. Used from the event loop and from the worker thread."""

import copy
import heapq
import threading

MAXIMUM_HISTORY_SIZE = 10000
SENSITIVE_KEYS = ("auth_token_comfy_org", "api_key_comfy_org")


class PromptQueue:
    """Items are (number, prompt_id, prompt, extra_data, outputs); the lowest number runs first."""

    def __init__(self, notify):
        self.notify = notify
        self.mutex = threading.RLock()
        self.wake = threading.Condition(self.mutex)
        self.counter = 0
        self.pending = []
        self.running = {}
        self.history = {}
        self.flags = {}

    def put(self, item):
        with self.mutex:
            heapq.heappush(self.pending, item)
            self.notify()
            self.wake.notify()

    def wait(self, timeout):
        """True when there is something to run; False after the timeout or when a flag was set."""
        with self.wake:
            if not self.pending and not self.flags:
                self.wake.wait(timeout)
            return bool(self.pending)

    def take(self):
        """(item, ticket) of the first item, which counts as running from now on; None when it was deleted meanwhile."""
        with self.mutex:
            if not self.pending:
                return None
            item = heapq.heappop(self.pending)
            ticket = self.counter
            self.counter += 1
            self.running[ticket] = copy.deepcopy(item)
            self.notify()
            return item, ticket

    def done(self, ticket, outputs, meta, status):
        with self.mutex:
            item = self.running.pop(ticket)
            if len(self.history) > MAXIMUM_HISTORY_SIZE:
                self.history.pop(next(iter(self.history)))
            for key in SENSITIVE_KEYS:
                item[3].pop(key, None)
            self.history[item[1]] = {"prompt": item, "outputs": outputs, "status": copy.deepcopy(status), "meta": meta}
            self.notify()

    def current(self):
        """(running items, pending items)."""
        with self.mutex:
            return list(self.running.values()), list(self.pending)

    def remaining(self):
        with self.mutex:
            return len(self.pending) + len(self.running)

    def clear(self):
        with self.mutex:
            self.pending = []
            self.notify()

    def delete(self, prompt_id):
        """Drop the first pending item with this id."""
        with self.mutex:
            for index, item in enumerate(self.pending):
                if item[1] == prompt_id:
                    del self.pending[index]
                    heapq.heapify(self.pending)
                    self.notify()
                    return True
        return False

    def get_history(self, max_items=None, offset=-1):
        with self.mutex:
            items = list(self.history.items())
            if offset < 0:
                offset = max(0, len(items) - max_items) if max_items is not None else 0
            end = None if max_items is None else offset + max(1, max_items)
            return dict(items[offset:end])

    def get_history_of(self, prompt_id):
        with self.mutex:
            return {prompt_id: self.history[prompt_id]} if prompt_id in self.history else {}

    def clear_history(self):
        with self.mutex:
            self.history = {}

    def delete_history(self, prompt_id):
        with self.mutex:
            self.history.pop(prompt_id, None)

    def set_flag(self, name, value):
        with self.mutex:
            self.flags[name] = value
            self.wake.notify()

    def take_flags(self):
        with self.mutex:
            flags, self.flags = self.flags, {}
            return flags
