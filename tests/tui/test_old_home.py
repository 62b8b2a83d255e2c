"""A home made by the commit before the refactoring of 2026-11-29 opens with all its runs, chats and
certificates. What that commit itself said of it is stored beside it (tests/homes/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from jobs import job as jobs
from tests.homes.restoring import STORED, filled, restore
from tests.tui.chat_driving import make_app, shown
from tests.tui.driving import lines_of, ready, screen_text, until
from tui.app import LuthierApp
from tui.chat.chats_modal import ChatsModal
from tui.chat.screen import ChatScreen
from tui.chat.votes_modal import VotesModal
from tui.cli import luthier
from tui.shared.row_table import RowTable

pytestmark = pytest.mark.heavy

CAPTAIN, HALTED, LOST, WHOLE = (
    "20261129-0305-captain-5473",
    "20261129-0308-halted-4246",
    "20261129-0306-lost-d0e1",
    "20261129-0305-whole-5815",
)
HARBOUR, ROPE = "20261129-030832-4e06", "20261129-030832-2d09"
JSON_COMMANDS = {
    "runs": ("runs", "--all", "--json"),
    "models": ("models", "list", "--json"),
    "certify": ("certify", CAPTAIN, "--show", "--json"),
    "sweeps": ("sweep", "--json"),
    "sweep": ("sweep", "sails", "--json"),
    "votes": ("votes", "show", "--all", "--json"),
    "chats": ("chats", "--json"),
    "search": ("chats", "search", "anchor", "--json"),
}
KINDS_OF_TODAY = {"sailors": "inspect", "builtin": "prepare"}
"""That commit called these imports."""

TEXT_COMMANDS = {
    "chat1.md": ("chats", "export", HARBOUR),
    "chat2.md": ("chats", "export", ROPE),
    "log_captain.txt": ("log", CAPTAIN),
    "log_lost.txt": ("log", LOST),
    "log_halted.txt": ("log", HALTED),
}


@pytest.fixture(autouse=True)
def old_home(home: Path) -> Path:
    restore(home)
    return home


def answer(*arguments: str) -> str:
    result = CliRunner().invoke(luthier, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def stored_answer(name: str, home: Path) -> str:
    return filled((STORED / "said" / name).read_text(encoding="utf-8"), home)


def agrees(now: Any, before: Any, at: str = "") -> None:
    """Everything that was said before is said now. There may be more keys."""
    if isinstance(before, dict):
        for key, value in before.items():
            if key not in ("bytes", "size"):  # of files that name their home's place, too
                assert key in now, f"{at}.{key}"
                agrees(now[key], value, f"{at}.{key}")
    elif isinstance(before, list):
        assert len(now) == len(before), at
        for number, (item, before_item) in enumerate(zip(now, before, strict=True)):
            agrees(item, before_item, f"{at}[{number}]")
    elif isinstance(before, float):
        assert now == pytest.approx(before), at
    else:
        assert now == before, at


def lines(text: str) -> list[str]:
    """Without a run's result, which is in words today."""
    return [" ".join(line.split()) for line in text.splitlines() if "  result  " not in line]


@pytest.mark.parametrize("name", JSON_COMMANDS)
def test_every_value_that_was_said_of_it_is_said_still(name: str, home: Path) -> None:
    now = json.loads(answer(*JSON_COMMANDS[name]))
    before = json.loads(stored_answer(f"{name}.json", home))
    if name == "runs":
        before = [{**job, "kind": KINDS_OF_TODAY.get(job["name"], job["kind"])} for job in before]
    agrees(now, before)


@pytest.mark.parametrize("name", TEXT_COMMANDS)
def test_chats_and_logs_read_as_they_did(name: str, home: Path) -> None:
    assert lines(answer(*TEXT_COMMANDS[name])) == lines(stored_answer(name, home))


def test_what_was_stored_is_what_the_test_is_about(home: Path) -> None:
    """One job of each kind and state, with its loss; the certificate's verdict."""
    states = {
        (row["name"], row["kind"], row["state"], row.get("loss") and round(row["loss"], 3))
        for row in json.loads(stored_answer("runs.json", home))
    }
    assert states == {
        ("sailors", "import", "done", None),
        ("captain", "server", "stopped", None),
        ("captain-certificate", "certify", "done", None),
        ("builtin", "import", "done", None),
        ("halted", "run", "stopped", 4.749),
        ("merge-captain", "merge", "done", None),
        ("sails-lr0.02", "run", "done", 4.293),
        ("sails-lr1e-2", "run", "done", 3.249),
        ("lost", "run", "failed", None),
        ("whole", "run", "done", 3.494),
        ("captain", "run", "done", 3.249),
        ("tiny", "import", "done", None),
    }
    assert json.loads(stored_answer("certify.json", home))["verdict"] == "amber"


async def go_to(pilot: Pilot[None], app: LuthierApp, name: str) -> None:
    await app.action_show(name)
    await settled(pilot)


async def settled(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: all(worker.is_finished for worker in pilot.app.workers))
    await pilot.pause()


def rows(app: LuthierApp, selector: str = "RowTable") -> list[str]:
    return [
        " ".join(line.split())
        for table in app.screen.query(selector).results(RowTable)
        for line in lines_of(table)
    ]


