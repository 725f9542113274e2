"""The registry of node classes and what /object_info tells about them. Node packs see this module as `nodes`."""

from . import node_images
from . import node_sampling
from . import personality
from .processing import interrupt_processing  # noqa: F401 - packs call nodes.interrupt_processing()

MAX_RESOLUTION = node_images.MAX_RESOLUTION

NODE_CLASS_MAPPINGS = {**node_images.CLASSES, **node_sampling.CLASSES}
NODE_DISPLAY_NAME_MAPPINGS = {**node_images.DISPLAY_NAMES, **node_sampling.DISPLAY_NAMES}

# In the real tree these come from the folder of extra core nodes.
EXTRA_MODULES = {"ImageBlur": "comfy_extras.nodes_post_processing"}
for _name, _module in EXTRA_MODULES.items():
    NODE_CLASS_MAPPINGS[_name].RELATIVE_PYTHON_MODULE = _module


def is_output_node(node_class):
    return getattr(node_class, "OUTPUT_NODE", False) is True


def input_info(node_class, name, inputs=None):
    """(type, category, options) of an input, all None when the class has no such input."""
    inputs = node_class.INPUT_TYPES() if inputs is None else inputs
    for category in ("required", "optional", "hidden"):
        if name in inputs.get(category, {}):
            declared = inputs[category][name]
            return declared[0], category, declared[1] if len(declared) > 1 else {}
    return None, None, None


def describe(name):
    """One entry of /object_info."""
    node_class = NODE_CLASS_MAPPINGS[name]
    inputs = node_class.INPUT_TYPES()
    outputs = node_class.RETURN_TYPES
    info = {
        "input": inputs,
        "input_order": {category: list(fields) for category, fields in inputs.items()},
        "output": outputs,
        "output_is_list": getattr(node_class, "OUTPUT_IS_LIST", [False] * len(outputs)),
        "output_name": getattr(node_class, "RETURN_NAMES", outputs),
        "name": name,
        "display_name": NODE_DISPLAY_NAME_MAPPINGS.get(name, name),
        "description": getattr(node_class, "DESCRIPTION", ""),
        "python_module": getattr(node_class, "RELATIVE_PYTHON_MODULE", "nodes"),
        "category": getattr(node_class, "CATEGORY", "sd"),
        "output_node": is_output_node(node_class),
    }
    if hasattr(node_class, "OUTPUT_TOOLTIPS"):
        info["output_tooltips"] = node_class.OUTPUT_TOOLTIPS
    for flag in ("DEPRECATED", "EXPERIMENTAL"):
        if getattr(node_class, flag, False):
            info[flag.lower()] = True
    if personality.IS_MODERN and name in EXTRA_MODULES:
        # these are written against the newer node interface, which spells everything out
        spelt_out = {"output_tooltips": [None] * len(outputs), "display_name": None}
        info.update(spelt_out, deprecated=False, experimental=False, api_node=False)
    return info
