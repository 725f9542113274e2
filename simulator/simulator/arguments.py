"""The command line. A flag the imitated version does not know ends the process with argparse's status 2."""

import argparse
import os

from . import personality

LOG_LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

# Switches without a value. Those in one line exclude each other.
EXCLUSIVE_SWITCHES = [
    "cuda-malloc disable-cuda-malloc",
    "force-fp32 force-fp16",
    "fp32-unet fp64-unet bf16-unet fp16-unet fp8_e4m3fn-unet fp8_e5m2-unet",
    "fp16-vae fp32-vae bf16-vae",
    "fp8_e4m3fn-text-enc fp8_e5m2-text-enc fp16-text-enc fp32-text-enc",
    "use-split-cross-attention use-quad-cross-attention use-pytorch-cross-attention use-sage-attention",
    "force-upcast-attention dont-upcast-attention",
    "gpu-only highvram normalvram lowvram novram cpu",
]
# Later members of those groups, by the first member, with the version that brought them.
LATER_EXCLUSIVE = {
    "fp32-unet": [("0.3.33", "fp8_e8m0fnu-unet")],
    "fp8_e4m3fn-text-enc": [("0.3.33", "bf16-text-enc")],
    "use-split-cross-attention": [("0.3.33", "use-flash-attention")],
}
FREE_SWITCHES = (
    "auto-launch disable-auto-launch cpu-vae force-channels-last disable-ipex-optimize disable-xformers "
    "disable-smart-memory deterministic dont-print-server quick-test-for-ci windows-standalone-build "
    "disable-metadata disable-all-custom-nodes multi-user log-stdout"
).split()
LATER_SWITCHES = [
    ("0.3.33", "async-offload disable-api-nodes enable-compress-response-body"),
    ("0.3.64", "force-non-blocking supports-fp8-compute mmap-torch-files disable-mmap"),
]


def existing_directory(path):
    if personality.IS_MODERN and not os.path.exists(path):
        raise argparse.ArgumentTypeError("The path '%s' does not exist." % path)
    if not os.path.isdir(path):
        words = "'%s' is not a directory." if personality.IS_MODERN else "%s is not a valid directory."
        raise argparse.ArgumentTypeError(words % path)
    return path


def _add_network_options(parser):
    parser.add_argument("--listen", default="127.0.0.1", nargs="?", const="0.0.0.0,::", metavar="IP")
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument("--tls-keyfile")
    parser.add_argument("--tls-certfile")
    parser.add_argument("--enable-cors-header", nargs="?", const="*", metavar="ORIGIN")
    parser.add_argument("--max-upload-size", type=float, default=100, help="in MB")


def _add_path_options(parser):
    parser.add_argument("--extra-model-paths-config", nargs="+", action="append", metavar="PATH")
    parser.add_argument("--output-directory")
    parser.add_argument("--temp-directory")
    parser.add_argument("--input-directory")
    parser.add_argument("--user-directory", type=existing_directory)
    parser.add_argument("--front-end-version", default="")
    parser.add_argument("--front-end-root", type=existing_directory)
    if personality.HAS_BASE_DIRECTORY:
        parser.add_argument("--base-directory")


def _add_device_options(parser):
    parser.add_argument("--cuda-device", type=int, metavar="DEVICE_ID")
    parser.add_argument("--directml", type=int, nargs="?", const=-1)
    parser.add_argument("--oneapi-device-selector")
    parser.add_argument("--reserve-vram", type=float)
    if personality.IS_MODERN:
        parser.add_argument("--default-device", type=int)


def _add_behaviour_options(parser):
    parser.add_argument("--preview-method", choices=["none", "auto", "latent2rgb", "taesd"], default="none")
    parser.add_argument("--preview-size", type=int, default=512)
    parser.add_argument("--default-hashing-function", choices=["md5", "sha1", "sha256", "sha512"], default="sha256")
    parser.add_argument("--verbose", default="INFO", const="DEBUG", nargs="?", choices=LOG_LEVELS)
    cache = parser.add_mutually_exclusive_group()
    cache.add_argument("--cache-classic", action="store_true")
    cache.add_argument("--cache-lru", type=int, default=0)
    if personality.HAS_BASE_DIRECTORY:
        cache.add_argument("--cache-none", action="store_true")
        parser.add_argument("--comfy-api-base")
        parser.add_argument("--fast", nargs="*")
    else:
        parser.add_argument("--fast", action="store_true")
    if personality.IS_MODERN:
        parser.add_argument("--whitelist-custom-nodes", nargs="+", default=[])
        parser.add_argument("--database-url")


def _add_switches(parser):
    for line in EXCLUSIVE_SWITCHES:
        names = line.split()
        names += [name for since, name in LATER_EXCLUSIVE.get(names[0], []) if personality.at_least(since)]
        group = parser.add_mutually_exclusive_group()
        for name in names:
            group.add_argument("--" + name, action="store_true")
    for name in FREE_SWITCHES:
        parser.add_argument("--" + name, action="store_true")
    for since, names in LATER_SWITCHES:
        if personality.at_least(since):
            for name in names.split():
                parser.add_argument("--" + name, action="store_true")


def parse(argv=None):
    parser = argparse.ArgumentParser(description="ComfyUI simulator, version %s" % personality.VERSION)
    for add in (_add_network_options, _add_path_options, _add_device_options, _add_behaviour_options, _add_switches):
        add(parser)
    # Options that a later version brought; older personalities answer with these defaults.
    parser.set_defaults(base_directory=None, cache_none=False, whitelist_custom_nodes=[], default_device=None)
    return parser.parse_args(argv)
