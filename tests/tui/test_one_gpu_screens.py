"""One GPU for everything, on the screens: a server that sleeps, the question that a run asks, and
the key from a run to its chat."""

from __future__ import annotations

import json
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from models.runs import Run
from serve.servers import Server
from tests.tui import folders
from tests.tui.driving import ready, screen_text, text_of, until
from tests.tui.lock_holder import held
from tui.app import LuthierApp
from tui.chat.screen import ChatScreen
from tui.serve.screen import ServeScreen
from tui.serve.server_question import ServerQuestion
from tui.shared.error_modal import ErrorModal
from workshop import chat_with_run, gpu_conflict, servers

SIZES = [(80, 24), (140, 40)]
SERVER = "20261118-0006-captain-server-00ff"


def on_device(server: Job, device: str) -> None:
    orders = replace(
        Spec.read(server.directory),
        gives_way=device == "gpu",
        settings={"model": "builtin", "device": device},
    )
    orders.replace(server.directory)


@pytest.fixture
def asleep(jobs_by_name: dict[str, Job]) -> Job:
    server = jobs_by_name["captain-server"]
    on_device(server, "gpu")
    slept = {
        "by": jobs_by_name["pirate"].id,
        "why": "pirate-00ff (run) needs the GPU",
        "seconds": 2.1,
        "freed_bytes": 70_000_000_000,
    }
    folders.write(server, folders.event("asleep", 600, **slept))
    return server


@pytest.fixture
def asking(jobs_by_name: dict[str, Job]) -> Iterator[Job]:
    """A run that waits for the GPU of a server, and what is to be done about that is open."""
    run = jobs_by_name["queued-up"]
    folders.write(
        run,
        folders.event("waiting", 10, waits_for="captain-server-00ff on gpu-0", servers=[SERVER]),
    )
    yield run


async def _serve(pilot: Pilot[None]) -> None:
    app = await ready(pilot)
    await until(
        pilot, lambda: isinstance(app.screen, ServeScreen) and app.screen.server is not None
    )
    await until(pilot, lambda: "z wakes it" in screen_text(app) and app.focused is not None)


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "140x40"])
def test_a_server_that_sleeps(
    asleep: Job, snap_compare: Callable[..., bool], size: tuple[int, int]
) -> None:
    assert snap_compare(LuthierApp("serve"), terminal_size=size, run_before=_serve)


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "140x40"])
def test_the_question(
    asking: Job, snap_compare: Callable[..., bool], size: tuple[int, int]
) -> None:
    async def asked(pilot: Pilot[None]) -> None:
        await ready(pilot)
        await until(pilot, lambda: "One GPU for both" in screen_text(pilot.app))

    assert snap_compare(LuthierApp(), terminal_size=size, run_before=asked)


