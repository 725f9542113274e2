"""The pretended compute device: what /system_stats and the start-up log say about it, and whether its context is poisoned."""

import logging
import os
import re

from . import personality

TORCH_VERSION = "2.7.0+simulator"
GPU_MEMORY = 24 * 1024**3
CONTEXT_MEMORY = 400 * 1024**2
CUDA_ERROR = "CUDA error: an illegal memory access was encountered"
OOM_ERROR = "CUDA out of memory. Tried to allocate 2.00 GiB."


class OutOfMemoryError(RuntimeError):
    """Named as torch names it, since ComfyUI reports the full name of the type."""


class AcceleratorError(RuntimeError):
    """Torch 2.8 and later raise this for errors of the CUDA context."""


OutOfMemoryError.__module__ = AcceleratorError.__module__ = "torch"


def system_memory():
    """(total, available) bytes."""
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            fields = dict(re.findall(r"^(\w+):\s+(\d+) kB$", stream.read(), re.MULTILINE))
        return int(fields["MemTotal"]) * 1024, int(fields["MemAvailable"]) * 1024
    except (OSError, KeyError):
        return 16 * 1024**3, 8 * 1024**3


class Device:
    """The one device this process sees."""

    def __init__(self, arguments):
        self.visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        self.is_cpu = arguments.cpu or self.visible == ""
        self.poisoned = False
        self.loaded = {}  # name -> bytes
        if arguments.cpu:
            self.vram_state = "DISABLED"
        elif arguments.lowvram or arguments.novram:
            self.vram_state = "LOW_VRAM" if arguments.lowvram else "NO_VRAM"
        else:
            self.vram_state = "HIGH_VRAM" if arguments.highvram or arguments.gpu_only else "NORMAL_VRAM"
        self.allocator = "native" if arguments.disable_cuda_malloc else "cudaMallocAsync"

    def name(self):
        if self.is_cpu:
            return "cpu"
        which = "all" if self.visible is None else self.visible
        return "cuda:0 Simulated GPU [CUDA_VISIBLE_DEVICES=%s] : %s" % (which, self.allocator)

    def total_memory(self):
        return system_memory()[0] if self.is_cpu else GPU_MEMORY

    def check(self):
        """Raises what a call into a poisoned context raises."""
        if self.poisoned:
            raise AcceleratorError(CUDA_ERROR)

    def load(self, name, size):
        self.loaded[name] = size

    def unload_all(self):
        self.loaded.clear()

    def log_start(self):
        megabyte = 1024 * 1024
        logging.info("Total VRAM %0.0f MB, total RAM %0.0f MB", self.total_memory() / megabyte, system_memory()[0] / megabyte)
        logging.info("pytorch version: %s", TORCH_VERSION)
        logging.info("Set vram state to: %s", self.vram_state)
        logging.info("Device: %s", self.name())

    def describe(self):
        """The element of "devices" in /system_stats."""
        self.check()
        used = sum(self.loaded.values())
        if self.is_cpu:
            total, free = system_memory()
            torch_total, torch_free = total, free
        else:
            total, free = GPU_MEMORY, max(0, GPU_MEMORY - CONTEXT_MEMORY - used)
            torch_total, torch_free = used, 0
        return {
            "name": self.name(),
            "type": "cpu" if self.is_cpu else "cuda",
            "index": None if self.is_cpu else 0,
            "vram_total": total,
            "vram_free": free,
            "torch_vram_total": torch_total,
            "torch_vram_free": torch_free,
        }


def memory_of_system():
    """The memory and version fields of "system" that depend on the machine."""
    total, free = system_memory()
    fields = {"ram_total": total, "ram_free": free, "comfyui_version": personality.VERSION, "pytorch_version": TORCH_VERSION}
    return fields
