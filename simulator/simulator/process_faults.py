"""Faults of the whole process: blocked event loop, held interpreter lock, crash, log flood, child left behind."""

import ctypes
import logging
import os
import signal
import subprocess
import threading
import time

from .misbehaviour import as_seconds, same

FLOOD_BATCHES_PER_SECOND = 20
FLOOD_LINES = b"[simulator] flood: the quick brown fox jumps over the lazy dog\n" * 64


def die(switches):
    """End the process by signal or by status, without any clean-up. Answers on their way out still get through."""
    time.sleep(0.05)
    name = switches.get("exit_signal")
    if name:
        number = getattr(signal, str(name)) if str(name).startswith("SIG") else int(name)
        os.kill(os.getpid(), number)
        time.sleep(1)
    os._exit(int(switches.number("exit_code")))


def block_until_released(switches, name, started_with):
    """Sleep like a call into a driver does: for the asked time, or until the switch changes; SIGINT waits until the end."""
    seconds = as_seconds(started_with)
    end = None if seconds is None else time.monotonic() + seconds
    interrupted = False
    while same(switches.get(name), started_with) and (end is None or time.monotonic() < end):
        try:
            switches.wait(1.0 if end is None else min(1.0, max(0.0, end - time.monotonic())))
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        raise KeyboardInterrupt


def hold_interpreter_lock(seconds):
    """Sleep inside a C call that does not give the lock away, as a badly written extension does."""
    library = ctypes.PyDLL(None)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        left = end - time.monotonic()
        if left >= 1:
            library.sleep(int(left))
        else:
            library.usleep(max(1, int(left * 1e6)))


class ProcessFaults:
    """Connects the switches that act on the whole process, once the server is there."""

    def __init__(self, switches, loop):
        self.switches = switches
        self.loop = loop
        self.flood = None
        self.child = None
        switches.on_change("hang_event_loop", self._on_hang)
        switches.on_change("gil_stall_seconds", self._on_stall)
        switches.on_change("log_lines_per_second", self._on_flood)
        switches.on_change("spawn_child", self._on_child)

    def _on_hang(self, value):
        if value:
            self.loop.call_soon_threadsafe(block_until_released, self.switches, "hang_event_loop", value)

    def _on_stall(self, value):
        if value:
            threading.Thread(target=hold_interpreter_lock, args=(float(value),), daemon=True).start()

    def _on_flood(self, value):
        if value and (self.flood is None or not self.flood.is_alive()):
            self.flood = threading.Thread(target=self._write_flood, name="log flood", daemon=True)
            self.flood.start()

    def _write_flood(self):
        number, owed = 0, 0.0
        # true: as fast as the stream takes them, as a pack does that logs within a loop
        while self.switches.get("log_lines_per_second") is True:
            os.write(2, FLOOD_LINES)
        while self.switches.number("log_lines_per_second"):
            owed += self.switches.number("log_lines_per_second") / FLOOD_BATCHES_PER_SECOND
            while owed >= 1:
                number, owed = number + 1, owed - 1
                logging.info("[simulator] flood line %d: the quick brown fox jumps over the lazy dog", number)
            time.sleep(1 / FLOOD_BATCHES_PER_SECOND)

    def _on_child(self, value):
        if value and self.child is None:
            seconds = as_seconds(value) or 3600
            self.child = subprocess.Popen(["sleep", str(int(seconds))])
            self.child.returncode = 0  # nobody will wait for it: silences the warning at exit
            logging.info("[simulator] started child process %d", self.child.pid)
