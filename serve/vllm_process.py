"""vLLM's server as Luthier starts it: `python -P -m serve.vllm_process MODULE ARGUMENTS`, where
MODULE is vLLM's own.

The server is two processes, the API's and its engine's, and each imports the same for 12 s and
more. Forked from the API's process, the engine has the imports already. That goes only as long as
the API's process has not touched the GPU; where it has, vLLM starts the engine on its own, and the
log says who it was.

Before that, vLLM looks at the model's class, and has a new interpreter import everything for it, to
keep CUDA out of this one (13 s, once for each architecture). A fork does the same in a second.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import pickle
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

START_METHOD = "VLLM_WORKER_MULTIPROC_METHOD"
"""vLLM's variable: "fork" or "spawn"."""

_DRIVER, _NOT_INITIALISED = "libcuda.so.1", 3

_Answer = TypeVar("_Answer")
_asking_fork = False  # not the engine's
_LONGEST_ANSWER = 60  # seconds

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
        after_in_parent=lambda: None if late.ident or _asking_fork else late.start(),
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
    os.register_at_fork(
        after_in_child=forget, after_in_parent=lambda: None if _asking_fork else forget()
    )


def answered_by_fork(
    answered_elsewhere: Callable[[Callable[[], _Answer]], _Answer],
) -> Callable[[Callable[[], _Answer]], _Answer]:
    """What calls a function in a fork of this process and returns its answer, or that of
    `answered_elsewhere` where the fork fails."""

    def answered(function: Callable[[], _Answer]) -> _Answer:
        global _asking_fork
        reading, writing = os.pipe()
        _asking_fork = True
        fork = os.fork()
        if fork == 0:
            status = 1
            signal.alarm(_LONGEST_ANSWER)  # a lock that another thread held is held for ever
            try:
                with os.fdopen(writing, "wb") as pipe:
                    pipe.write(pickle.dumps(function()))
                status = 0
            finally:
                os._exit(status)
        _asking_fork = False
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
        _, status = os.waitpid(fork, 0)
        return pickle.loads(answer) if status == 0 else answered_elsewhere(function)

    answered.is_by_fork = True  # type: ignore[attr-defined]
    return answered


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
    from serve import vllm_process  # the module that serve.vllm_plugin has

    vllm_process.main()
