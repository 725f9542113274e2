"""The `progress_state` messages newer versions send: all nodes of the running prompt that have been started."""

from . import personality


class ProgressState:
    def __init__(self, server, prompt_id):
        self.server, self.prompt_id = server, prompt_id
        self.nodes = {}

    def start(self, node_id):
        self._set(node_id, 0.0, 1.0, "running")

    def update(self, node_id, value, maximum):
        self._set(node_id, value, maximum, "running")

    def finish(self, node_id):
        maximum = self.nodes[node_id]["max"] if node_id in self.nodes else 1.0
        self._set(node_id, maximum, maximum, "finished")

    def _set(self, node_id, value, maximum, state):
        if not personality.IS_MODERN:
            return
        ids = {"node_id": node_id, "display_node_id": node_id, "parent_node_id": None, "real_node_id": node_id}
        self.nodes[node_id] = {"value": value, "max": maximum, "state": state, "prompt_id": self.prompt_id, **ids}
        data = {"prompt_id": self.prompt_id, "nodes": dict(self.nodes)}
        self.server.send_sync("progress_state", data, self.server.client_id)
