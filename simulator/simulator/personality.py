"""Which ComfyUI is being imitated: its version and whether it speaks the fork's WebSocket protocol."""

import os
import re

from comfyui_version import __version__ as checkout_version

VERSION = os.environ.get("SIM_VERSION") or checkout_version


def version_tuple(text):
    """'0.3.12' -> (0, 3, 12); anything after the numbers is ignored."""
    numbers = re.findall(r"\d+", text)[:3]
    return tuple(int(number) for number in numbers) + (0,) * (3 - len(numbers))


def at_least(text):
    return version_tuple(VERSION) >= version_tuple(text)


# The three trees the facts were measured on. A version in between behaves like the older neighbour.
HAS_BASE_DIRECTORY = at_least("0.3.33")
IS_MODERN = at_least("0.3.64")

# Of the packages that come with the imitated version; there is no graph editor here.
FRONTEND_VERSION = "0.0.0"

_fork = os.environ.get("SIM_FORK_PROTOCOL", "")
FORK_PROTOCOL = _fork.lower() in ("1", "true", "yes") if _fork else not HAS_BASE_DIRECTORY
