"""A hostile session: keys, pastes, clicks, scrolls and resizes by the dice, while jobs change
underneath. `python -m tests.tui.hostile_session [--seed N] [--sessions N] [--steps N]`, from the
checkout, plays many and tells what went wrong in each; a seed makes the same session again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

os.environ["TEXTUAL_ANIMATIONS"] = "none"  # before textual is imported

from textual.events import AppBlur, AppFocus, MouseScrollDown, MouseScrollUp, Paste
from textual.pilot import OutOfBounds, Pilot
from textual.widgets import Input, TextArea

from jobs import job as jobs
from jobs.home import home, jobs_directory
from jobs.job import Job
from jobs.luthier_error import LuthierError
from serve.chats import search, store
from tests.fakes.openai_server import FakeServer
from tests.tui import comparisons, data_folders, folders, hostile, run_events, stylesheets
from tests.tui.hostile import FOREIGN
from tests.tui.lock_holder import held
from tests.tui.session_world import CONFIG, World, run_program, user_files
from tui.app import LuthierApp
from tui.key_bindings import ACTIONS
from workshop import number_format

BLOCKED = 1.0  # seconds for which the event loop may do one piece of work
_PLAIN = ("tab", "shift+tab", "enter", "escape", "up", "down", "left", "right", "home", "end")
_EDITING = ("backspace", "delete", "pageup", "pagedown", "ctrl+s", "ctrl+a", "ctrl+k", "shift+down")
_LETTERS = "abcdefghijklmnopqrstuvwxyzNRSG0123456789 .,?[]+-<>'\"{}é漢🌊"
_PASTES = (
    "a word",
    f"two lines\n{FOREIGN}",
    "x" * 60_000,
    "line\n" * 3_000,
    "e\u0301\u200d\u2066漢字🌊" * 40,
    "\x1b[201~\x00\x07",
)
_PATIENCE = 12  # steps in a dialog, before it is left
_SIZES = (
    *((80, 24), (120, 35), (200, 60), (60, 15), (59, 14), (100, 30), (300, 90)),
    *((1, 1), (20, 5), (80, 8), (40, 60)),
)

_USUAL = 7  # of these, the first


class Watchdog:
    """Notes every callback that holds the event loop for more than a second, without the time in
    which the machine gave the processor to others."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self._began: float | None = None
        self._done = threading.Event()
        self._stacks: list[str] = []

    def __enter__(self) -> Watchdog:
        self._thread = threading.current_thread()
        path = f"/proc/self/task/{self._thread.native_id}/schedstat"
        self._schedule = os.open(path, os.O_RDONLY)
        self._handle_run = asyncio.Handle._run
        watchdog = self

        def run(handle: asyncio.Handle) -> None:
            watchdog.watch(handle)

        asyncio.Handle._run = run  # type: ignore[assignment,method-assign]
        self._sampler = threading.Thread(target=self._sample, name="watchdog", daemon=True)
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.Handle._run = self._handle_run  # type: ignore[method-assign]
        self._done.set()
        self._sampler.join()
        os.close(self._schedule)

    def _waited(self) -> float:
        """Seconds for which the loop's thread was ready and had no processor."""
        return int(os.pread(self._schedule, 100, 0).split()[1]) / 1e9

    def watch(self, handle: asyncio.Handle) -> None:
        """Run a callback of the loop."""
        if threading.current_thread() is not self._thread:  # the fake server's loop
            self._handle_run(handle)
            return
        waited, self._began = self._waited(), time.monotonic()
        try:
            self._handle_run(handle)
        finally:
            seconds = time.monotonic() - self._began
            self._began = None
            if seconds > BLOCKED and seconds - (self._waited() - waited) > BLOCKED:
                stacks = "\n".join(self._stacks[:3])
                self.blocks.append(f"blocked for {seconds:.1f} s\n{handle!r:.300}\n{stacks}")

    def _sample(self) -> None:
        while not self._done.wait(0.2):
            began = self._began
            if began is not None and time.monotonic() - began > BLOCKED / 4:
                frame = sys._current_frames().get(self._thread.ident or 0)
                self._stacks.append("".join(traceback.format_stack(frame)[-14:]))
            elif began is None:
                self._stacks.clear()


