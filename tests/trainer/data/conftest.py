"""What makes thousands of generated cases quick: folders in memory, and no waiting for a disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

_MEMORY = Path("/dev/shm")


@pytest.fixture(autouse=True, scope="session")
def no_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def fresh() -> Iterator[Callable[[], Path]]:
    """A new folder for each generated case."""
    home = Path(tempfile.mkdtemp(prefix="luthier-test-", dir=_MEMORY if _MEMORY.is_dir() else None))
    numbers = count()

    def make() -> Path:
        folder = home / str(next(numbers))
        folder.mkdir()
        return folder

    yield make
    shutil.rmtree(home)
