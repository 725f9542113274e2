"""Log output as ComfyUI writes it: bare lines on stderr, and a ring of the last 300 writes for /internal/logs."""

import collections
import datetime
import io
import logging
import sys

RING_SIZE = 300

entries = collections.deque(maxlen=RING_SIZE)
# Called with each new entry; the server sets it to feed WebSocket subscribers.
subscriber = None


class RecordingStream(io.TextIOWrapper):
    """A standard stream that also remembers what passed through it.

    What is printed to a standard output that is no terminal stays in the buffer until there is enough of it, even with
    `python -u`: so it is in ComfyUI.
    """

    def __init__(self, stream):
        super().__init__(stream.buffer, encoding=stream.encoding, errors="backslashreplace", line_buffering=stream.line_buffering)

    def write(self, text):
        entry = {"t": datetime.datetime.now().isoformat(), "m": text}
        if text.startswith("\r") and entries and not entries[-1]["m"].endswith("\n"):
            entries.pop()
        entries.append(entry)
        if subscriber is not None:
            subscriber(entry)
        return super().write(text)


def setup(level, use_stdout):
    """Install the recording streams and the root logger. With use_stdout only errors stay on stderr."""
    sys.stdout = RecordingStream(sys.stdout)
    sys.stderr = RecordingStream(sys.stderr)
    root = logging.getLogger()
    root.setLevel(level)
    # asyncio's own housekeeping notes (its selector, slow callbacks) are not part of ComfyUI's log
    logging.getLogger("asyncio").setLevel(max(logging.WARNING, root.level))
    to_stderr = logging.StreamHandler(sys.stderr)
    handlers = [to_stderr]
    if use_stdout:
        to_stdout = logging.StreamHandler(sys.stdout)
        to_stdout.addFilter(lambda record: record.levelno < logging.ERROR)
        to_stderr.addFilter(lambda record: record.levelno >= logging.ERROR)
        handlers.append(to_stdout)
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(message)s"))
        root.addHandler(handler)
