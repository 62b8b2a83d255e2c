"""Limits for running what a stranger has written: a chat template is a program, and may loop for
ever or take all memory."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from jobs.luthier_error import LuthierError

SECONDS = 10.0
MEMORY_BYTES = 1 << 30
_PAGE = resource.getpagesize()
# seconds: while it computes constants, Jinja takes whatever is raised for a sign that they are none
_AGAIN = 0.2
_BETWEEN = 1e6  # seconds: what is done between two conversations has no limit
LONGEST_TEXT = 50_000_000  # characters; the longest contexts have a tenth of it
_HINT = (
    "Check the model's chat template, or train with another template: [tokens] template ="
    ' "chatml" in the recipe.'
)


class OutOfBounds(LuthierError):
    """The chat template takes more time or memory than any conversation is worth."""


@contextmanager
def bounded() -> Iterator[None]:
    """Run a chat template for one conversation. OutOfBounds if it does not finish in time, or takes
    too much memory.

    Within another one it only begins its own time: around many conversations, each costs a few
    microseconds less. The signal of the time's end comes to the main thread, where the jobs'
    workers render; other threads are not bounded.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
    elif signal.getitimer(signal.ITIMER_REAL)[1] == _AGAIN:
        signal.setitimer(signal.ITIMER_REAL, SECONDS, _AGAIN)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, _BETWEEN, _AGAIN)
    else:
        yield from _outermost()


def _outermost() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _too_long)
    left, _ = signal.setitimer(signal.ITIMER_REAL, SECONDS, _AGAIN)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _mapped_bytes() + MEMORY_BYTES
    if sys.platform == "linux" and (soft == resource.RLIM_INFINITY or limit < soft):
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    except MemoryError:
        message = f"It needed more than {MEMORY_BYTES >> 30} GiB of memory for one conversation."
        raise OutOfBounds("The chat template uses too much memory", message, _HINT) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def check_length(text: str) -> None:
    """OutOfBounds for a text that the tokenizer would take all memory for."""
    if len(text) > LONGEST_TEXT:
        message = f"It turned one conversation into {len(text):,} characters."
        raise OutOfBounds("The chat template never stops writing", message, _HINT)


def _too_long(number: int, frame: FrameType | None) -> None:
    message = f"It did not finish one conversation within {SECONDS:.0f} s."
    raise OutOfBounds("The chat template does not finish", message, _HINT)


def _mapped_bytes() -> int:
    """This process's address space, which the limit is of. Asked before each conversation, so
    without a file object."""
    try:
        descriptor = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    pages = os.read(descriptor, 32).partition(b" ")[0]
    os.close(descriptor)
    return int(pages) * _PAGE
