"""What is told when a job ends, where, and what is not."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from textual.pilot import Pilot

from jobs.job import Job
from tests.tui import folders
from tests.tui.driving import ready, until
from tui.app import LuthierApp
from tui.shared.ends import Ends, end_text, terminal_title
from workshop.job_list import read_rows


def end(job: Job, code: int = 0) -> None:
    """It ends, and nobody holds its lock any more."""
    folders.write(job, folders.event("exited", 0, code=code, stopped=False, swept=0))
    (job.directory / "lock").unlink()


class Heard:
    """An app's bells, and what it wrote to its terminal beside the picture."""

    def __init__(self, app: LuthierApp, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bells = 0
        self.written: list[str] = []
        monkeypatch.setattr(app, "bell", self._ring)
        monkeypatch.setattr(app.notices, "_write", self.written.append)

    def _ring(self) -> None:
        self.bells += 1

    @property
    def title(self) -> str:
        return (
            [text for text in self.written if text.startswith("\x1b]2;")][-1]
            .removeprefix("\x1b]2;")
            .removesuffix("\x07")
        )


async def look_again(pilot: Pilot[None], app: LuthierApp) -> None:
    rows = app.rows
    app.read_jobs()
    await until(pilot, lambda: app.rows is not rows)
    await pilot.pause()


def told(app: LuthierApp) -> list[str]:
    return [note.message for note in app._notifications]


async def test_an_end_is_told_once_and_what_had_ended_before_never(
    jobs_by_name: dict[str, Job],
) -> None:
    app = LuthierApp()
    async with app.run_test() as pilot:
        await ready(pilot)
        assert told(app) == []
        end(jobs_by_name["pirate"], code=1)
        await look_again(pilot, app)
        await look_again(pilot, app)
        assert told(app) == ["pirate failed: Exit status 1."]


async def test_what_ends_while_the_terminal_is_not_looked_at_rings_and_is_told_on_return(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = LuthierApp()
    heard = Heard(app, monkeypatch)
    async with app.run_test() as pilot:
        await ready(pilot)
        assert heard.title == "● pirate 42 % +2 · Luthier"
        app.app_focus = False
        end(jobs_by_name["pirate"], code=1)
        await look_again(pilot, app)
        assert (heard.bells, told(app), heard.title) == (1, [], "✗ pirate failed · Luthier")
        assert "\x1b]9;Luthier: pirate failed: Exit status 1.\x07" in heard.written
        app.app_focus = True
        await pilot.pause()
        assert told(app) == ["pirate failed: Exit status 1."]
        assert heard.title == "◐ halting 20 % +1 · Luthier"


async def test_many_ends_at_once_are_one_toast(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test() as pilot:
        await ready(pilot)
        for name in ("pirate", "parrot", "captain-server"):
            end(jobs_by_name[name], code=1)
        folders.write(
            jobs_by_name["queued-up"],
            folders.event("stop_requested", 0),
            folders.event("exited", 0, code=0, stopped=True),
        )
        (jobs_by_name["queued-up"].directory / "lock").unlink()
        await look_again(pilot, app)
        assert told(app) == ["4 jobs have ended: 3 failed, 1 stopped."]


async def test_silence_is_kept_and_remembered(
    jobs_by_name: dict[str, Job], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = LuthierApp()
    heard = Heard(app, monkeypatch)
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("f8")
        app.app_focus = False
        end(jobs_by_name["pirate"])
        await look_again(pilot, app)
        assert heard.bells == 0 and not any(text.startswith("\x1b]9;") for text in heard.written)
    assert tomllib.loads((home / "config.toml").read_text()) == {"silent": True}
    assert LuthierApp().notices.silent


async def test_the_run_that_is_looked_at_needs_no_toast(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test() as pilot:
        await ready(pilot)
        app.open_run(jobs_by_name["pirate"])
        await pilot.pause()
        end(jobs_by_name["pirate"], code=1)
        await look_again(pilot, app)
        assert told(app) == []


def test_every_new_end_counts_also_one_that_nobody_saw_begin(jobs_by_name: dict[str, Job]) -> None:
    ends = Ends()
    assert ends.new(read_rows({})) == []
    folders.begin(jobs_by_name["captain"], 5)
    folders.write(jobs_by_name["captain"], folders.event("exited", 1, code=1))
    newest = folders.make_job("brief", 20, age=3)
    folders.begin(newest, 2)
    folders.write(newest, folders.event("result", 1), folders.event("exited", 1, code=0))
    assert {row.name for row in ends.new(read_rows({}))} == {"captain", "brief"}
    # the worker of a lost job, still ending
    folders.write(jobs_by_name["rebooted"], folders.event("step", 1, step=41, total=200))
    assert ends.new(read_rows({})) == []


def test_ends_in_words(jobs_by_name: dict[str, Job]) -> None:
    texts = {row.name: end_text(row) for row in read_rows({}) if not row.alive}
    assert texts == {
        "rebooted": "rebooted was lost: its process is gone.",
        "too-large": "too-large failed: Out of memory.",
        "captain": "captain is done: loss 0.950 after 300 steps.",
        "first-try": "first-try was stopped at step 120 of 400.",
        "builtin": "builtin is done.",
    }


def test_titles(jobs_by_name: dict[str, Job]) -> None:
    rows = read_rows({})
    assert terminal_title([], None) == "Luthier"
    assert (
        terminal_title([row for row in rows if row.name == "parrot"], None) == "◔ parrot · Luthier"
    )
    assert terminal_title([row for row in rows if row.kind == "server"], None) == "Luthier"


@pytest.mark.heavy
@pytest.mark.parametrize("hangup", ["default", "ignored"])
def test_the_app_ends_with_its_terminal(home: Path, hangup: str) -> None:
    """A pty whose master is closed. What runs is no part of the app: tests/jobs has that side."""
    if hangup == "ignored":  # as under nohup
        command = ["/bin/sh", "-c", f"trap '' HUP; exec {sys.executable} -m tui.cli"]
    else:
        command = [sys.executable, "-m", "tui.cli"]
    master, slave = pty.openpty()
    environment = {
        **os.environ,
        "TERM": "xterm-256color",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    with subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
    ) as app:
        os.close(slave)
        seen = b""
        while b"Train on" not in seen:
            seen += os.read(master, 65_536)
        assert b"\x1b[22;2t" in seen  # the terminal's own title is kept
        os.close(master)
        deadline = time.monotonic() + 20
        while app.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        ended = app.poll()
        app.kill()
    assert ended is not None