@dataclass
class Session:
    """One walk, and what went wrong in it."""

    seed: int
    steps: int
    problems: list[str] = field(default_factory=list)
    done: int = 0
    last: deque[str] = field(default_factory=lambda: deque(maxlen=40))
    """The steps before now."""

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self._in_dialog = 0

    def report(self) -> str:
        steps = "\n".join(self.last)
        return f"seed {self.seed}, after {self.done} steps:\n{steps}\n" + "\n".join(self.problems)

    async def play(self, world: World) -> None:
        """Play until a problem or the end; where a key has quit the app, it is opened again."""
        with Watchdog() as watchdog:
            while self.done < self.steps and not self.problems:
                try:
                    await self._open(world)
                except Exception:  # noqa: BLE001  # whatever it is, it is what is looked for
                    self.problems.append(traceback.format_exc()[-6000:])
                self.problems += watchdog.blocks

    async def _open(self, world: World) -> None:
        size = self.dice.choice(_SIZES[:_USUAL])
        async with LuthierApp().run_test(size=size, notifications=True) as pilot:
            while self.done < self.steps and not self.problems and not pilot.app._exit:
                self.done += 1
                await self._step(pilot, world)
                crash = home() / "crash.log"
                if crash.exists():
                    self.problems.append(crash.read_text()[-6000:])

    async def _step(self, pilot: Pilot[None], world: World) -> None:
        kind = self.dice.choices(
            ("action", "plain", "letters", "paste", "mouse", "scroll", "resize", "world", "focus"),
            (30, 25, 8, 2, 10, 4, 4, 15, 2),
        )[0]
        if pilot.app.size.width < 10 and self.dice.random() < 0.3:  # it would be so for long
            kind = "resize"
        self._in_dialog = self._in_dialog + 1 if pilot.app.screen.is_modal else 0
        if self._in_dialog > _PATIENCE:
            self._in_dialog = 0
            await pilot.press("escape", "escape")
        if kind in ("resize", "world", "focus"):
            await self._not_by_the_user(kind, pilot, world)
        else:
            await self._by_the_user(kind, pilot)

    async def _not_by_the_user(self, kind: str, pilot: Pilot[None], world: World) -> None:
        """What is typed must outlive it."""
        typed = _typed(pilot)
        if kind == "resize":
            size = self.dice.choice((*_SIZES, *_SIZES[:_USUAL]))
            self.last.append(f"resize {size}")
            await pilot.resize_terminal(*size)
        elif kind == "world":
            self.last.append(await asyncio.to_thread(world.change))
            pilot.app.read_jobs()  # type: ignore[attr-defined]
            await pilot.pause(0.01)
        else:
            event = self.dice.choice((AppBlur, AppFocus))
            self.last.append(event.__name__)
            pilot.app.post_message(event())
            await pilot.pause()
        after = _typed(pilot)
        lost = [text for widget, text in typed.items() if after.get(widget) != text]
        if lost:
            self.problems.append(f"{self.last[-1]}: lost what was typed: {lost[0][:200]!r}")

    async def _by_the_user(self, kind: str, pilot: Pilot[None]) -> None:
        if kind in ("mouse", "scroll"):
            await self._use_mouse(kind, pilot)
            return
        if kind == "paste":
            text = self.dice.choice(_PASTES)
            self.last.append(f"paste {text[:30]!r}")
            (pilot.app.focused or pilot.app.screen).post_message(Paste(text))
            await pilot.pause()
            return
        keys = {
            "action": lambda: [self.dice.choice(self.dice.choice(ACTIONS).keys.split(","))],
            "plain": lambda: self.dice.choices((*_PLAIN, *_PLAIN, *_EDITING), k=2),
            "letters": lambda: self.dice.choices(_LETTERS, k=4),
        }[kind]()
        self.last.append(f"{type(pilot.app.screen).__name__} {' '.join(keys)}")
        await pilot.press(*keys)

    async def _use_mouse(self, kind: str, pilot: Pilot[None]) -> None:
        size = pilot.app.size
        x, y = self.dice.random(), self.dice.random()
        offset = (min(int(x * size.width), size.width - 1), min(int(y * size.height), size.height))
        times, button = self.dice.choice((1, 1, 1, 2, 3)), self.dice.choice((1, 1, 1, 3))
        self.last.append(f"{type(pilot.app.screen).__name__} {kind} {offset}")
        try:
            if kind == "mouse":
                await pilot.click(offset=offset, times=times, button=button)
            else:
                event = self.dice.choice((MouseScrollDown, MouseScrollUp))
                await pilot._post_mouse_events([event], offset=offset, button=0)
        except OutOfBounds:
            pass  # the screen is smaller than one cell


