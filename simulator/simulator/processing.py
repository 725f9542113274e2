"""What nodes and the executor share while a job runs: the interrupt flag, the progress hook, the device and the switches."""

import threading


class InterruptProcessingException(Exception):
    """Stops the running job; thrown between nodes and between sampler steps."""


_interrupted = threading.Event()

# Set once at start-up, before any node runs.
device = None
switches = None
disable_metadata = False
# Called with (value, maximum) by nodes that report progress.
progress_hook = None


def interrupt_processing(value=True):
    if value:
        _interrupted.set()
    else:
        _interrupted.clear()


def throw_if_interrupted():
    if _interrupted.is_set():
        _interrupted.clear()
        raise InterruptProcessingException()


def report_progress(value, maximum):
    throw_if_interrupted()
    if progress_hook is not None:
        progress_hook(value, maximum)
