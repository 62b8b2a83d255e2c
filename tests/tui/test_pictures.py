"""One picture a screen at both sizes, and a sweep of the themes; those of a screen's further states
are heavy. `pytest --snapshot-update` makes them again; look at them then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from textual.pilot import Pilot

from jobs.job import Job
from tests.tui.driving import ready, screen_text, until
from tests.tui.run_events import eventful
from tui.app import LuthierApp
from tui.models.screen import ModelsScreen
from tui.runs.run_screen import RunScreen
from tui.serve.screen import ServeScreen

Compare = Callable[..., bool]
SIZES = [(80, 24), (140, 40)]


async def _runs(pilot: Pilot[None]) -> None:
    await ready(pilot)
    await pilot.press("down", "down")
    await until(pilot, lambda: "s stop" in screen_text(pilot.app))


async def _run(pilot: Pilot[None]) -> None:
    await _runs(pilot)
    await pilot.press("enter")
    await until(
        pilot, lambda: "340 / 800" in screen_text(pilot.app) and "] panel" in screen_text(pilot.app)
    )


async def _overlaid(pilot: Pilot[None]) -> None:
    """Two runs over each other, the cursor on the first, and what differs between them."""
    app = await ready(pilot)
    jobs = {row.name: row.job for row in app.rows or []}
    app.open_run(jobs["pirate"], [jobs["captain"]])
    await until(pilot, lambda: "340 / 800" in screen_text(app))
    screen = app.screen
    assert isinstance(screen, RunScreen)
    screen.panels.choose("differs")
    screen.board.show_step(200)
    await until(
        pilot, lambda: "at step 200" in screen_text(app) and "global_batch" in screen_text(app)
    )
    before = ""
    while before != (before := screen_text(app)):  # both runs are read away from the screen
        await pilot.pause(0.1)


async def _sampled(pilot: Pilot[None]) -> None:
    """A run with repairs, a resume and removed checkpoints on its chart, and its answers against
    the reference."""
    app = await ready(pilot)
    job = next(row.job for row in app.rows or [] if row.name == "pirate")
    eventful(job)
    app.open_run(job)
    await until(pilot, lambda: "340 / 800" in screen_text(app))
    await until(pilot, lambda: "prompt 1 of 2" in screen_text(app))
    await pilot.press("d")


async def _models(pilot: Pilot[None]) -> None:
    app = await ready(pilot)
    screen = app.screen
    await until(pilot, lambda: isinstance(screen, ModelsScreen) and bool(screen.models))
    await until(pilot, lambda: "v serve" in screen_text(app))


async def _serve(pilot: Pilot[None]) -> None:
    app = await ready(pilot)
    screen = app.screen
    await until(pilot, lambda: isinstance(screen, ServeScreen) and screen.server is not None)
    await until(pilot, lambda: "p example" in screen_text(app))


SCREENS: dict[str, tuple[str, Callable[[Pilot[None]], Awaitable[None]]]] = {
    "runs": ("runs", _runs),
    "run": ("runs", _run),
    "run-overlaid": ("runs", _overlaid),
    "run-samples": ("runs", _sampled),
    "models": ("models", _models),
    "serve": ("serve", _serve),
}


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "140x40"])
@pytest.mark.parametrize(
    "screen",
    [
        pytest.param(name, marks=pytest.mark.heavy) if name.startswith("run-") else name
        for name in SCREENS
    ],
)
def test_screen(
    jobs_by_name: dict[str, Job], snap_compare: Compare, screen: str, size: tuple[int, int]
) -> None:
    start, prepare = SCREENS[screen]
    assert snap_compare(LuthierApp(start), terminal_size=size, run_before=prepare)


@pytest.mark.parametrize("theme", ["luthier-light", "luthier-contrast", "NO_COLOR", "ascii"])
def test_theme(
    jobs_by_name: dict[str, Job], snap_compare: Compare, monkeypatch: pytest.MonkeyPatch, theme: str
) -> None:
    if theme == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    app = LuthierApp(ascii_only=theme == "ascii")
    if theme.startswith("luthier"):
        app.theme = theme
    assert snap_compare(app, terminal_size=(80, 24), run_before=_run)


async def test_without_colour_everything_can_still_be_read(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        assert app.no_color
        background = app.screen.background_colors[0]
        for strip in app.screen._compositor.render_strips():
            for colour_filter in app._filters:
                strip = strip.apply_filter(colour_filter, background)
            for text, style, _ in strip:
                if (
                    text.strip()
                    and style is not None
                    and style.color is not None
                    and style.bgcolor is not None
                ):
                    ink, paper = style.color.get_truecolor(), style.bgcolor.get_truecolor()
                    assert ink.red == ink.green == ink.blue, text
                    assert abs(ink.red - paper.red) > 35, text
