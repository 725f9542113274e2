"""Runs in every instance before ComfyUI does (PYTHONPATH, set by plan/instances/launch.ts) and tells the log one thing.

A node that calls sys.exit() ends ComfyUI's worker thread, and Python says nothing about it: HTTP goes on to answer and no job
ever ends. The agent reads the line that is written here. Nothing else is changed: a sitecustomize that this one hides is
run, and programs started by the instance do not get it.
"""

import os
import sys
import threading


def _forget_this_directory():
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or os.curdir) != here]
    rest = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and os.path.abspath(path) != here]
    if rest:
        os.environ["PYTHONPATH"] = os.pathsep.join(rest)
    else:
        os.environ.pop("PYTHONPATH", None)


def _run_the_hidden_one():
    import importlib.util
    from importlib.machinery import PathFinder

    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _watch_threads(before):
    def tell(args):
        if args.exc_type is not None and issubclass(args.exc_type, SystemExit) and args.thread is not None:
            try:
                sys.stderr.write("[agent] thread ended by SystemExit: %s\n" % args.thread.name)
                sys.stderr.flush()
            except Exception:
                pass
        before(args)

    return tell


def _watch_imports():
    """For a trial start that ended without a word (AGENT_WATCH_IMPORTS): says whose code runs when a node pack is imported.

    The last pack that began is the one that ended the process. One that closes the files of others is named too: the server
    fails long after it, so a file is kept open and looked at.
    """
    kept = os.open(os.devnull, os.O_RDONLY)
    within = os.sep + "custom_nodes" + os.sep
    state = {"pack": None, "told": False}

    def tell(text):
        try:
            os.write(2, ("[agent] " + text + "\n").encode("utf-8", "replace"))
        except OSError:
            pass

    def is_closed():
        try:
            os.fstat(kept)
            return False
        except OSError:
            return True

    def hook(event, args):
        if state["pack"] is not None and not state["told"] and is_closed():
            state["told"] = True
            tell("files closed by node pack: " + state["pack"])
        if event != "exec" or not args:
            return
        name = getattr(args[0], "co_filename", "")
        if not isinstance(name, str) or within not in name:
            return
        parts = name[name.rindex(within) + len(within) :].split(os.sep)
        if len(parts) == 2 and parts[1] in ("__init__.py", "prestartup_script.py"):
            state["pack"] = parts[0]
            tell("node pack begins: " + parts[0])

    sys.addaudithook(hook)


threading.excepthook = _watch_threads(threading.excepthook)
_forget_this_directory()
_run_the_hidden_one()
if os.environ.pop("AGENT_WATCH_IMPORTS", None) is not None:
    _watch_imports()
