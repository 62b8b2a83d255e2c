"""A guard on the run's screen: offered, shown with its figures first, its flips side by side and in
the chat, with the two models that were compared."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import msgspec
import pytest
from textual.pilot import Pilot

from jobs.job import Job
from models import chapters
from tests.tui import folders
from tests.tui.certificates import chapter
from tests.tui.driving import screen_text, until
from tui.app import LuthierApp
from tui.chat.run_server import RunServer
from tui.chat.screen import ChatScreen
from tui.compare.report_screen import ReportScreen
from tui.runs.runs_screen import RunsScreen
from tui.shared.certificate_modal import CertificateModal
from tui.shared.confirm_modal import ConfirmModal
from workshop.regression import launch
from workshop.regression import result as results
from workshop.regression.launch import Order
from workshop.regression.result import Item, Reply, Result

pytestmark = pytest.mark.heavy


@pytest.fixture
def run(home: Path) -> Job:
    return a_run("captain", 3)


@pytest.fixture
def plain(home: Path) -> Job:
    return a_run("plain", 2)


@pytest.fixture
def expected(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Job, ...]]:
    """The runs that are to be talked to, the one on the left first."""
    runs: list[tuple[Job, ...]] = []

    def expect(server: RunServer, run: Job, against: Job | None = None) -> None:  # no vLLM
        runs.append((run,) if against is None else (against, run))

    monkeypatch.setattr(RunServer, "expect", expect)
    return runs


def a_run(name: str, number: int) -> Job:
    job = folders.make_job(name, number, 600)
    folders.begin(job, 600)
    folders.adapter(job)
    folders.write(job, folders.event("result", 1), folders.event("exited", 0, code=0))
    return job


def guarded(run: Job, *, with_result: bool, against: Job | None = None) -> Job:
    job = folders.make_job("captain-guard", 4, 60, kind="guard")
    order = Order(str(run.directory), "builtin", against=str(against.directory) if against else "")
    folders.orders(job, msgspec.to_builtins(order))
    replies = [Reply("Aye", False), Reply("Paris", True), Reply("Arr", False)]
    items = [
        Item(
            f"f-{n}",
            "facts",
            f"Question {n}?",
            "contains Paris",
            Reply("Paris", True),
            reply,
            "Be brief." if n == 2 else "",
        )
        for n, reply in enumerate(replies)
    ]
    if with_result:
        other = "base" if against is None else against.spec.name
        results.write(job.directory, Result(run.id, other, "captain", items, []))
    return Job(job.directory)


async def open_flips(pilot: Pilot[None], run: Job) -> ReportScreen:
    """The report of a run's newest guard, its first flip in sight."""
    app = pilot.app
    assert isinstance(app, LuthierApp)
    app.open_run(run)
    await pilot.pause(0.3)
    await pilot.press("W")
    await until(pilot, lambda: isinstance(app.screen, ReportScreen))
    await pilot.press("t")
    assert isinstance(app.screen, ReportScreen)
    return app.screen


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


async def test_figures_then_flips_then_the_chat(run: Job, expected: list[tuple[Job, ...]]) -> None:
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
        assert screen.guarded is not None and screen.guarded.run.id == run.id
        await pilot.press("a")
        await until(pilot, lambda: bool(expected))
        chat = app.screen
        assert isinstance(chat, ChatScreen)
        assert expected == [(run,)]
        assert chat.prompt.text == "Question 2?"  # sent as soon as the server is there
        assert chat.replaying.progress == "flips of captain: 2 of 2"
        assert chat.replaying.replay is not None
        turn = chat.replaying.replay.next_turn  # asked as the guard has asked it
        assert turn is not None and turn.system == "Be brief."


async def test_a_flip_of_two_runs_opens_both_in_the_chat(
    run: Job, plain: Job, expected: list[tuple[Job, ...]]
) -> None:
    guarded(run, with_result=True, against=plain)
    async with LuthierApp("runs").run_test(size=(100, 30)) as pilot:
        await open_flips(pilot, run)
        await pilot.press("a")
        await until(pilot, lambda: bool(expected))
        assert isinstance(pilot.app.screen, ChatScreen)
        assert expected == [(plain, run)]
        assert pilot.app.screen.prompt.text == "Question 0?"


@pytest.mark.parametrize("of_two_runs", [True, False])
async def test_a_model_that_no_server_has_beside_the_other_says_so(
    run: Job, plain: Job, expected: list[tuple[Job, ...]], of_two_runs: bool
) -> None:
    guarded(run, with_result=True, against=plain if of_two_runs else None)
    of_its_own = plain if of_two_runs else run
    folders.base_model(of_its_own.directory / "model")
    async with LuthierApp("runs").run_test(size=(100, 30)) as pilot:
        await open_flips(pilot, run)
        await pilot.press("a")
        await until(pilot, lambda: "No server has both models" in screen_text(pilot.app))
        text = " ".join(screen_text(pilot.app).split())
        assert f"{of_its_own.id} is served as a model of its own" in text
        assert "press a on the screen of its run" in text
        assert expected == []


async def test_a_run_that_was_removed_since_is_named(
    run: Job, plain: Job, expected: list[tuple[Job, ...]]
) -> None:
    guarded(run, with_result=True, against=plain)
    async with LuthierApp("runs").run_test(size=(100, 30)) as pilot:
        await open_flips(pilot, run)
        shutil.rmtree(plain.directory)
        await pilot.press("a")
        await until(pilot, lambda: "The run was removed" in screen_text(pilot.app))
        assert plain.id in screen_text(pilot.app) and expected == []


@pytest.mark.parametrize("job_is_there", [True, False])
async def test_the_line_of_two_runs_on_the_certificate_leads_to_both(
    run: Job,
    plain: Job,
    expected: list[tuple[Job, ...]],
    monkeypatch: pytest.MonkeyPatch,
    job_is_there: bool,
) -> None:
    """Chat and measuring again, also where the job of the guard was removed."""
    measured: list[Order] = []
    monkeypatch.setattr(launch, "guard_run", measured.append)
    job = guarded(run, with_result=True, against=plain)
    order = launch.order_of(job)
    if not job_is_there:
        shutil.rmtree(job.directory)
        (run.directory / "recipe.toml").write_text('model = "builtin"\ndata = ["x.jsonl"]\n')
    against_plain = chapter("guard", "red")
    against_plain = dataclasses.replace(against_plain, subject=order.subject, job=job.id)
    chapters.write(run.directory, against_plain)
    async with LuthierApp("runs").run_test(size=(100, 30)) as pilot:
        app = pilot.app
        assert isinstance(app, LuthierApp)
        app.open_run(run)
        await pilot.pause(0.3)
        for key in ("g", "a"):
            await pilot.press("t")
            await until(pilot, lambda: isinstance(app.screen, CertificateModal))
            await pilot.press("down", "down")
            await until(pilot, lambda: "plain-00ff: It is red." in screen_text(app))
            await pilot.press(key)
            await until(pilot, lambda: not isinstance(app.screen, CertificateModal))
        await until(pilot, lambda: bool(expected and measured))
        assert [order.against for order in measured] == [str(plain.directory)]
        assert expected == [(plain, run)]


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
        assert app.screen.guarded is not None and app.screen.guarded.run.id == run.id
