"""Laws that hold on every screen and in every dialog, whichever are added: walked over the list of
them all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, Select, TextArea

from jobs import job as jobs
from tests.fakes.openai_server import FakeServer
from tests.tui import folders, hostile
from tests.tui.driving import ready, screen_text, visible
from tests.tui.every_screen import DIALOGS, IMPORT, PLACES, painted, run
from tests.tui.lock_holder import held
from tui.app import LuthierApp
from tui.chat.vote_modal import VoteModal
from tui.screens import TABS
from tui.shared.action import key_name
from tui.shared.confirm_modal import ConfirmModal
from tui.shared.footer import KeyFooter
from tui.shared.help_modal import HelpModal
from tui.shared.jump import JumpOverlay
from tui.shared.key_line import KeyHint, KeyLine
from tui.shared.palette import Palette
from tui.shared.pick_modal import PickModal

pytestmark = pytest.mark.heavy

_AGAIN = "esc again leaves without saving"
_SEARCHES = (PickModal, HelpModal, Palette)
"""What is typed there looks for something: nothing is lost with it."""


@pytest.fixture
def filled(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home in which every screen and dialog has something to show."""
    monkeypatch.chdir(home)
    with FakeServer() as server:
        made = hostile.fill(home, server)
        with held(*(made[name] for name in folders.LIVING)):
            yield


async def each_dialog(
    size: tuple[int, int] = (120, 40),
) -> AsyncIterator[tuple[Pilot[None], str, Screen[Any]]]:
    """All dialogs, one after the other, each over an empty screen."""
    app = LuthierApp()
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        app.push_screen(Screen())
        for kind, make in DIALOGS.items():
            dialog = make()
            app.push_screen(dialog)
            await painted(pilot)
            yield pilot, f"{kind.__module__}.{kind.__name__}", dialog
            if app.screen is dialog:
                dialog.dismiss(None)
                await pilot.pause()


def is_in_sight(widget: Widget) -> bool:
    nodes = [node for node in widget.ancestors_with_self if isinstance(node, Widget)]
    return visible(widget) and all(node.display for node in nodes)


def texts_of(screen: Screen[Any]) -> list[Widget]:
    return [widget for widget in screen.query("Input, TextArea") if is_in_sight(widget)]


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await pilot.pause()


@pytest.mark.usefixtures("filled")
async def test_esc_leaves_every_dialog() -> None:
    caught = []
    async for pilot, name, dialog in each_dialog():
        await press(pilot, "escape")
        caught += [name] if pilot.app.screen is dialog else []
    assert caught == []


@pytest.mark.usefixtures("filled")
async def test_esc_asks_before_it_loses_what_was_typed() -> None:
    lost, unasked, stale, caught = [], [], [], []
    async for pilot, name, dialog in each_dialog():
        if isinstance(dialog, VoteModal):
            await press(pilot, "a")  # it asks for a reason then
        texts = [] if isinstance(dialog, _SEARCHES) else texts_of(dialog)
        for text in texts[:1]:
            text.focus()
            await press(pilot, "z", "escape")
            lost += [name] if pilot.app.screen is not dialog else []
            unasked += [name] if _AGAIN not in screen_text(pilot.app) else []
            await press(pilot, "z")  # goes on, and is asked anew
            stale += [name] if _AGAIN in screen_text(pilot.app) else []
            await press(pilot, "escape")
            await press(pilot, "escape")
            caught += [name] if pilot.app.screen is dialog else []
    assert (lost, unasked, stale, caught) == ([], [], [], [])


@pytest.mark.usefixtures("filled")
async def test_what_has_the_focus_of_a_dialog_is_in_sight() -> None:
    hidden = []
    async for _, name, dialog in each_dialog():
        hidden += [name] if dialog.focused and not is_in_sight(dialog.focused) else []
    assert hidden == []


