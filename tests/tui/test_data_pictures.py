"""Data at both sizes: the ledger with a sample, the sample's tokens one a line, and the totals
where they have a screen of their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual.pilot import Pilot

from tests.tui import data_folders
from tests.tui.driving import screen_text, until
from tests.tui.test_data_screen import shown
from tui.app import LuthierApp

Compare = Callable[..., bool]
VIEWS = {
    "ledger": "j",
    "reading": "j enter",
    "ids": "j enter i pagedown",
    "dropped": "slash d r o p enter j",
}


def driven(keys: str, wanted: str = "tokens trained") -> Callable[[Pilot[None]], object]:
    async def drive(pilot: Pilot[None]) -> None:
        await shown(pilot)
        await pilot.press(*keys.split())
        await until(
            pilot, lambda: wanted in screen_text(pilot.app) and "? help" in screen_text(pilot.app)
        )
        await pilot.pause(0.1)

    return drive


@pytest.mark.parametrize("size", [(80, 24), (140, 40)], ids=["80x24", "140x40"])
@pytest.mark.parametrize(
    "view", ["ledger", *(pytest.param(view, marks=pytest.mark.heavy) for view in [*VIEWS][1:])]
)
def test_data(snap_compare: Compare, view: str, size: tuple[int, int]) -> None:
    data_folders.finished()
    drive = driven(VIEWS[view], "row 20 in its file" if view == "dropped" else "tokens trained")
    assert snap_compare(LuthierApp("data"), terminal_size=size, run_before=drive)


def test_totals_on_a_narrow_screen(snap_compare: Compare) -> None:
    data_folders.finished()
    assert snap_compare(
        LuthierApp("data"), terminal_size=(80, 24), run_before=driven("l", "context")
    )


@pytest.mark.heavy
@pytest.mark.parametrize("theme", ["luthier-light", "NO_COLOR", "ascii"])
def test_theme(snap_compare: Compare, monkeypatch: pytest.MonkeyPatch, theme: str) -> None:
    if theme == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    data_folders.finished()
    app = LuthierApp("data", ascii_only=theme == "ascii")
    if theme.startswith("luthier"):
        app.theme = theme
    assert snap_compare(app, terminal_size=(80, 24), run_before=driven("j"))
