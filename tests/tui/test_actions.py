"""The registry: everything in it can be found and done."""

from __future__ import annotations

from collections import Counter

import pytest
from textual.actions import parse
from textual.dom import DOMNode

from jobs.job import Job
from tests.tui.driving import ready, screen_text, until
from tui.app import LuthierApp
from tui.chat.screen import ChatScreen
from tui.key_bindings import ACTIONS, place_of
from tui.runs.run_screen import RunScreen
from tui.runs.samples_panel import SamplesPanel
from tui.screens import PLACE_TITLES, SCREENS
from tui.serve.screen import ServeScreen
from tui.shared.action import Place
from tui.shared.help_modal import HelpModal, help_text
from tui.shared.log_view import LogView
from tui.shared.palette import ActionProvider, label
from tui.shared.row_table import RowOptions

WIDGETS: dict[Place, type[DOMNode]] = {
    "app": LuthierApp,
    "list": RowOptions,
    "log": LogView,
    "search": LogView,
    "samples": SamplesPanel,
}


def test_ids_are_unique_and_name_a_place() -> None:
    assert [
        action for action, count in Counter(action.id for action in ACTIONS).items() if count > 1
    ] == []
    assert {action.place for action in ACTIONS} <= set(PLACE_TITLES)


@pytest.mark.parametrize("place", PLACE_TITLES)
def test_every_action_has_a_method_and_its_keys_are_bound(place: Place) -> None:
    screens: dict[Place, type[DOMNode]] = {screen.place: screen.load() for screen in SCREENS}
    owner = (WIDGETS | screens)[place]
    bound = {
        binding.id
        for bindings in owner._merge_bindings().key_to_bindings.values()
        for binding in bindings
    }
    for action in ACTIONS:
        if action.place == place:
            assert hasattr(owner, f"action_{action.action.partition('(')[0]}"), action.id
            assert action.id in bound


def test_every_action_that_parts_of_a_screen_do_has_a_handler(jobs_by_name: dict[str, Job]) -> None:
    for screen in (ChatScreen(), ServeScreen(), RunScreen(jobs_by_name["captain"])):
        calls = [parse(action.action) for action in ACTIONS if action.place == screen.place]
        assert {call for _, call, _ in calls} == {"do"}
        assert {parameters[0] for _, _, parameters in calls} == screen.handlers.keys()


@pytest.mark.parametrize("place", [place for place in PLACE_TITLES if place != "chat"])
def test_no_key_means_two_things_at_one_place(place: Place) -> None:
    keys = Counter(
        key for action in ACTIONS if action.place == place for key in action.keys.split(",")
    )
    assert [key for key, count in keys.items() if count > 1] == []


# those of the runs exclude each other: test_runs_screen, test_run_screen
@pytest.mark.parametrize("place", ["models", "serve"])
def test_screens_show_at_most_seven_hints(place: Place) -> None:
    hints = [action for action in ACTIONS if action.footer and action.place in (place, "app")]
    # a server that failed has no models: `error` and the others exclude each other; so do the two
    # keys of quit
    run_hints = [action for action in hints if action.id not in ("serve.error", "app.quit_now")]
    assert len(run_hints) <= 8


@pytest.mark.parametrize("place", PLACE_TITLES)
def test_help_has_every_action_this_place_first(place: Place) -> None:
    text = str(help_text(place, "", 200))
    assert text.startswith(PLACE_TITLES[place])
    for action in ACTIONS:
        assert action.help in text
        assert action.key_names[0] in text


def test_help_is_searched_by_all_words() -> None:
    text = str(help_text("runs", "stop job", 200))
    assert "Stop the highlighted" in text and "Choose the colours" not in text
    assert "No matches." in str(help_text("runs", "zither", 200))


async def test_palette_has_every_action_with_its_key() -> None:
    app = LuthierApp()
    async with app.run_test() as pilot:
        await ready(pilot)
        provider = ActionProvider(app.screen)
        hits = [hit async for hit in provider.discover()]
        assert sorted(str(hit.prompt) for hit in hits) == sorted(
            label(action) for action in ACTIONS
        )
        assert all(
            hit.help and any(hit.help.startswith(action.key_names[0]) for action in ACTIONS)
            for hit in hits
        )
        hits = [hit async for hit in provider.search("theme")]
        assert any(str(hit.text) == "theme" for hit in hits)


@pytest.mark.parametrize(("name", "place"), [("captain-server", "serve"), ("pirate", "run")])
async def test_the_palette_opens_jobs_by_their_name(
    jobs_by_name: dict[str, Job], name: str, place: str
) -> None:
    app = LuthierApp("models")
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        hits = [hit async for hit in ActionProvider(app.screen).search(name)]
        best = max(hits, key=lambda hit: hit.score)
        assert best.text == f"open {name}" and "running" in str(best.help)
        await pilot.press("ctrl+p", *name)
        await until(pilot, lambda: f"open {name}" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: place_of(app.screen) == place)


async def test_an_action_from_the_palette_opens_its_screen_first(
    jobs_by_name: dict[str, Job],
) -> None:
    app = LuthierApp()
    async with app.run_test() as pilot:
        await ready(pilot)
        await app.perform(next(action for action in ACTIONS if action.id == "serve.snippet"))
        assert app.current_mode == "serve"
        await app.perform(next(action for action in ACTIONS if action.id == "run.scale"))
        await until(
            pilot, lambda: any("not possible" in note.message for note in app._notifications)
        )


async def test_an_action_of_a_run_is_not_done_by_another_screen(
    jobs_by_name: dict[str, Job],
) -> None:
    """Both have one of that name."""
    app = LuthierApp()
    async with app.run_test() as pilot:
        await ready(pilot)
        await app.action_show("serve")
        await until(pilot, lambda: "captain" in screen_text(app))
        await app.perform(next(action for action in ACTIONS if action.id == "run.stop"))
        await pilot.pause()
        assert not app.screen.is_modal  # or the server would be asked about
        assert any("Stop: not possible" in note.message for note in app._notifications)


async def test_help_opens_narrows_and_closes() -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("question_mark")
        assert isinstance(app.screen, HelpModal)
        await pilot.press("escape")
        assert not isinstance(app.screen, HelpModal)
