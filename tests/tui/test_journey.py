"""From any finished step its screen names the next: look, train, certificate, serve, chat, vote,
train again. Each test goes the step by the key that is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from jobs.job import Job
from tests.fakes.openai_server import FakeServer
from tests.tui import data_folders
from tests.tui.chat_driving import ask, chat
from tests.tui.driving import ready, screen_text, until
from tui.app import LuthierApp
from tui.chat.screen import ChatScreen
from tui.chat.vote_modal import VoteModal
from tui.chat.votes_modal import VotesModal
from tui.data.screen import DataScreen
from tui.new_run.data_look import DataLook
from tui.new_run.screen import NewRunScreen
from tui.runs.run_screen import RunScreen
from tui.serve.screen import ServeScreen
from tui.shared.certificate_modal import CertificateModal
from tui.shared.key_line import KeyLine


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(("base", "captain")) as running:
        yield running


def hints_of(pilot: Pilot[None]) -> list[str]:
    """What the footer names, or the last line of a dialog."""
    lines = pilot.app.screen.query(KeyLine)
    return [f"{hint.label} {hint.text}" for line in lines for hint in line.hints]


async def names(pilot: Pilot[None], *hints: str) -> None:
    await until(pilot, lambda: set(hints) <= set(hints_of(pilot)))


async def test_a_look_names_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DataLook, "job_for", lambda recipe: (None, False))
    data_folders.finished()
    app = LuthierApp("data")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        assert isinstance(app.screen, DataScreen)
        await names(pilot, "t train")
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen))
        await names(pilot, "enter start")


async def test_a_run_names_chat_certificate_and_server(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        app.open_run(jobs_by_name["captain"])
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        await names(pilot, "a chat", "t certificate", "v serve")
        await pilot.press("v")
        await until(pilot, lambda: isinstance(app.screen_stack[0], ServeScreen))
        await until(pilot, lambda: app.screen.is_modal)  # the form, the run chosen in it


async def test_a_certificate_names_the_chat(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        app.open_run(jobs_by_name["captain"])
        await names(pilot, "t certificate")
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, CertificateModal))
        await names(pilot, "a chat")
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen_stack[0], ChatScreen))


@pytest.mark.usefixtures("jobs_by_name")
async def test_a_server_names_the_chat() -> None:
    app = LuthierApp("serve")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await names(pilot, "a chat")
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen_stack[0], ChatScreen))


async def test_a_chat_names_the_vote_and_the_vote_the_next_run(
    server: FakeServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DataLook, "job_for", lambda recipe: (None, False))
    async with chat(server) as (pilot, screen):
        app = screen.app
        await ask(pilot, screen, "Hi")
        await names(pilot, "f2 vote")
        await pilot.press("f2")
        assert isinstance(app.screen, VoteModal)
        await pilot.press("b")
        await names(pilot, "f9 votes and training")
        await pilot.press(*"fits", "f9")
        await until(pilot, lambda: isinstance(app.screen, VotesModal))
        await names(pilot, "t train on them", "n count named votes too")
        await pilot.press("t")  # that vote was not blind: it says so, and makes nothing
        await until(pilot, lambda: "There are no votes to train on" in screen_text(app))
        assert not list(home.glob("votes/*"))
        await pilot.press("escape", "f9")
        await until(pilot, lambda: isinstance(app.screen, VotesModal))
        await pilot.press("n", "t")
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen))
        assert isinstance(app.screen, NewRunScreen)
        draft = app.screen.draft
        assert draft.value("objective.kind") == "dpo"
        (source,) = draft.sources
        (row,) = map(json.loads, Path(source).read_text().splitlines())
        assert row["provenance"]["reason"] == "fits"
