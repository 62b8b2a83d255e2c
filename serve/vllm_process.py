"""vLLM's server as Luthier starts it: `python -P -m serve.vllm_process MODULE ARGUMENTS`, where
MODULE is vLLM's own.

The server is two processes, the API's and its engine's, and each imports the same for 12 s and
more. Forked from the API's process, the engine has the imports already. That goes only as long as
the API's process has not touched the GPU; where it has, vLLM starts the engine on its own, and the
log says who it was.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import runpy
import signal
import sys
import threading
import traceback
from typing import Any

START_METHOD = "VLLM_WORKER_MULTIPROC_METHOD"
"""vLLM's variable: "fork" or "spawn"."""

_DRIVER, _NOT_INITIALISED = "libcuda.so.1", 3

# transformers imports it where it is installed, and it asks for the GPU's properties at its import.
TOUCHES_GPU = "torchao"
# What vLLM's API imports only once its engine is there: imported meanwhile, in a thread.
_IMPORTED_LATE = (
    "vllm.entrypoints.launchers.app",
    "vllm.entrypoints.serve",
    "vllm.entrypoints.openai.models.api_router",
    "vllm.entrypoints.generate.api_router",
    "vllm.entrypoints.scale_out.factories",
    "serve.guard",
)


def main() -> None:
    """Run vLLM's module as if it had been started itself."""
    module = sys.argv.pop(1)
    if os.environ.get(START_METHOD) == "fork":
        prepare_fork()
    runpy.run_module(module, run_name="__main__")


def prepare_fork() -> None:
    """Keep this process away from the GPU until the engine is forked from it."""
    sys.modules[TOUCHES_GPU] = None  # type: ignore[assignment]
    late = threading.Thread(target=_import_late, daemon=True)
    os.register_at_fork(
        after_in_parent=lambda: None if late.ident else late.start(),
        # uvloop's: the parent would take the engine's signals for its own
        after_in_child=lambda: signal.set_wakeup_fd(-1) and None,
    )
    with contextlib.suppress(ImportError):
        importlib.import_module("vllm")
    if "torch" in sys.modules:
        tell_who_touches_gpu(sys.modules["torch"])


def tell_who_touches_gpu(torch: Any) -> None:
    """Have the first caller who initialises CUDA in this process told in the log."""
    initialise = torch.cuda._lazy_init

    def forget() -> None:
        torch.cuda._lazy_init = initialise

    def told() -> None:
        forget()
        if not torch.cuda.is_initialized():
            print("Before the fork, CUDA is initialised by:", file=sys.stderr)
            traceback.print_stack(sys._getframe(1), limit=8)
        initialise()

    torch.cuda._lazy_init = told
    os.register_at_fork(after_in_child=forget, after_in_parent=forget)


def driver_is_initialised() -> bool:
    """Whether anything in this process has initialised the GPU's driver, be it torch or not; asking
    for figures (NVML) does not. The driver itself says so, of every call before its cuInit:
    https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__INITIALIZE.html
    """
    try:
        driver = ctypes.CDLL(_DRIVER, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return False  # nobody has even loaded it
    count = ctypes.c_int()
    return bool(driver.cuDeviceGetCount(ctypes.byref(count)) != _NOT_INITIALISED)


def _import_late() -> None:
    for name in _IMPORTED_LATE:
        # vLLM imports it itself in a moment, and says what is wrong
        with contextlib.suppress(Exception):
            importlib.import_module(name)


if __name__ == "__main__":
    main()
