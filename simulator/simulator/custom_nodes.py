"""Node packs: prestartup scripts, import, and the two blocks of times in the log."""

import importlib.util
import logging
import os
import sys
import time
import traceback

from . import folder_paths
from . import node_classes
from . import personality


def offer_core_modules():
    """Let packs `import folder_paths` and `import nodes` as they do in ComfyUI."""
    sys.modules.setdefault("folder_paths", folder_paths)
    sys.modules.setdefault("nodes", node_classes)


def _is_skipped(name, arguments):
    return arguments.disable_all_custom_nodes and name not in arguments.whitelist_custom_nodes


def _log_times(title, failed, times):
    logging.info("\n%s times for custom nodes:", title)
    for seconds, path, success in sorted(times):
        logging.info("%6.1f seconds%s: %s", seconds, "" if success else " (%s FAILED)" % failed, path)
    logging.info("")


def _run_script(path):
    try:
        spec = importlib.util.spec_from_file_location(os.path.splitext(path)[0], path)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        return True
    except Exception as error:
        logging.error("Failed to execute startup-script: %s / %s", path, error)
        return False


def run_prestartup_scripts(arguments):
    """Run every pack's prestartup_script.py. As in ComfyUI, only the last folder's times are printed."""
    if arguments.disable_all_custom_nodes and not arguments.whitelist_custom_nodes:
        return
    times = []
    for folder in folder_paths.get_folder_paths("custom_nodes"):
        times = []
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            script = os.path.join(path, "prestartup_script.py")
            if path.endswith(".disabled") or not os.path.isfile(script) or _is_skipped(name, arguments):
                continue
            start = time.perf_counter()
            success = _run_script(script)
            times.append((time.perf_counter() - start, path, success))
    if times:
        _log_times("Prestartup", "PRESTARTUP", times)


def _import_pack(path):
    if os.path.isfile(path):
        name, source = os.path.splitext(path)[0], path
    else:
        name, source = os.path.basename(path), os.path.join(path, "__init__.py")
    spec = importlib.util.spec_from_file_location(name, source)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _load_pack(path, core_names, failing):
    """Import one pack and take its node classes; core names stay as they are. SystemExit passes through."""
    pack = os.path.splitext(os.path.basename(path))[0] if os.path.isfile(path) else os.path.basename(path)
    try:
        if pack in failing:
            raise ModuleNotFoundError("No module named 'simulated_missing_module'")
        module = _import_pack(path)
        mappings = getattr(module, "NODE_CLASS_MAPPINGS", None)
        if mappings is None:
            need = " or NODES_LIST (need one)" if personality.IS_MODERN else ""
            logging.warning("Skip %s module for custom nodes due to the lack of NODE_CLASS_MAPPINGS%s.", path, need)
            return False
        for name, node_class in mappings.items():
            if name not in core_names:
                node_class.RELATIVE_PYTHON_MODULE = "custom_nodes." + pack
                node_classes.NODE_CLASS_MAPPINGS[name] = node_class
        node_classes.NODE_DISPLAY_NAME_MAPPINGS.update(getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", None) or {})
        return True
    except Exception as error:
        logging.warning(traceback.format_exc())
        logging.warning("Cannot import %s module for custom nodes: %s", path, error)
        return False


def load_all(arguments, failing):
    """Import every pack of every custom_nodes folder, in the order the file system lists them."""
    if arguments.disable_all_custom_nodes and not arguments.whitelist_custom_nodes:
        logging.info("Skipping loading of custom nodes")
        return
    core_names = set(node_classes.NODE_CLASS_MAPPINGS)
    times = []
    for folder in folder_paths.get_folder_paths("custom_nodes"):
        for name in os.listdir(os.path.realpath(folder)):
            path = os.path.join(folder, name)
            if name == "__pycache__" or path.endswith(".disabled"):
                continue
            if os.path.isfile(path) and not path.endswith(".py"):
                continue
            if _is_skipped(name, arguments):
                logging.info("Skipping %s due to disable_all_custom_nodes and whitelist_custom_nodes", name)
                continue
            start = time.perf_counter()
            success = _load_pack(path, core_names, failing)
            times.append((time.perf_counter() - start, path, success))
    if times:
        _log_times("Import", "IMPORT", times)
