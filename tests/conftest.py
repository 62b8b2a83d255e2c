"""What each tier needs: files of the other are not imported, the collector leaves alone what was,
real tests are dealt to the cores."""

from __future__ import annotations

import gc
import os
import re
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("luthier", deadline=None)  # a busy machine is not a fault
settings.load_profile("luthier")

_WHOLE_FILE = re.compile(r"^pytestmark = .*\bmark\.(real|gpu|heavy)\b", re.MULTILINE)
_SHARED = ("demo", "random_adapter", "listed_run")
"""Fixtures that take minutes to make: no two processes make one."""


def pytest_configure(config: pytest.Config) -> None:
    """Each process of the real tier has its share of the cores, and so has all that it starts:
    OpenMP's threads wait by spinning, and two trainings that share a core slow each other down five
    times."""
    if config.option.markexpr == "real" and "PYTEST_XDIST_WORKER" in os.environ:
        number, count = (
            int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")),
            int(os.environ["PYTEST_XDIST_WORKER_COUNT"]),
        )
        os.sched_setaffinity(
            0, sorted(os.sched_getaffinity(0))[number::count] or os.sched_getaffinity(0)
        )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of the fast tests' processes, each would load torch for files of which it runs nothing; and
    the other way around."""
    if not re.fullmatch(r"test_\w+\.py", collection_path.name):
        return None
    if "not real" in config.option.markexpr:
        return _WHOLE_FILE.search(collection_path.read_text()) is not None or None
    if config.option.markexpr in ("real", "heavy"):
        return f"mark.{config.option.markexpr}" not in collection_path.read_text() or None
    return None


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in this hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the demo stays with one process and begins, for it takes longest; then what needs
    the server or the adapter that it has; then what needs a run of few steps. Of the other real
    tests those of a file stay together, for its fixtures."""
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("real"):
            shared = next((name for name in _SHARED if name in item.fixturenames), item.path.stem)
            item.add_marker(pytest.mark.xdist_group(shared))
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    group = item.get_closest_marker("xdist_group")
    return (
        _SHARED.index(group.args[0])
        if group is not None and group.args[0] in _SHARED
        else len(_SHARED)
    )


def pytest_collection_finish() -> None:
    """A fifth of the screens' time went into looking through modules for garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_sessionfinish() -> None:
    """pytest looks for garbage five times over before it ends: once here, and then only in what
    that has left."""
    gc.collect()
    gc.freeze()
