"""The app's screens on the way from a data file to a chat, of a recorded run.

The app is the real one, driven by Pilot. The run's events come as they came on the day: each frame
sees those of its own moment, and the clock stands there. The models' answers come from the record
of the chat.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from textual.pilot import Pilot

from jobs.job import Job, all_jobs
from jobs.machine import Machine, Meter
from models.certificate import CERTIFICATE_FILE
from models.standing import standing
from serve.chats import search, store
from serve.chats.turns import Complete
from serve.client import ChatMessage, Delta, Endpoint, Finished, Sampling
from tests.tui.driving import screen_text, until
from tests.tui.lock_holder import held
from tests.tui.walk import settled
from tools.pictures.animated_svg import Frame
from tools.pictures.recorded_home import restore
from tui import themes
from tui.app import LuthierApp
from tui.chat.painting import FLUSH_SECONDS
from tui.chat.screen import ChatScreen
from tui.home.screen import HomeScreen
from tui.new_run.screen import NewRunScreen
from tui.runs.run_screen import RunScreen
from workshop import machine, number_format
from workshop.chat.server import ChatServer

SIZE = (110, 30)
_ROOT = Path("/tmp/luthier-demo")
_MACHINE: dict[str, Any] = {
    "_has": lambda: "2 cores, 25 GB of memory, no GPU",
    "_fits": lambda memory: "The built-in 135M model fits.",
    "quick_checks": tuple,
}
"""What the home screen says of the machine on which the run was recorded."""
_LOAD = Machine(2.0, 0.4, 7_100_000_000, 25_300_000_000, 40 << 30, 120 << 30, 0.5)
_TYPED = "cap"
_STEPS = (1, 4, 8, 12, 16, 20, 24, 28)
_WORDS = (6, 14, 22)
"""How much of the answers is to be seen while they stream."""


class Clock:
    """The moment at which a frame looks."""

    def __init__(self) -> None:
        self.at = time.time()

    def __call__(self) -> float:
        return self.at


@dataclass
class Recorded:
    """The restored home, the run in it, and its events."""

    clock: Clock
    run: Job
    lines: list[str]

    def lines_until(self, at: float) -> list[str]:
        return [line for line in self.lines if json.loads(line)["t"] <= at]

    def rewind(self, at: float) -> None:
        """The run as it was at a moment."""
        self.clock.at = at
        self.run.events_path.write_text("".join(self.lines_until(at)))

    def time_of_step(self, number: int) -> float:
        events = map(json.loads, self.lines)
        return float(
            next(
                event["t"]
                for event in events
                if event["kind"] == "step" and event["step"] >= number
            )
        )

    def advance(self, at: float) -> None:
        """The run as it was at a later moment."""
        read_lines = self.run.events_path.read_text().count("\n")
        lines = self.lines_until(at)[read_lines:]
        with self.run.events_path.open("a") as file:
            file.writelines(lines)
        self.clock.at = at


@contextmanager
def recorded_home() -> Iterator[Recorded]:
    """The recording in a folder whose name is always the same, and a clock of its day."""
    _ROOT.with_suffix(".lock").touch()
    with _ROOT.with_suffix(".lock").open("w") as lock, ExitStack() as stack:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        shutil.rmtree(_ROOT, ignore_errors=True)
        stack.callback(shutil.rmtree, _ROOT, ignore_errors=True)
        restore(_ROOT)
        clock = Clock()
        places = {"LUTHIER_HOME": str(_ROOT / "home"), "HOME": str(_ROOT), "TZ": "UTC"}
        stack.enter_context(patch.dict(os.environ, places))
        time.tzset()
        stack.enter_context(chdir(_ROOT / "sea"))
        stack.enter_context(patch.object(number_format, "now", clock))
        stack.enter_context(patch.object(Meter, "read", lambda meter: _LOAD))
        theme = themes.DEFAULT_THEME
        stack.enter_context(patch.object(themes, "first_theme", lambda *terminal: theme))
        stack.enter_context(patch.multiple(machine, **_MACHINE))
        run = next(job for job in all_jobs() if job.spec.kind == "run")
        yield Recorded(clock, run, run.events_path.read_text().splitlines(keepends=True))
    time.tzset()


@contextmanager
def not_yet(*paths: Path) -> Iterator[None]:
    """Without these, which come later on the way."""
    later = _ROOT / "later"
    later.mkdir(exist_ok=True)
    for path in paths:
        path.rename(later / path.name)
    try:
        yield
    finally:
        for path in paths:
            (later / path.name).rename(path)


def _after(run: Job) -> list[Path]:
    """What came after the run."""
    jobs = [job.directory for job in all_jobs() if job.created > run.created]
    return [run.directory / CERTIFICATE_FILE, *jobs]


class Camera:
    """Takes the frames."""

    def __init__(self, pilot: Pilot[None]) -> None:
        self.pilot = pilot
        self.frames: dict[str, Frame] = {}

    @property
    def app(self) -> LuthierApp:
        assert isinstance(self.pilot.app, LuthierApp)
        return self.pilot.app

    async def until(self, *texts: str) -> None:
        await until(self.pilot, lambda: all(text in screen_text(self.app) for text in texts))

    async def take(self, name: str, seconds: float, caption: str) -> None:
        await settled(self.pilot)
        self.snap(name, seconds, caption)

    def snap(self, name: str, seconds: float, caption: str) -> None:
        """The screen as it is, though something is still under way."""
        svg = self.app.export_screenshot(simplify=True)
        self.frames[name] = Frame(svg, seconds, caption)


async def frames(size: tuple[int, int] = SIZE) -> dict[str, Frame]:
    """Every frame of the way, by its name."""
    with recorded_home() as recorded:
        chat = Chat(recorded)
        chats = patch.dict(LuthierApp.MODES, {"chat": chat.screen})
        run = recorded.run
        with chats, not_yet(*_after(run)):
            app = LuthierApp("home")
            async with app.run_test(size=size) as pilot:
                camera = Camera(pilot)
                with not_yet(run.directory):
                    await _plan(camera)
                with held(run):
                    await _train(camera, recorded)
        with chats:
            app = LuthierApp("runs")
            async with app.run_test(size=size) as pilot:
                late = Camera(pilot)
                await _certify(late, recorded)
                await _talk(late, chat)
        return {**camera.frames, **late.frames}


async def _plan(camera: Camera) -> None:
    """Home, and the new run."""
    pilot, app = camera.pilot, camera.app
    await camera.until("136 rows", "built-in")
    home = app.screen
    assert isinstance(home, HomeScreen)
    await camera.take("home", 2.0, "Name your data")
    for length in range(1, len(_TYPED) + 1):
        await pilot.press(_TYPED[length - 1])
        await camera.take(f"home-{length}", 1.2 if length == len(_TYPED) else 0.3, "Name your data")
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, NewRunScreen))
    screen = app.screen
    assert isinstance(screen, NewRunScreen)
    screen.form.input("recipe").value = "captain.toml"
    await camera.until("2 epochs", "tensor memory", "trained")
    await camera.take("new-run", 4.5, "See what the run will do")


async def _train(camera: Camera, recorded: Recorded) -> None:
    """The run, from its first step to its end."""
    app = camera.app
    recorded.rewind(recorded.time_of_step(_STEPS[0]))
    app.read_jobs()
    app.open_run(recorded.run)
    await until(camera.pilot, lambda: isinstance(app.screen, RunScreen))
    screen = app.screen
    assert isinstance(screen, RunScreen)
    for step in _STEPS:
        recorded.advance(recorded.time_of_step(step))
        app.read_jobs()
        screen.advance()
        await camera.until(f"{step} / 30")
        await camera.take(f"run-{step}", 0.7, "Watch it learn")


async def _certify(camera: Camera, recorded: Recorded) -> None:
    """The run as it ended, and its certificate."""
    app = camera.app
    end = float(json.loads(recorded.lines[-1])["t"])
    recorded.rewind(end)
    recorded.clock.at = end + 300
    await until(camera.pilot, lambda: app.rows is not None)
    app.open_run(recorded.run)
    await camera.until("30 / 30")
    await camera.take("run", 2.5, "Watch it learn")
    await camera.pilot.press("t")
    await camera.until("Certificate of captain")
    await camera.take("certificate", 4.5, "See the proof that it is the one you trained")
    await camera.pilot.press("escape")


class Chat:
    """The recorded question and its answers. A pane says no more than `words` of its answer."""

    def __init__(self, recorded: Recorded) -> None:
        (listed,) = search.chats()
        chat = store.load(listed.id)
        self.question, self.settings = chat.turns[0].prompt, chat.turns[0].settings
        self.words = 0
        speakers = tuple(pane.speaker for pane in chat.panes if pane.speaker is not None)
        self._answers = {pane.answers[0].speaker.model: pane.answers[0] for pane in chat.panes}
        self._server = ChatServer(
            Endpoint("http://127.0.0.1:8000", ""),
            speakers,
            standings={"captain": standing(recorded.run.directory)},
        )

    def screen(self) -> ChatScreen:
        return ChatScreen(lambda: self._server, self._answer)

    @property
    def beginnings(self) -> list[str]:
        """The last words of each answer that may be seen."""
        pieces = (_pieces(answer.text)[: self.words] for answer in self._answers.values())
        return [words[-1].strip() for words in pieces if words]

    async def _answer(
        self,
        endpoint: Endpoint,
        model: str,
        messages: list[ChatMessage],
        sampling: Sampling,
        tools: Sequence[dict[str, object]],
    ) -> AsyncIterator[Delta | Finished]:
        answer = self._answers[model]
        for number, word in enumerate(_pieces(answer.text)):
            while number >= self.words:
                await asyncio.sleep(0.01)
            yield Delta(word)
        assert isinstance(answer.state, Complete)
        yield answer.state.figures


def _pieces(text: str) -> list[str]:
    """Its words, each with the space before it."""
    return re.findall(r"\s*\S+", text)


async def _talk(camera: Camera, chat: Chat) -> None:
    """The question, and the answers of both."""
    app = camera.app
    await app.action_show("chat")
    screen = app.screen
    assert isinstance(screen, ChatScreen)
    await until(camera.pilot, lambda: screen.session.reachable.server is not None)
    screen.use_settings(chat.settings)
    screen.prompt.cursor_blink = False
    caption = "Ask both, side by side"
    screen.prompt.text = chat.question
    screen.prompt.move_cursor(screen.prompt.document.end)
    await camera.take("chat-typed", 1.2, caption)
    await camera.pilot.press("enter")
    for words in _WORDS:
        chat.words = words
        await camera.until(*chat.beginnings)
        await asyncio.sleep(2 * FLUSH_SECONDS)
        await camera.pilot.pause()
        camera.snap(f"chat-{words}", 0.5, caption)
    chat.words = 10_000
    await until(camera.pilot, lambda: not screen.session.answering)
    await camera.take("chat", 7.0, caption)
