"""A walk over every screen and dialog of the app, at every size and in both themes: what was
painted, and where each widget was painted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.style import Style
from textual.geometry import Region
from textual.pilot import Pilot
from textual.screen import Screen
from textual.scrollbar import ScrollBar
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input, Static, TextArea

from jobs import job as jobs
from jobs.home import models_directory
from jobs.job import Job
from serve.chats import search, store
from tests.fakes.openai_server import FakeServer
from tests.serve.chat_writing import BASE, CAPTAIN, new_chat, write
from tests.serve.test_votes import vote
from tests.tui import (
    certificates,
    comparisons,
    data_folders,
    every_screen,
    folders,
    hostile,
    run_events,
)
from tests.tui.driving import screen_text, until
from tests.tui.every_screen import DIALOGS, painted
from tests.tui.lock_holder import held
from tui.app import LuthierApp
from tui.chat.screen import ChatScreen
from tui.screens import SCREENS, ScreenInfo
from tui.serve.live_panel import LivePanel
from tui.shared.hanging_text import HangingText
from tui.shared.palette import Palette

SIZES = ((80, 24), (120, 35), (200, 60))
HUGE = (260, 100)
"""Nothing is cut there."""
THEMES = ("luthier-dark", "luthier-light")


@dataclass(frozen=True)
class Leaf:
    """A widget without others in it, where it is seen."""

    name: str
    region: Region
    cut: str
    """What of it cannot be seen, nor scrolled to; "" if all can."""
    text: str
    """All that it says, where it is a text; "" otherwise."""


@dataclass
class Painting:
    """A screen as it was painted once."""

    name: str
    size: tuple[int, int]
    theme: str
    strips: list[Strip]
    leaves: list[Leaf] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        return [strip.text for strip in self.strips]

    def rows(self, leaf: Leaf) -> list[str]:
        """The text of a widget, line by line."""
        box = leaf.region
        return [strip.crop(box.x, box.right).text for strip in self.strips[box.y : box.bottom]]

    def styles(self) -> Iterator[tuple[str, Style]]:
        """Each piece of text with its style."""
        for strip in self.strips:
            for text, style, _ in strip:
                if text.strip() and style is not None:
                    yield text, style


def pleasant(home: Path, server: FakeServer) -> dict[str, Job]:
    """A home as its user would have it, with something to see on every screen."""
    folders.base_model(models_directory() / "builtin")
    jobs_by_name = folders.all_states()
    run_events.eventful(jobs_by_name["pirate"])
    certificates.certified(jobs_by_name["captain"], "green")
    data_folders.finished()
    comparisons.compared()
    folders.serve(jobs_by_name["captain-server"], "captain", port=server.port)
    hostile.planned(jobs_by_name["captain-server"])
    hostile.in_a_sweep(jobs_by_name["captain"])
    hostile.keys(home)
    for job in jobs_by_name.values():
        (job.directory / "recipe.toml").write_text('model = "builtin"\ndata = ["pirates.jsonl"]\n')
    turns = [
        {"role": "user", "content": "What shall we eat tonight?"},
        {"role": "assistant", "content": "Aye, hard tack and salted beef."},
    ]
    (home / "pirates.jsonl").write_text(f"{turns!r}\n".replace("'", '"') * 40)
    chat = new_chat(BASE, CAPTAIN)
    answers = write(chat, "What should I do on a rainy day?", comparisons.ANSWERS[:2])
    vote(chat, answers, "better", 1)
    (home / "config.toml").write_text('[endpoints.hosted]\nurl = "http://hosted.example/v1"\n')
    return jobs_by_name


@contextmanager
def filled(home: Path, is_foreign: bool) -> Iterator[None]:
    """A full home, of a user's own words or of others', and the dialogs of it."""
    names: dict[str, Any] = {"FOREIGN": "captain", "FILE_NAME": "builtin", "RECIPE": "pirates.toml"}
    with FakeServer() as server:
        jobs_by_name = hostile.fill(home, server) if is_foreign else pleasant(home, server)
        (home / "pirates.toml").write_text('model = "builtin"\ndata = ["pirates.jsonl"]\n')
        with held(*(jobs_by_name[name] for name in folders.LIVING)):
            if is_foreign:
                yield
            else:
                with patch.multiple(every_screen, **names):
                    yield


async def open_screen(pilot: Pilot[None], screen: ScreenInfo) -> None:
    """Show a screen as its user would come to it."""
    app = pilot.app
    assert isinstance(app, LuthierApp)
    if screen.key:
        await app.action_show(screen.place)
    elif screen.place == "run":
        app.open_run(every_screen.run())
    elif screen.place == "job":
        app.open_job(jobs.find(every_screen.IMPORT))
    elif screen.place == "report":
        await app.action_show("compare")
        await painted(pilot)
        await pilot.press("enter")
    elif screen.place == "home":
        await app.action_home()
    elif screen.place == "new_run":
        await app.journey.plan_run()
    if screen.place == "chat":
        await _open_chat(pilot)
    await painted(pilot)
    for panel in app.screen.query(LivePanel):
        for _ in range(100):  # its first figures; none come where no server runs
            if "running  0" in screen_text(app) or not panel.display:
                break
            await pilot.pause(0.05)
    assert isinstance(app.screen, screen.load()), f"the walk does not know the way to {screen}"


async def _open_chat(pilot: Pilot[None]) -> None:
    screen = pilot.app.screen
    assert isinstance(screen, ChatScreen)
    await until(pilot, lambda: screen.session.reachable.server is not None)
    screen.files.open_chat(store.load(search.chats()[0].id), [])


async def each(
    pilot: Pilot[None],
) -> AsyncIterator[tuple[str, Callable[[], Awaitable[None]]]]:
    """Open every screen of the registry, then every dialog over an empty one: its name, and what
    opens it again if it has closed."""
    app = pilot.app
    assert isinstance(app, LuthierApp)
    await until(pilot, lambda: app.rows is not None)
    for screen in SCREENS:
        await open_screen(pilot, screen)
        yield screen.place, pilot.pause
        while len(app.screen_stack) > 1:
            app.pop_screen()
            await pilot.pause()
    await app.action_show(SCREENS[0].place)
    app.push_screen(Screen())
    for kind, make in DIALOGS.items():

        async def open_again(
            kind: type[Screen[Any]] = kind, make: Callable[[], Screen[Any]] = make
        ) -> None:
            """A resize closes some."""
            if not isinstance(app.screen, kind):
                app.push_screen(make())
                await painted(pilot)

        await open_again()
        yield f"{kind.__module__.removeprefix('tui.')}.{kind.__name__}", open_again
        if isinstance(app.screen, kind):
            app.screen.dismiss(None)
            await pilot.pause()


def paint(pilot: Pilot[None], name: str) -> Painting:
    """The screen as it is now."""
    app, screen = pilot.app, pilot.app.screen
    strips = screen._compositor.render_strips()
    leaves = [leaf for widget in screen._compositor.full_map if (leaf := _leaf(screen, widget))]
    return Painting(name, (app.size.width, app.size.height), app.theme, strips, leaves)


def _leaf(screen: Screen[Any], widget: Widget) -> Leaf | None:
    if widget.children or not widget.is_attached or isinstance(widget, ScrollBar):
        return None
    geometry = screen._compositor.full_map[widget]
    visible_part = geometry.region.intersection(geometry.clip)
    is_shown = widget.display and widget.visible and geometry.region.area > 0
    if not is_shown:
        return None
    text = str(widget.visual) if isinstance(widget, Static) else ""
    text = str(widget.text) if isinstance(widget, HangingText) else text
    if isinstance(widget, Input):
        text = "".join(filter(str.isprintable, widget.value or str(widget.placeholder)))
    return Leaf(_name(widget), visible_part, _cut(widget, geometry.region, visible_part), text)


def _name(widget: Widget) -> str:
    marks = [f"#{widget.id}"] if widget.id else [f".{name}" for name in sorted(widget.classes)]
    return f"{type(widget).__name__}{''.join(marks)}"


def _cut(widget: Widget, region: Region, visible_part: Region) -> str:
    """What neither the screen shows nor a scroll brings: of the widget, or of its text."""
    around = [node for node in widget.ancestors if isinstance(node, Widget)]
    if visible_part.height < region.height and not any(
        node.allow_vertical_scroll for node in around
    ):
        return f"{region.height - visible_part.height} of {region.height} lines are off the screen"
    if visible_part.width < region.width and not any(
        node.allow_horizontal_scroll for node in around
    ):
        return f"{region.width - visible_part.width} of {region.width} columns are off the screen"
    if isinstance(widget, Static):
        room = widget.content_size
        lines = widget.get_content_height(widget.container_size, widget.app.size, room.width)
        if lines > room.height and not widget.allow_vertical_scroll:
            return f"{lines} lines of text in {room.height}"
    return ""


async def settled(pilot: Pilot[None]) -> None:
    """Wait until what is painted stays the same."""
    for widget in pilot.app.screen.query("Input, TextArea"):
        if isinstance(widget, Input | TextArea):
            widget.cursor_blink = False
    before, now = None, screen_text(pilot.app)
    while before != now:
        await painted(pilot)
        before, now = now, screen_text(pilot.app)


async def paintings(themes: Sequence[str]) -> list[Painting]:
    """Everything, at every size and in these themes, and once where nothing is cut."""
    all_paintings: list[Painting] = []
    app = LuthierApp()
    app.appearance._is_choosing = True  # themes are only looked at
    async with app.run_test(size=HUGE) as pilot:
        async for name, open_again in each(pilot):
            for size in (HUGE, *SIZES):
                await pilot.resize_terminal(*size)
                await painted(pilot)
                await open_again()
                await settled(pilot)
                for theme in themes:
                    if pilot.app.theme != theme:
                        if isinstance(pilot.app.screen, Palette):  # it cannot be changed there
                            pilot.app.pop_screen()
                        pilot.app.theme = theme
                        await settled(pilot)
                        await open_again()
                        await settled(pilot)
                    all_paintings.append(paint(pilot, name))
            await pilot.resize_terminal(*HUGE)
    return all_paintings