async def test_a_key_puts_it_to_sleep_and_wakes_it(
    asleep: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr("serve.sleep.put_to_sleep", lambda job: done.append("sleep"))
    monkeypatch.setattr("serve.sleep.wake", lambda job, wait: done.append("wake"))
    app = LuthierApp("serve")
    async with app.run_test(size=(80, 24)) as pilot:
        await _serve(pilot)
        assert (
            "http://127.0.0.1:8712/v1" in text_of(app, "#server-facts")
            and not app.screen.query_one("#snippet-panel").display
        )
        await pilot.press("z")
        await until(pilot, lambda: done == ["wake"])
        folders.write(asleep, folders.event("waking", 1))
        app.read_jobs()
        await until(pilot, lambda: "waking up" in text_of(app, "#server-facts"))
        folders.write(asleep, folders.event("awake", 0, seconds=1.0))
        app.read_jobs()
        await until(pilot, lambda: "z frees the GPU" in text_of(app, "#server-facts"))
        await pilot.press("z")
        await until(pilot, lambda: done == ["wake", "sleep"])


async def test_on_a_cpu_it_is_not_offered_and_why_is_said(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.sleep.put_to_sleep", lambda job: pytest.fail("goes to sleep"))
    on_device(jobs_by_name["captain-server"], "cpu")
    app = LuthierApp("serve")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await until(
            pilot,
            lambda: (
                "never: vLLM's sleep mode is for GPUs"
                in " ".join(text_of(app, "#server-facts").split())
            ),
        )
        assert app.screen.check_action("do", ("sleep",)) is False
        await pilot.press("z")
        await pilot.pause()


@pytest.mark.parametrize(("key", "choice"), [("s", "sleep"), ("w", "wait")])
async def test_the_answer_is_written_into_the_run_and_remembered(
    asking: Job, home: Path, key: str, choice: str
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: isinstance(app.screen, ServerQuestion))
        await until(
            pilot,
            lambda: (
                "captain-server-00ff holds the GPU that queued-up waits for." in screen_text(app)
            ),
        )
        await pilot.press(key)
        await until(pilot, lambda: not isinstance(app.screen, ServerQuestion))
        assert Spec.read(asking.directory).beside_server == choice
        assert tomllib.loads((home / "config.toml").read_text()) == {
            "training_beside_server": choice
        }
        app.read_jobs()
        await pilot.pause()
        assert not isinstance(app.screen, ServerQuestion)  # once


async def test_sharing_that_does_not_fit_is_told_and_the_question_stays(
    asking: Job, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    def share(run: Job) -> None:
        raise LuthierError(
            "Not enough GPU memory for both", "It takes 20 GB; 8 GB are free.", "Let it sleep."
        )

    monkeypatch.setattr(gpu_conflict, "_share", share)
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: isinstance(app.screen, ServerQuestion))
        await pilot.press("h")
        await until(pilot, lambda: "20 GB; 8 GB are free" in screen_text(app))
        assert isinstance(app.screen, ServerQuestion) and not (home / "config.toml").exists()
        await pilot.press("escape")
        assert not isinstance(app.screen, ServerQuestion)


class Served:
    """A server of the captain's base, that the key starts, and that loads the adapter when it is
    told to be ready."""

    def __init__(self, jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch) -> None:
        self.job = jobs_by_name["captain-server"]
        self.ready = False
        self.error: LuthierError | None = None
        monkeypatch.setattr(chat_with_run, "server_job", self._job)
        monkeypatch.setattr(servers, "once_ready", self._once_ready)
        monkeypatch.setattr(chat_with_run, "have_it_serve", lambda server, run: "captain")
        path = self.job.directory / "server.json"
        told = json.loads(path.read_text())
        told["models"].insert(
            2, {"id": "other", "kind": "adapter", "path": "/runs/other/adapter", "run": None}
        )
        path.write_text(json.dumps(told))

    def _job(self, *runs: Run) -> Job:
        return self.job

    def _once_ready(self, job: Job) -> Server:
        import time

        while not self.ready:
            time.sleep(0.01)
        if self.error is not None:
            raise self.error
        return Server(job, "127.0.0.1", 8712, [])


async def test_one_key_leads_from_a_run_to_its_chat(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Served(jobs_by_name, monkeypatch)
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        app.open_run(jobs_by_name["captain"])
        await until(pilot, lambda: "a chat" in screen_text(app))
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        await until(pilot, lambda: screen.run_server.job is not None)
        served.ready = True
        await until(
            pilot,
            lambda: screen.run_server.job is None and screen.session.panes[1].speaker is not None,
        )
        assert [pane.speaker.model for pane in screen.session.panes if pane.speaker] == [
            "base",
            "captain",
        ]
        assert app.focused is screen.prompt


async def test_the_chat_has_the_system_prompt_of_the_data_until_somebody_writes_another(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Served(jobs_by_name, monkeypatch)
    served.ready = True
    folders.samples(jobs_by_name["captain"], "Be a captain.")
    folders.samples(jobs_by_name["first-try"], "Be first.")
    app = LuthierApp()
    async with app.run_test(size=(120, 35)) as pilot:
        await ready(pilot)
        await app.journey.chat_with(jobs_by_name["captain"])
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        await until(pilot, lambda: screen.session.settings.system == "Be a captain.")
        said = "system prompt of the data"
        await until(pilot, lambda: any(said in note.message for note in app._notifications))
        await app.journey.chat_with(jobs_by_name["first-try"])
        await until(pilot, lambda: screen.session.settings.system == "Be first.")
        screen.use_settings(replace(screen.session.settings, system="Be brief."))
        served.ready = False
        await app.journey.chat_with(jobs_by_name["captain"])
        await until(pilot, lambda: screen.run_server.job is not None)
        served.ready = True
        await until(pilot, lambda: screen.run_server.job is None)
        assert screen.session.settings.system == "Be brief."


async def test_two_runs_that_were_compared_speak_side_by_side(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Served(jobs_by_name, monkeypatch)
    wishes: list[str] = []

    def server_job(*runs: Run) -> Job:
        wishes.extend(run.name for run in runs)
        return served.job

    monkeypatch.setattr(chat_with_run, "server_job", server_job)
    names = {"pirate": "other", "captain": "captain"}
    monkeypatch.setattr(chat_with_run, "have_it_serve", lambda server, run: names[run.name])
    served.ready = True
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await app.journey.chat_with(jobs_by_name["captain"], None, jobs_by_name["pirate"])
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        await until(
            pilot,
            lambda: (
                [pane.speaker.model for pane in screen.session.panes if pane.speaker]
                == ["other", "captain"]
            ),
        )
        assert wishes == ["pirate", "captain"]  # the server starts with both


async def test_of_two_runs_the_one_that_was_asked_last_is_talked_to(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server of the first may be ready long after the second's; or may never be."""
    served = Served(jobs_by_name, monkeypatch)
    at_once = served.job
    slow = folders.make_job("slow", 30, age=20, kind="server")
    names = {"first-try": slow, "captain": at_once}
    gate = threading.Event()
    left: list[str] = []

    def once_ready(job: Job) -> Server:
        if job.id == slow.id:
            assert gate.wait(20)
            left.append(job.id)
            raise LuthierError("vLLM ended", "no room", "Stop something.")
        return Server(job, "127.0.0.1", 8712, [])

    monkeypatch.setattr(chat_with_run, "server_job", lambda run: names[run.name])
    monkeypatch.setattr(servers, "once_ready", once_ready)
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await app.journey.chat_with(jobs_by_name["first-try"])
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        await until(
            pilot, lambda: screen.run_server.job is not None and screen.run_server.job.id == slow.id
        )
        await app.journey.chat_with(jobs_by_name["captain"])
        await until(pilot, lambda: screen.session.panes[1].speaker is not None)
        assert screen.run_server.job is None
        gate.set()
        await until(pilot, lambda: bool(left))
        await pilot.pause(0.1)
        assert not isinstance(app.screen, ErrorModal)  # no word of the other
        assert [pane.speaker.model for pane in screen.session.panes if pane.speaker] == [
            "base",
            "captain",
        ]


async def test_while_its_server_starts_the_chat_says_how_far_it_is(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Served(jobs_by_name, monkeypatch)
    starting = folders.make_job("captain", 30, age=20, kind="server")
    folders.begin(starting, 20)
    folders.write(starting, folders.event("phase", 12, name="loading the weights"))
    served.job = starting
    with ExitStack() as lock:
        lock.enter_context(held(starting))
        app = LuthierApp()
        monkeypatch.setattr("workshop.chat.server.running_servers", lambda: [])
        async with app.run_test(size=(80, 24)) as pilot:
            await ready(pilot)
            app.open_run(jobs_by_name["captain"])
            await pilot.press("a")
            await until(pilot, lambda: "The chat opens by itself" in screen_text(app))
            assert "loading the weights, 19 s so far" in screen_text(app)
            served.error, served.ready = (
                LuthierError("vLLM ended", "no room", "Stop something."),
                True,
            )
            await until(pilot, lambda: isinstance(app.screen, ErrorModal))
            await pilot.press("escape")
            lock.close()
            app.read_jobs()
            await until(pilot, lambda: "No server is running" in screen_text(app))
            assert "a starts one for captain and its base" in screen_text(app)
