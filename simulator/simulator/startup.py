"""The order of start-up, as the log shows it, and the end of the process."""

import asyncio
import itertools
import logging
import os
import shutil
import signal
import ssl
import sys
import time

from . import arguments as command_line
from . import custom_nodes
from . import file_routes
from . import folder_paths
from . import logs
from . import personality
from . import processing
from . import worker
from .devices import Device
from .execution import Executor
from .http_server import HttpServer
from .misbehaviour import Switches, as_list
from .process_faults import ProcessFaults, block_until_released
from .routes import Routes
from .server import PromptServer

OUTPUT_MODEL_FOLDERS = ("checkpoints", "clip", "vae", "diffusion_models", "loras")


class Pacer:
    """Spreads the wanted duration of start-up over its steps by sleeping, never by working."""

    def __init__(self, milliseconds):
        self.start = time.monotonic()
        self.seconds = milliseconds / 1000

    def reach(self, fraction):
        time.sleep(max(0.0, self.start + self.seconds * fraction - time.monotonic()))


def apply_paths(arguments):
    """Where everything is, from the yaml files and the flags."""
    if arguments.base_directory:
        folder_paths.use_base_directory(arguments.base_directory)
    always = os.path.join(folder_paths.checkout, "extra_model_paths.yaml")
    if os.path.isfile(always):
        folder_paths.load_extra_path_config(always)
    for path in itertools.chain.from_iterable(arguments.extra_model_paths_config or []):
        folder_paths.load_extra_path_config(path)
    if arguments.output_directory:
        folder_paths.output_directory = os.path.abspath(arguments.output_directory)
        logging.info("Setting output directory to: %s", folder_paths.output_directory)
    for name in OUTPUT_MODEL_FOLDERS:
        folder_paths.add_model_folder_path(name, os.path.join(folder_paths.output_directory, name))
    if arguments.input_directory:
        folder_paths.input_directory = os.path.abspath(arguments.input_directory)
        logging.info("Setting input directory to: %s", folder_paths.input_directory)
    else:
        os.makedirs(folder_paths.input_directory, exist_ok=True)
    if arguments.user_directory:
        folder_paths.user_directory = os.path.abspath(arguments.user_directory)
        logging.info("Setting user directory to: %s", folder_paths.user_directory)


def log_attention(arguments, device):
    if arguments.use_split_cross_attention:
        logging.info("Using split optimization for attention")
    elif device.is_cpu and not arguments.use_pytorch_cross_attention:
        tip = "if you have memory or speed issues try using: --use-split-cross-attention"
        logging.info("Using sub quadratic optimization for attention, %s", tip)
    else:
        logging.info("Using pytorch attention")


def choose_device(arguments, switches):
    if arguments.cuda_device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(arguments.cuda_device)
        logging.info("Set cuda device to: %s", arguments.cuda_device)
    if switches.get("no_cuda") and not arguments.cpu:
        if switches.get("no_cuda") == "802":
            # What torch makes of cudaErrorSystemNotReady, as it is while no fabric manager runs.
            raise RuntimeError("Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling NumCudaDevices() that might have already set an error? Error 802: system not yet initialized")
        raise AssertionError("Torch not compiled with CUDA enabled")
    return Device(arguments)


def remove_temp():
    shutil.rmtree(folder_paths.temp_directory, ignore_errors=True)


def log_versions():
    if personality.HAS_BASE_DIRECTORY:
        logging.info("Python version: %s", sys.version)
        logging.info("ComfyUI version: %s", personality.VERSION)


def log_database():
    if personality.IS_MODERN:
        for line in ("Context impl SQLiteImpl.", "Will assume non-transactional DDL.", "No target revision found."):
            logging.info(line)


def start_worker(server, arguments, switches, device):
    faults = worker.JobFaults(switches, device)
    executor = Executor(server, faults, arguments.cache_lru, arguments.cache_none)
    worker.start(server.queue, server, executor, faults)


def make_http(server, arguments, switches):
    http = HttpServer(arguments, switches)
    Routes(server).register(http)
    file_routes.register(http)
    return http


def tls_context(arguments):
    if not (arguments.tls_keyfile and arguments.tls_certfile):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(arguments.tls_certfile, arguments.tls_keyfile)
    return context


async def serve(http, arguments, switches, loop):
    """Bind every address, say so, and stay. A busy port raises here, at the very end of start-up."""
    tls = tls_context(arguments)
    verbose = not arguments.dont_print_server
    if verbose:
        logging.info("Starting server\n")
    listeners = []
    for address in arguments.listen.split(","):
        listeners.append(await http.listen(address, arguments.port, tls))
        shown = "[%s]" % address if ":" in address else address
        if verbose:
            logging.info("To see the GUI go to: %s://%s:%s", "https" if tls else "http", shown, arguments.port)
    faults = ProcessFaults(switches, loop)
    switches.start_watching()
    await asyncio.Event().wait()
    del listeners, faults


def prepare(arguments, switches):
    """Everything before the event loop runs: (loop, http server)."""
    pacer = Pacer(switches.number("startup_ms"))
    apply_paths(arguments)
    pacer.reach(0.05)
    if switches.get("exit_at_startup") is not None:
        logging.error("[simulator] leaving at start-up")
        sys.exit(int(switches.get("exit_at_startup")))
    custom_nodes.offer_core_modules()
    custom_nodes.run_prestartup_scripts(arguments)
    pacer.reach(0.1)
    device = choose_device(arguments, switches)
    pacer.reach(0.4)
    processing.device, processing.switches, processing.disable_metadata = device, switches, arguments.disable_metadata
    logging.info("Checkpoint files will always be loaded safely.")
    device.log_start()
    pacer.reach(0.55)
    log_attention(arguments, device)
    pacer.reach(0.65)
    log_versions()
    if arguments.temp_directory:
        folder_paths.temp_directory = os.path.join(os.path.abspath(arguments.temp_directory), "temp")
        logging.info("Setting temp directory to: %s", folder_paths.temp_directory)
    remove_temp()

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    if personality.IS_MODERN and not arguments.front_end_root:
        logging.info("ComfyUI frontend version: %s", personality.FRONTEND_VERSION)
    logging.info("[Prompt Server] web root: %s", arguments.front_end_root or os.path.join(folder_paths.checkout, "web"))
    server = PromptServer(loop, switches, arguments)
    pacer.reach(0.8)
    custom_nodes.load_all(arguments, as_list(switches.get("fail_packs")))
    pacer.reach(0.95)
    log_database()
    start_worker(server, arguments, switches, device)
    if arguments.quick_test_for_ci:
        sys.exit(0)
    os.makedirs(folder_paths.temp_directory, exist_ok=True)
    hang = switches.get("hang_at_startup")
    if hang:
        switches.start_watching()
        block_until_released(switches, "hang_at_startup", hang)
    pacer.reach(1.0)
    return loop, make_http(server, arguments, switches)


def run():
    """The whole life of the process."""
    arguments = command_line.parse()
    logs.setup(arguments.verbose, arguments.log_stdout)
    switches = Switches()
    if switches.get("ignore_sigint"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop, http = prepare(arguments, switches)
    try:
        loop.run_until_complete(serve(http, arguments, switches, loop))
    except KeyboardInterrupt:
        logging.info("\nStopped server")
        # what is still connected is simply dropped; asyncio need not complain about it
        loop.set_exception_handler(lambda _loop, _context: None)
    remove_temp()
