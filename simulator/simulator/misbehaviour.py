"""The switches that make the simulator misbehave, from SIM_* variables and, while running, from a control file.

A switch `job_error` is set by the environment variable SIM_JOB_ERROR or by the key "job_error" in the JSON object that
SIM_CONTROL_FILE names. The file wins; a key that is absent falls back to the environment. It is read again when it changes.
"""

import json
import logging
import os
import threading

POLL_SECONDS = 0.05

# name -> (default, meaning); the README's table is made from the same words
SWITCHES = {
    "startup_ms": (3000, "duration of start-up"),
    "step_ms": (5, "duration of one sampler step"),
    "exit_at_startup": (None, "exit with this status early in start-up"),
    "hang_at_startup": (None, "never reach the bind; true or seconds"),
    "no_cuda": (False, "fail like torch without CUDA unless --cpu is given; 802: as without a fabric manager"),
    "fail_packs": ([], "names of packs whose import fails"),
    "ignore_sigint": (False, "ignore SIGINT (start only)"),
    "hang_event_loop": (None, "block HTTP and WebSocket; true or seconds"),
    "gil_stall_seconds": (0, "hold the interpreter lock for so long"),
    "http_500": (False, "answer 500; true or a list of path prefixes"),
    "http_delay_ms": (0, "wait before every HTTP answer"),
    "drop_websockets": (False, "close all WebSockets and refuse new ones"),
    "zombie_worker": (False, "the worker thread dies with a traceback; true: before the next job, \"after_job\": after it"),
    "silent_worker_death": (False, "the worker thread ends without a word inside the next job"),
    "crash_after_jobs": (None, "the process dies once so many jobs are done"),
    "crash_in_job": (None, "the process dies inside the n-th job"),
    "exit_code": (1, "status of such a crash"),
    "exit_signal": (None, "signal of such a crash, e.g. SIGSEGV, instead of a status"),
    "job_error": (None, "oom, cuda (sticky) or value"),
    "job_hang_seconds": (None, "the first node of each job blocks so long, deaf to /interrupt; true: for ever"),
    "leak_mb_per_job": (0, "memory kept after each job"),
    "log_lines_per_second": (0, "log flood; true: as fast as it can"),
    "spawn_child": (None, "leave a sleeping child process behind; true or seconds"),
}


def as_list(value):
    """A list from a list or from comma-separated text; an empty one from anything falsy or true."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, (list, tuple)) else []


def as_seconds(value):
    """Seconds as a float; None for true, which means without end."""
    return None if value is True else float(value)


def same(one, other):
    """Equal for a switch: true and 1 are not, since they mean 'without end' and 'one second'."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _from_environment(name):
    text = os.environ.get("SIM_" + name.upper())
    if text is None or text == "":
        return SWITCHES[name][0]
    try:
        return json.loads(text)
    except ValueError:
        return text


class Switches:
    """Current values, and a way to be told or to wait when they change."""

    def __init__(self):
        self._base = {name: _from_environment(name) for name in SWITCHES}
        self._values = dict(self._base)
        self._changed = threading.Condition()
        self._listeners = {}
        # several instances get one environment: $AGENT_INSTANCE tells their files apart
        self._control_file = os.path.expandvars(os.environ.get("SIM_CONTROL_FILE", ""))
        self._seen = None
        self._watcher = None
        self._read_control_file()

    def get(self, name):
        return self._values[name]

    def number(self, name):
        """A numeric switch; what is not a number counts as 0."""
        value = self._values[name]
        return value if isinstance(value, (int, float)) else 0

    def on_change(self, name, callback):
        """Call back with each new value, and at once when the switch is already set."""
        self._listeners.setdefault(name, []).append(callback)
        if self._values[name]:
            callback(self._values[name])

    def wait(self, seconds):
        """Sleep until the time is over or any switch changed."""
        with self._changed:
            self._changed.wait(seconds)

    def start_watching(self):
        if self._control_file and self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="control file", daemon=True)
            self._watcher.start()

    def _watch(self):
        pause = threading.Event()
        while not pause.wait(POLL_SECONDS):
            for name, value in self._read_control_file():
                for callback in self._listeners.get(name, []):
                    callback(value)

    def _read_control_file(self):
        """Take over the file when it is new; returns the switches that changed with their values."""
        if not self._control_file:
            return []
        try:
            status = os.stat(self._control_file)
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen == self._seen:
                return []
            with open(self._control_file, encoding="utf-8") as stream:
                overrides = json.loads(stream.read() or "{}")
        except FileNotFoundError:
            seen, overrides = None, {}
        except (OSError, ValueError) as error:
            # most likely half written: look again at the next tick
            logging.debug("[simulator] control file: %s", error)
            return []
        self._seen = seen
        for name in sorted(set(overrides) - set(SWITCHES)):
            logging.warning("[simulator] unknown switch in the control file: %s", name)
        values = {name: overrides.get(name, self._base[name]) for name in SWITCHES}
        changes = [(name, value) for name, value in values.items() if not same(value, self._values[name])]
        with self._changed:
            self._values = values
            self._changed.notify_all()
        return changes
