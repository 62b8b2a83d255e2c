"""A home made by the commit before the refactoring of 2026-11-29 opens with all its runs, chats and
certificates. What that commit itself said of it is stored beside it (tests/homes/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from textual.pilot import Pilot
from textual.widgets import OptionList

from jobs import job as jobs
from tests.homes.restoring import STORED, filled, restore
from tests.tui.driving import lines_of, ready, screen_text, text_of, until
from tui.app import LuthierApp
from tui.chat.chats_modal import ChatsModal
from tui.chat.screen import ChatScreen
from tui.chat.votes_modal import VotesModal
from tui.cli import luthier
from tui.shared.row_table import RowTable

CAPTAIN, HALTED, LOST = (
    "20261129-0305-captain-5473",
    "20261129-0308-halted-4246",
    "20261129-0306-lost-d0e1",
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
        for number, (one, other) in enumerate(zip(now, before, strict=True)):
            agrees(one, other, f"{at}[{number}]")
    elif isinstance(before, float):
        assert now == pytest.approx(before), at
    else:
        assert now == before, at


def lines(text: str) -> list[str]:
    """Without those in which paths are cut to a width."""
    return [" ".join(line.split()) for line in text.splitlines() if "adapter=" not in line]


@pytest.mark.parametrize("name", JSON_COMMANDS)
def test_every_value_that_was_said_of_it_is_said_still(name: str, home: Path) -> None:
    now = json.loads(answer(*JSON_COMMANDS[name]))
    agrees(now, json.loads(stored_answer(f"{name}.json", home)))


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


async def place(pilot: Pilot[None], app: LuthierApp, name: str) -> None:
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


async def test_the_screens() -> None:
    app = LuthierApp()
    async with app.run_test(size=(140, 50)) as pilot:
        await ready(pilot)
        await settled(pilot)
        print("RUNS", rows(app))
        for name in ("models", "serve", "data"):
            await place(pilot, app, name)
            print(name, rows(app))
            print(screen_text(app))
        for run in (CAPTAIN, HALTED, LOST):
            app.open_run(jobs.find(run), [])
            await settled(pilot)
            print(screen_text(app))
            app.pop_screen()
            await settled(pilot)
        app.push_screen(ChatsModal())
        await settled(pilot)
        print(screen_text(app))
        app.pop_screen()
        app.push_screen(VotesModal())
        await settled(pilot)
        print(screen_text(app))
        app.pop_screen()
        assert 0
