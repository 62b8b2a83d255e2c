"""A guard on the run's screen: offered, shown with its figures first, its flips side by side and in
the chat."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from jobs.job import Job
from models.runs import Run
from tests.tui import folders
from tui.app import LuthierApp
from tui.chat.run_server import RunServer
from tui.chat.screen import ChatScreen
from tui.compare.report_screen import ReportScreen
from tui.runs.runs_screen import RunsScreen
from tui.shared.confirm_modal import ConfirmModal
from workshop.regression import result as results
from workshop.regression.launch import Order
from workshop.regression.result import Item, Reply, Result

pytestmark = pytest.mark.heavy


@pytest.fixture
def run(home: Path) -> Job:
    job = folders.make_job("captain", 3, 600)
    folders.begin(job, 600)
    folders.adapter(job)
    folders.write(job, folders.event("result", 1), folders.event("exited", 0, code=0))
    return job


def guarded(run: Job, *, with_result: bool) -> Job:
    job = folders.make_job("captain-guard", 4, 60, kind="guard")
    folders.orders(job, msgspec.to_builtins(Order(str(run.directory), "builtin")))
    replies = [Reply("Aye", False), Reply("Paris", True), Reply("Arr", False)]
    items = [
        Item(f"f-{n}", "facts", f"Question {n}?", "contains Paris", Reply("Paris", True), reply)
        for n, reply in enumerate(replies)
    ]
    if with_result:
        results.write(job.directory, Result(run.id, "base", "captain", items, []))
    return job


async def test_the_first_time_it_asks(run: Job) -> None:
    app = LuthierApp("runs")
    async with app.run_test(size=(100, 30)) as pilot:
        app.open_run(run)
        await pilot.pause(0.3)
        await pilot.press("W")
        await app.workers.wait_for_complete()
        await pilot.pause(0.2)
        assert isinstance(app.screen, ConfirmModal)
        await pilot.press("escape")


async def test_figures_then_flips_then_the_chat(run: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    expected: list[Job] = []
    monkeypatch.setattr(RunServer, "expect", lambda self, job: expected.append(job))  # no vLLM
    job = guarded(run, with_result=True)
    assert results.read(job.directory) is not None
    app = LuthierApp("runs")
    async with app.run_test(size=(100, 30)) as pilot:
        app.open_run(run)
        await pilot.pause(0.3)
        await pilot.press("W")
        await app.workers.wait_for_complete()
        await pilot.pause(0.2)
        screen = app.screen
        assert isinstance(screen, ReportScreen)
        assert screen.with_figures and "2 lost and 0 won of 3 items" in screen.report.tables[0][0]
        await pilot.press("t", "right")
        assert not screen.with_figures and screen.index == 1
        assert screen.report.questions[1].text == "Question 2?"
        assert screen.guarded is not None and screen.guarded.id == Run(run).id
        await pilot.press("a")
        await pilot.pause(0.3)
        chat = app.screen
        assert isinstance(chat, ChatScreen)
        assert expected == [run]
        assert chat.prompt.text == "Question 2?"  # sent as soon as the server is there
        assert chat.replaying.progress == "flips of captain: 2 of 2"


async def test_enter_on_a_guard_that_is_done_opens_its_result(run: Job) -> None:
    job = guarded(run, with_result=True)
    folders.begin(job, 60)
    folders.write(job, folders.event("result", 1), folders.event("exited", 0, code=0))
    app = LuthierApp("runs")
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause(0.3)
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        screen.table.options.highlighted = next(
            index
            for index in range(9)
            if screen.table.options.get_option_at_index(index).id == job.id
        )
        await pilot.press("enter")
        await app.workers.wait_for_complete()
        await pilot.pause(0.2)
        assert isinstance(app.screen, ReportScreen)
        assert app.screen.guarded is not None and app.screen.guarded.id == run.id