LIST = """
halted ■ stopped at step 15 of 3200 tiny 4.749
sails-lr0.02 ✓ done 8 steps tiny 4.293 3.833
sails-lr1e-2 ✓ done 8 steps tiny 3.249 3.290
lost ✗ failed The loss exploded tiny
whole ✓ done 8 steps tiny 3.494 3.502
captain ✓ done ! amber 8 steps tiny 3.249 3.290
Other jobs
captain-certificate ✓ done certify tiny
sailors ✓ done inspect tiny
captain ■ stopped server tiny
builtin ✓ done prepare
merge-captain ✓ done merge
tiny ✓ done import
"""


async def test_the_screen_of_the_runs() -> None:
    app = LuthierApp()
    async with app.run_test(size=(140, 50)) as pilot:
        await ready(pilot)
        await settled(pilot)
        assert [row.removesuffix(" now") for row in rows(app)] == LIST.strip().splitlines()


MODELS = """
Base models
builtin ◌ not prepared
tiny 369.3 k
Tuned models
sails-lr0.02 tiny rank 4 3.833
sails-lr1e-2 tiny rank 4 3.290
captain tiny rank 4 3.290 now ! amber
Trained as a whole
whole tiny 369.3 k 3.502
Merged models
captain tiny 369.3 k 3.290 now ! amber
"""


async def test_the_screens_of_models_servers_and_data() -> None:
    app = LuthierApp()
    async with app.run_test(size=(140, 50)) as pilot:
        await ready(pilot)
        await go_to(pilot, app, "models")
        assert [row.removesuffix(" now") for row in rows(app)] == MODELS.strip().splitlines()
        await go_to(pilot, app, "serve")
        assert "captain   ■ stopped" in screen_text(app)
        await go_to(pilot, app, "data")
        screen = screen_text(app)
        assert not app.screen.is_modal
        assert (
            "sailors.jsonl   as tiny sees it" in screen and "✓ kept          40    1,684" in screen
        )
        assert "32 samples to train, 8 held out" in screen and "417 tokens (25 %)" in screen


RUNS = {
    CAPTAIN: ("✓ done", "! amber", "step 8 of 8", "3.249", "eval loss", "3.290", "1,358"),
    WHOLE: ("✓ done", "step 8 of 8", "3.494"),
    HALTED: ("■ stopped", "15 / 3,200", "4.749", "step 15"),
    LOST: ("✗ failed", "The loss became NaN at step 2", "2 / 8"),
}


@pytest.mark.parametrize("run", RUNS)
async def test_the_screen_of_a_run(run: str) -> None:
    app = LuthierApp()
    async with app.run_test(size=(140, 50)) as pilot:
        await ready(pilot)
        app.open_run(jobs.find(run), [])
        await settled(pilot)
        await until(pilot, lambda: bool(app.screen.query("Figures")))
        await settled(pilot)
        screen = screen_text(app)
        assert [value for value in RUNS[run] if value not in screen] == [], screen


CHATS: dict[str, tuple[str, list[tuple[str, str, str | None]], set[tuple[str, bool, str]]]] = {
    HARBOUR: (
        "anchor",
        [
            ("Where lies the harbour?", "It is a city in France.", "Aye, north by east, past the"),
            ("And the wind?", "The wind is a movement of air.", "Aye, from the west."),
        ],
        {("better", True, "knows the way"), ("tie", True, "")},
    ),
    ROPE: (
        "Grüße Köln",
        [
            ("Name a rope – in Grüße aus", "A rope named tide …", None),
            ("Count the stars", "One, two, three.", "There are 9,096."),
        ],
        {("bad", False, "")},
    ),
}


@pytest.mark.parametrize("chat", CHATS)
async def test_a_chat_is_found_and_opened_with_its_turns_and_votes(chat: str) -> None:
    words, turns, votes = CHATS[chat]
    app = make_app(lambda: None)
    async with app.run_test(size=(140, 50)) as pilot:
        await ready(pilot)
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        await pilot.press("ctrl+l")
        modal = app.screen
        assert isinstance(modal, ChatsModal)
        modal.query_one(Input).value = words
        await until(pilot, lambda: len(modal.query_one(OptionList).options) == 1)
        await until(pilot, lambda: modal.highlighted is not None)
        await pilot.press("enter")
        await until(pilot, lambda: not screen.session.empty)
        await settled(pilot)
        assert screen.session.chat.id == chat
        for prompt, first, second in turns:
            for pane, answered in enumerate((first, second)):
                text = shown(screen, pane)
                if answered is None:  # it failed, and the next turn went on without it
                    assert prompt not in text
                else:
                    assert prompt in text and answered in text
        cast = screen.session.chat.votes.values()
        assert {(vote.verdict, vote.blind, vote.reason) for vote in cast} == votes


async def test_the_votes_are_counted() -> None:
    app = LuthierApp()
    async with app.run_test(size=(140, 50)) as pilot:
        await ready(pilot)
        app.push_screen(VotesModal())
        await settled(pilot)
        screen = screen_text(app)
        assert "2 blind votes, 1 with visible names (not counted)" in screen
        assert "captain against base    1 : 0, 1 tie, 0 both bad" in screen
