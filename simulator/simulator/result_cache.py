"""Results of nodes kept between jobs, found again by what went into them."""

import collections
import hashlib
import json
import uuid

from .node_classes import NODE_CLASS_MAPPINGS, input_info


def is_link(value):
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], (int, float))


class Entry:
    """What a node returned: values per output slot, and what it shows to the user (with its meta record), or None."""

    def __init__(self, outputs, ui=None, meta=None):
        self.outputs, self.ui, self.meta = outputs, ui, meta


def signature_keys(prompt):
    """node id -> key made of the class, the constants, the state of the outside world and the keys of all ancestors."""
    keys = {}

    def key_of(node_id):
        if node_id in keys:
            return keys[node_id]
        if node_id not in prompt:
            return uuid.uuid4().hex
        node = prompt[node_id]
        keys[node_id] = uuid.uuid4().hex  # only stays when the graph has a cycle
        parts = [node["class_type"], _is_changed(node)]
        if "UNIQUE_ID" in NODE_CLASS_MAPPINGS[node["class_type"]].INPUT_TYPES().get("hidden", {}).values():
            parts.append(node_id)
        for name in sorted(node.get("inputs", {})):
            value = node["inputs"][name]
            parts.append((name, [key_of(value[0]), value[1]]) if is_link(value) else (name, {"constant": value}))
        keys[node_id] = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
        return keys[node_id]

    for node_id in prompt:
        key_of(node_id)
    return keys


def _is_changed(node):
    """The answer of the class's IS_CHANGED, if it has one; an exception or a NaN never equals an earlier answer."""
    node_class = NODE_CLASS_MAPPINGS[node["class_type"]]
    if not hasattr(node_class, "IS_CHANGED"):
        return False
    known = {name: value for name, value in node.get("inputs", {}).items() if input_info(node_class, name)[1] is not None}
    try:
        answer = node_class.IS_CHANGED(**{name: None if is_link(value) else value for name, value in known.items()})
    except Exception:
        answer = float("nan")
    return uuid.uuid4().hex if answer != answer else answer


class ResultCache:
    """Classic: keeps what the current prompt uses. LRU: keeps the last `size` entries besides. None: keeps nothing."""

    def __init__(self, size=0, disabled=False):
        self.size, self.disabled = size, disabled
        self.entries = collections.OrderedDict()
        self.keys = {}

    def begin(self, prompt):
        """Make the cache speak about this prompt and drop what it will not keep."""
        self.keys = signature_keys(prompt)
        used = set(self.keys.values())
        if self.disabled:
            self.entries.clear()
        elif not self.size:
            self.entries = collections.OrderedDict((key, entry) for key, entry in self.entries.items() if key in used)
        for key in [key for key in self.entries if key in used]:
            self.entries.move_to_end(key)
        while self.size and len(self.entries) > self.size and next(iter(self.entries)) not in used:
            self.entries.popitem(last=False)

    def get(self, node_id):
        return self.entries.get(self.keys.get(node_id))

    def set(self, node_id, entry):
        self.entries[self.keys[node_id]] = entry

    def cached_nodes(self):
        return [node_id for node_id, key in self.keys.items() if key in self.entries]
