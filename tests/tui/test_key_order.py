"""What is typed ahead, faster than it is handled, does what it does when it is typed slowly."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.events import Key, Paste
from textual.pilot import Pilot
from textual.widgets import Input

from tests.tui.driving import ready, until
from tui.app import LuthierApp
from tui.data.forms import LookModal
from tui.runs.runs_screen import RunsScreen
from tui.shared.help_modal import HelpModal


def type_at_once(pilot: Pilot[None], *keys: str | Paste) -> None:
    """As a terminal has them that was busy for a while."""
    for key in keys:
        event = key if isinstance(key, Paste) else Key(key, key if len(key) == 1 else None)
        event.set_sender(pilot.app)
        pilot.app.post_message(event)


def values(dialog: LookModal) -> list[str]:
    return [box.value for box in dialog.query("Field Input").results(Input)]


@pytest.mark.usefixtures("home")
async def test_a_text_goes_to_the_field_that_tab_has_chosen_before_it() -> None:
    app = LuthierApp()
    async with app.run_test(size=(120, 35)) as pilot:
        await ready(pilot)
        keys = ["5", "n", *"abc", "tab", "end", *"-2", "tab", Paste("4096"), "left", "backspace"]
        type_at_once(pilot, *keys)
        await until(pilot, lambda: isinstance(app.screen, LookModal))
        dialog = app.screen
        assert isinstance(dialog, LookModal)
        await until(pilot, lambda: values(dialog) == ["abc", "builtin-2", "406"])


async def test_enter_does_not_overtake_the_text_before_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[list[str]] = []
    monkeypatch.setattr(LookModal, "submit", lambda dialog: submitted.append(values(dialog)))
    app = LuthierApp("data")
    async with app.run_test(size=(120, 35)) as pilot:
        await ready(pilot)
        type_at_once(pilot, "n", *"pirates.jsonl", "enter")
        await until(pilot, lambda: bool(submitted))
    assert submitted[0][0] == "pirates.jsonl"


@pytest.mark.usefixtures("home")
async def test_keys_behind_one_that_closes_a_dialog_reach_the_screen_below() -> None:
    app = LuthierApp()
    async with app.run_test(size=(120, 35)) as pilot:
        await ready(pilot)
        type_at_once(pilot, "question_mark", *"copy", "escape", "f1", "escape", "8", "1", "f1")
        await until(pilot, lambda: isinstance(app.screen, HelpModal))
        type_at_once(pilot, "escape", "escape", "escape")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))