def _typed(pilot: Pilot[None]) -> dict[object, str]:
    """What stands in the texts of all screens."""
    stacks = pilot.app._screen_stacks.values()
    widgets = [
        widget for stack in stacks for screen in stack for widget in screen.query("Input, TextArea")
    ]
    texts: dict[object, str] = {}
    for widget in widgets:
        if isinstance(widget, Input):
            texts[widget] = widget.value
        elif isinstance(widget, TextArea) and not widget.read_only:
            texts[widget] = widget.text
    return {widget: text for widget, text in texts.items() if text.strip()}


@contextmanager
def _home(directory: Path, server: FakeServer, is_foreign: bool) -> Iterator[None]:
    """A full home, with foreign text or without; the user's folder beside it."""
    user = directory / "user"
    user.mkdir(parents=True)
    os.environ["LUTHIER_HOME"] = str(directory / "home")
    (directory / "home").mkdir()
    os.chdir(directory / "home")
    if is_foreign:
        jobs_by_name = hostile.fill(directory / "home", server)
    else:
        folders.base_model(directory / "home" / "models" / "builtin")
        jobs_by_name = folders.all_states()
        run_events.eventful(jobs_by_name["pirate"])
        data_folders.finished()
        comparisons.compared()
        folders.serve(jobs_by_name["captain-server"], "captain", port=server.port)
        hostile.chats()
        hostile.keys(directory / "home")
    (directory / "home" / "config.toml").write_text(CONFIG)
    turns = [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "Aye."}]
    (user / "mine.jsonl").write_text(f'{{"messages": {turns!r}}}\n'.replace("'", '"') * 40)
    (user / "mine.toml").write_text('model = "builtin"\ndata = ["mine.jsonl"]\n')
    (user / "notes.txt").write_text("mine\n")
    os.chdir(user)
    with held(*(jobs_by_name[name] for name in folders.LIVING)):
        yield


def play(seed: int, steps: int, directory: Path) -> Session:
    """A whole session in a home of its own, and what it has left of the user's."""
    session = Session(seed, steps)
    removed: list[str] = []
    remove = store.remove

    def removing(chat_id: str) -> None:
        removed.append(chat_id)
        remove(chat_id)

    before = dict(os.environ), Path.cwd()
    os.environ["EDITOR"] = "true"
    try:
        with ExitStack() as stack:
            server = stack.enter_context(FakeServer())
            stack.enter_context(_home(directory, server, is_foreign=seed % 2 == 0))
            stack.enter_context(stylesheets.parsed_once())
            stack.enter_context(patch.object(LuthierApp, "POLL_SECONDS", 0.5))
            stack.enter_context(patch.object(number_format, "now", lambda: folders.NOW))
            stack.enter_context(patch("subprocess.run", run_program))
            stack.enter_context(patch.object(store, "remove", removing))
            stack.callback(_end_jobs)
            files, chats = user_files(directory / "user"), {chat.id for chat in search.chats()}
            asyncio.run(session.play(World(session.dice, server)))
            after = user_files(directory / "user")
            changed = [name for name in files if after.get(name) != files[name]]
            lost = chats - {chat.id for chat in search.chats()} - set(removed)
            if changed or lost:
                session.problems.append(f"lost: files {changed}, chats {lost}")
    finally:
        os.environ.clear()
        os.environ.update(before[0])
        os.chdir(before[1])
    return session


def _end_jobs() -> None:
    """Those that the session has started."""
    for path in jobs_directory().iterdir():
        try:
            jobs.stop(Job(path), now=True)
        except (LuthierError, OSError):
            continue


def main() -> None:
    parser = argparse.ArgumentParser(description="Hostile sessions, one after the other.")
    parser.add_argument("--seed", type=int, default=1, help="of the first")
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--steps", type=int, default=600)
    arguments = parser.parse_args()
    failed = 0
    for seed in range(arguments.seed, arguments.seed + arguments.sessions):
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as directory:
            session = play(seed, arguments.steps, Path(directory))
        took = time.monotonic() - began
        failed += bool(session.problems)
        text = session.report() if session.problems else f"seed {seed}: {session.done} steps"
        print(f"{text} ({took:.0f} s)", flush=True)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
