"""The thread that runs prompts one after another, and the faults that belong to jobs."""

import gc
import logging
import threading
import time

from . import personality
from . import processing
from .devices import AcceleratorError, CUDA_ERROR, OOM_ERROR, OutOfMemoryError
from .misbehaviour import as_seconds
from .process_faults import block_until_released, die

IDLE_WAIT_SECONDS = 1000.0
MEGABYTE = 1024 * 1024


class JobFaults:
    """Asks the switches at the moments where real jobs go wrong."""

    def __init__(self, switches, device):
        self.switches, self.device = switches, device
        self.started = 0
        self.finished = 0
        self.leaked = []
        switches.on_change("crash_after_jobs", lambda _: self._crash_when_due())

    def before_take(self):
        if self.switches.get("zombie_worker") not in (False, None, "after_job"):
            raise AcceleratorError(CUDA_ERROR)

    def before_node(self, node_class, first):
        """Raises, blocks or kills as asked. Memory and context errors come from nodes that use the device, as in reality."""
        if first:
            self._before_first_node()
        error = self.switches.get("job_error")
        if first and error == "value":
            raise ValueError("simulated failure of a node")
        if getattr(node_class, "USES_DEVICE", False):
            if error == "cuda":
                self.device.poisoned = True
            self.device.check()
            if error == "oom":
                raise OutOfMemoryError(OOM_ERROR)

    def _before_first_node(self):
        self.started += 1
        if self.switches.get("silent_worker_death"):
            raise SystemExit(0)
        if self.switches.get("crash_in_job") and self.started >= self.switches.number("crash_in_job"):
            die(self.switches)
        hang = self.switches.get("job_hang_seconds")
        if hang:
            block_until_released(self.switches, "job_hang_seconds", hang)

    def after_job(self):
        self.finished += 1
        size = self.switches.number("leak_mb_per_job")
        if size:
            self.leaked.append(b"x" * int(size * MEGABYTE))
        self._crash_when_due()
        if self.switches.get("zombie_worker") == "after_job":
            raise AcceleratorError(CUDA_ERROR)

    def _crash_when_due(self):
        limit = self.switches.get("crash_after_jobs")
        if limit is not None and limit is not False and self.finished >= int(limit):
            die(self.switches)


def _format_duration(seconds):
    if personality.IS_MODERN and seconds > 600:
        return time.strftime("%H:%M:%S", time.gmtime(seconds))
    return "%.2f seconds" % seconds


def _run_one(queue, server, executor, faults):
    faults.before_take()
    taken = queue.take()
    if taken is None:
        return
    (_, prompt_id, prompt, extra_data, outputs), ticket = taken
    start = time.perf_counter()
    outcome = executor.execute(prompt, prompt_id, extra_data, outputs)
    queue.done(ticket, outcome.outputs, outcome.meta, outcome.status())
    if server.client_id is not None:
        server.send_sync("executing", {"node": None, "prompt_id": prompt_id}, server.client_id)
    logging.info("Prompt executed in %s", _format_duration(time.perf_counter() - start))
    faults.after_job()


def prompt_worker(queue, server, executor, faults):
    """Runs for ever. An exception that no node raised ends the thread and leaves the server answering: a known ComfyUI fault."""
    while True:
        if queue.wait(IDLE_WAIT_SECONDS):
            _run_one(queue, server, executor, faults)
        flags = queue.take_flags()
        if flags.get("unload_models", flags.get("free_memory", False)):
            processing.device.unload_all()
        if flags.get("free_memory", False):
            executor.reset()
        if flags:
            gc.collect()


def start(queue, server, executor, faults):
    arguments = (queue, server, executor, faults)
    # Python 3.9 would leave the function's name out
    thread = threading.Thread(target=prompt_worker, name="Thread-1 (prompt_worker)", args=arguments, daemon=True)
    thread.start()
    return thread
