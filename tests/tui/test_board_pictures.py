"""Pictures of the board, of comparisons and of the settings at three sizes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from jobs.job import Job
from tests.tui import comparisons
from tests.tui.driving import ready, screen_text, until
from tests.tui.lock_holder import held
from tui.app import LuthierApp

pytestmark = pytest.mark.heavy

Compare = Callable[..., bool]
SIZES = [(80, 24), (140, 40), (200, 60)]


async def _board(pilot: Pilot[None]) -> None:
    app = await ready(pilot)
    await until(pilot, lambda: "loss of pirate" in screen_text(app))


async def _compare(pilot: Pilot[None]) -> None:
    app = await ready(pilot)
    await pilot.press("down")
    await until(pilot, lambda: "Against the references" in screen_text(app))


async def _report(pilot: Pilot[None]) -> None:
    await _compare(pilot)
    await pilot.press("enter", "d")
    await until(pilot, lambda: "prompt 1 of 3" in screen_text(pilot.app))


async def _settings(pilot: Pilot[None]) -> None:
    app = await ready(pilot)
    await pilot.press("down", "space")
    await until(pilot, lambda: "on" in screen_text(app))


async def _pinned(pilot: Pilot[None]) -> None:
    """Runs, sorted by eval loss against a baseline."""
    app = await ready(pilot)
    await until(pilot, lambda: "baseline" in screen_text(app))


SCREENS: dict[str, tuple[str, Callable[[Pilot[None]], Awaitable[None]]]] = {
    "board": ("board", _board),
    "compare": ("compare", _compare),
    "report": ("compare", _report),
    "settings": ("settings", _settings),
    "baseline": ("runs", _pinned),
}


@pytest.mark.parametrize("size", SIZES, ids=[f"{width}x{height}" for width, height in SIZES])
@pytest.mark.parametrize("screen", SCREENS)
def test_screen(
    jobs_by_name: dict[str, Job],
    home: Path,
    snap_compare: Compare,
    screen: str,
    size: tuple[int, int],
) -> None:
    start, prepare = SCREENS[screen]
    if screen == "baseline":
        baseline = f'sort_runs = "eval loss"\nbaseline_run = "{jobs_by_name["first-try"].id}"\n'
        (home / "config.toml").write_text(baseline)
    comparisons.compared()
    with held(comparisons.asking()):
        assert snap_compare(LuthierApp(start), terminal_size=size, run_before=prepare)
