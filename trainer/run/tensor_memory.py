"""How much memory a run's tensors take: what its plan predicts (trainer.plan.memory.predict)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, cast

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from trainer.kernels.float8 import Float8Weight


class TensorMemory:
    """The most that tensors have taken so far, in bytes.

    PyTorch counts it on a GPU. On a CPU it does not, and the process takes far more: free blocks
    that the C library keeps (1.3 GB beside 1.9 GB of tensors, of the built-in model), libraries
    (0.7 GB), and the products that oneDNN has compiled, which grow with every new length of a batch
    (0.5 GB). So what lasts, the model and the optimizer's states, is counted tensor by tensor, and
    what a step adds is read where most of it is there: in the loss, and where the forward pass
    ends."""

    def __init__(self) -> None:
        self._peak = self._lasting = self._allocated = 0
        self._states = -1

    @property
    def peak(self) -> int | None:
        """None where it cannot be measured, or has not been."""
        if _on_gpu():
            return int(torch.cuda.max_memory_allocated())
        return self._peak or None

    def begin_step(self, model: torch.nn.Module, optimizer: Any) -> None:
        if _on_gpu():
            return
        if len(optimizer.state) != self._states:  # they come with the first step
            self._states = len(optimizer.state)
            self._lasting = _bytes_of(_lasting(model, optimizer))
        self._allocated = allocated_bytes()

    def see(self) -> None:
        """Called where much is there. Takes a few milliseconds on a CPU."""
        if self._lasting and not _on_gpu():
            added = max(0, allocated_bytes() - self._allocated)
            self._peak = max(self._peak, self._lasting + added)


def allocated_bytes() -> int:
    """What the C library has given out and not got back; 0 where it does not say (it is not
    glibc)."""
    ask = _mallinfo()
    if ask is None:
        return 0
    info = ask()
    return int(info.uordblks + info.hblkhd)


def _on_gpu() -> bool:
    return bool(torch.cuda.is_initialized())


def _lasting(model: torch.nn.Module, optimizer: Any) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()
    for state in optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, torch.Tensor))


def _bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    """Tensors may share what they lie in: all weights of a file that is mapped do."""
    storages = (part.untyped_storage() for tensor in tensors for part in _parts(tensor))
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _parts(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The tensor itself, or those that it wraps: a shard, the numbers and scales of a quantised
    one."""
    if isinstance(tensor, Float8Weight):
        yield from tensor.parts
    elif is_traceable_wrapper_subclass(tensor):
        names, _ = tensor.__tensor_flatten__()
        for name in names:
            value = getattr(tensor, name)
            if isinstance(value, torch.Tensor):  # a shard names its mesh, too
                yield from _parts(value)
    else:
        yield tensor


class _Mallinfo(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


@cache
def _mallinfo() -> Callable[[], Any] | None:
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return None
    ask.restype = _Mallinfo
    return cast("Callable[[], Any]", ask)
