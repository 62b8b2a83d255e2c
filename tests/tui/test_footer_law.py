"""The footer shows no key that does something else now, and a key that can do nothing says why: on
every screen each is pressed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.actions import parse
from textual.pilot import Pilot
from textual.screen import Screen

from tests.tui.driving import screen_text, until
from tests.tui.every_screen import DIALOGS, painted
from tests.tui.walk import filled, open_screen, settled
from tui import key_bindings
from tui.app import LuthierApp
from tui.reasons import NEEDS
from tui.screens import SCREENS, TABS, ScreenInfo
from tui.shared.action import Handler
from tui.shared.filter_line import FilterLine
from tui.shared.footer import KeyFooter
from tui.shared.jump import JumpOverlay
from tui.shared.key_line import KeyHint, KeyLine
from tui.shared.palette import Palette
from tui.shared.screen import LuthierScreen

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]

_OF_WIDGETS = (KeyHint("enter", "enter", "send"),)
"""The prompt takes it before it is a key of the screen's."""
_ALWAYS = Handler.__dataclass_fields__["enabled"].default

Call = tuple[str, tuple[Any, ...]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """The actions that keys lead to. None of them is done, so that the next key meets the same
    screen."""
    dispatched_calls: list[Call] = []

    async def dispatched(
        app: LuthierApp, namespace: object, name: str, parameters: tuple[Any, ...]
    ) -> bool:
        dispatched_calls.append((name, parameters))
        return True

    monkeypatch.setattr(LuthierApp, "_dispatch_action", dispatched)
    return dispatched_calls


def is_named(hint: KeyHint, call: Call) -> bool:
    """Whether this call is the action that the hint names."""
    return any(
        action.title == hint.text and parse(action.action)[1:] == call
        for action in key_bindings.ACTIONS
    )


async def wrong_hints(pilot: Pilot[None], calls: list[Call]) -> list[str]:
    """The hints of the footer whose key leads to something else."""
    wrong = []
    for hint in pilot.app.screen.query_one(KeyFooter).hints:
        calls.clear()
        await pilot.press(hint.key)
        await pilot.pause()
        if hint in _OF_WIDGETS:
            continue
        if len(calls) != 1 or not is_named(hint, calls[0]):
            wrong.append(f"{type(pilot.app.screen).__name__}: {hint} did {calls}")
    return wrong


def seen(pilot: Pilot[None]) -> tuple[object, ...]:
    """What a key may change."""
    app = pilot.app
    return screen_text(app), app.screen, app.focused, app.clipboard


async def typed_hints(pilot: Pilot[None]) -> list[str]:
    """The hints of the footer that would type a character where a text is written."""
    screen, wrong = pilot.app.screen, []
    kept = screen.focused
    for box in screen.query("Input, TextArea"):
        for filter_line in (node for node in box.ancestors if isinstance(node, FilterLine)):
            filter_line.open()
        screen.set_focus(box)
        await settled(pilot)
        if screen.focused is not box:
            continue
        hints = screen.query_one(KeyFooter).hints
        wrong += [f"{type(screen).__name__}: {hint}" for hint in hints if len(hint.label) == 1]
        for filter_line in screen.query(FilterLine):
            filter_line.close()
    screen.set_focus(kept)
    await settled(pilot)
    return wrong


async def silent_keys(pilot: Pilot[None], screen: ScreenInfo) -> list[str]:
    """The actions that cannot be done now, and whose key does not say why."""
    app, silent = pilot.app, []
    screen_shown = app.screen
    assert isinstance(screen_shown, LuthierScreen)
    for action in screen.actions:
        _, name, parameters = parse(action.action)
        handler = screen_shown.handlers.get(str(parameters[0])) if name == "do" else None
        if handler is not None and handler.enabled is not _ALWAYS and action.id not in NEEDS:
            silent.append(f"{action.id}: reasons.py does not say what it needs")
        if handler is not None and not handler.enabled():
            offered = screen_shown.check_action(name, parameters)
            silent += [f"{action.id} is offered, and cannot be done"] if offered else []
    app.set_focus(None)
    await pilot.pause()
    possible = {binding.binding.action for binding in screen_shown.active_bindings.values()}
    for action in screen.actions:
        keys = [key for key in action.current_keys if key not in screen_shown.active_bindings]
        if action.action in possible or not keys:
            continue
        app.clear_notifications()
        await pilot.press(keys[0])
        await pilot.pause()
        if not any(" needs " in note.message for note in app._notifications):
            silent.append(f"{action.id} ({keys[0]})")
    return silent


@pytest.mark.parametrize("is_empty", [False, True], ids=["filled", "empty"])
async def test_each_key_of_the_footer_does_what_it_says(
    home: Path, is_empty: bool, calls: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    wrong, silent = [], []
    if is_empty:
        async with LuthierApp().run_test(size=(200, 40)) as pilot:
            await until(pilot, lambda: pilot.app.rows is not None)  # type: ignore[attr-defined]
            for screen in TABS:
                await pilot.app.action_show(screen.place)  # type: ignore[attr-defined]
                await settled(pilot)
                wrong += await wrong_hints(pilot, calls) + await typed_hints(pilot)
                silent += await silent_keys(pilot, screen)
    else:
        with filled(home, is_foreign=False):
            async with LuthierApp().run_test(size=(200, 40)) as pilot:
                await until(pilot, lambda: pilot.app.rows is not None)  # type: ignore[attr-defined]
                for screen in SCREENS:
                    if screen.place == "report":  # a key opens it
                        continue
                    await open_screen(pilot, screen)
                    await settled(pilot)
                    wrong += await wrong_hints(pilot, calls) + await typed_hints(pilot)
                    silent += await silent_keys(pilot, screen)
                    while len(pilot.app.screen_stack) > 1:
                        pilot.app.pop_screen()
                        await pilot.pause()
    assert not wrong and not silent, "\n".join((*wrong, *silent))


async def test_each_key_of_a_dialog_does_something(
    home: Path, calls: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    dead = []
    with filled(home, is_foreign=False):
        async with LuthierApp().run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: pilot.app.rows is not None)  # type: ignore[attr-defined]
            pilot.app.push_screen(Screen())
            for kind, make in DIALOGS.items():
                if kind in (Palette, JumpOverlay):  # no line of keys
                    continue
                dialog = make()
                pilot.app.push_screen(dialog)
                await settled(pilot)
                for hint in dialog.query_one(KeyLine).hints:
                    if pilot.app.screen is not dialog:
                        dialog = make()
                        pilot.app.push_screen(dialog)
                        await settled(pilot)
                    calls.clear()
                    pilot.app.copy_to_clipboard("")
                    before = seen(pilot)
                    await pilot.press(hint.key)
                    await painted(pilot)
                    if not (calls or seen(pilot) != before):
                        dead.append(f"{kind.__name__}: {hint}")
                if pilot.app.screen is dialog:
                    dialog.dismiss(None)
                    await pilot.pause()
    assert not dead, "\n".join(dead)