@pytest.mark.usefixtures("filled")
async def test_in_a_narrow_terminal_a_dialog_leaves_no_ends_of_words_beside_it() -> None:
    wrong = []
    async for _, name, dialog in each_dialog((80, 24)):
        for box in dialog.query(".dialog"):
            keys = dialog.query_one(KeyLine)
            is_whole = box.region.contains_region(keys.region) and box.region.bottom <= 24
            wrong += [] if (box.region.x, box.region.width) == (0, 80) and is_whole else [name]
    assert wrong == []


@pytest.mark.usefixtures("filled")
async def test_all_dialogs_are_submitted_and_left_alike() -> None:
    wrong = []
    async for pilot, name, dialog in each_dialog():
        if isinstance(dialog, Palette | JumpOverlay):  # Textual's own, or letters: no line of keys
            continue
        *own, last = dialog.query_one(KeyLine).hints
        labels = [hint.label for hint in own]
        texts = texts_of(dialog)
        if any(isinstance(text, TextArea) for text in texts):
            submitted = "^s" in labels and "enter" not in labels
        elif any(isinstance(text, Input) for text in texts) and not isinstance(dialog, HelpModal):
            submitted = "enter" in labels and "^s" not in labels
        else:
            submitted = "^s" not in labels
        if last != KeyHint("escape", "esc", "close") or "esc" in labels or not submitted:
            wrong.append((name, str(dialog.query_one(KeyLine).hints)))
        for select in dialog.query(Select):  # enter means the whole dialog; space opens a list
            select.focus()
            await press(pilot, "enter")
            wrong += [(name, "enter opens a list")] if select.expanded else []
    assert wrong == []


async def each_place(pilot: Pilot[None]) -> AsyncIterator[Screen[Any]]:
    """Every tab, a run, another job, and what is opened from them."""
    app = await ready(pilot)
    seen = set()
    for tab in TABS:
        await app.action_show(tab.place)
        await painted(pilot)
        seen.add(type(app.screen))
        yield app.screen
    await app.action_show("runs")
    app.open_run(run())
    await painted(pilot)
    seen.add(type(app.screen))
    yield app.screen
    app.open_job(jobs.find(IMPORT))
    await painted(pilot)
    seen.add(type(app.screen))
    yield app.screen
    await app.action_show("compare")
    await pilot.press("enter")
    await painted(pilot)
    seen.add(type(app.screen))
    yield app.screen
    for opens in (app.action_home, app.journey.plan_run):
        await opens()
        await painted(pilot)
        seen.add(type(app.screen))
        yield app.screen
    assert seen == set(PLACES)


@pytest.mark.usefixtures("filled")
async def test_the_footer_shows_no_key_that_types() -> None:
    wrong, typed_in = [], 0
    async with LuthierApp().run_test(size=(200, 40)) as pilot:
        async for screen in each_place(pilot):
            for text in screen.query("Input, TextArea"):
                if not text.focusable or not visible(text):
                    continue
                text.focus()
                await painted(pilot)
                typed_in += 1
                for hint in screen.query_one(KeyFooter).hints:
                    character = hint.label if len(hint.label) == 1 else None
                    if text.check_consume_key(hint.key, character) or hint.label != key_name(
                        hint.key
                    ):
                        wrong.append((type(screen).__name__, hint))
    assert wrong == [] and typed_in


@pytest.mark.parametrize("with_jobs", [False, True], ids=["empty", "filled"])
async def test_nothing_hidden_has_the_focus_after_a_dialog(
    request: pytest.FixtureRequest, with_jobs: bool
) -> None:
    if with_jobs:
        request.getfixturevalue("filled")
    hidden = []
    async with LuthierApp().run_test(size=(120, 40)) as pilot:
        app = await ready(pilot)
        for tab in TABS:
            await app.action_show(tab.place)
            await painted(pilot)
            for when in ("opened", "after a dialog"):
                focused = app.screen.focused
                hidden += [(tab.place, when)] if focused and not is_in_sight(focused) else []
                if when == "opened":
                    app.push_screen(ConfirmModal("?", "?", yes="yes", no="no"))
                    await painted(pilot)
                    await press(pilot, "escape")
                    await painted(pilot)
    assert hidden == []
