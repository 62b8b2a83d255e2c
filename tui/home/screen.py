"""Home: a data file to train on, the demo, or an endpoint to chat with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Label, OptionList, Static

from jobs.files import expanded, quoted_name, why_missing
from models.hub_names import HUB
from tui import key_bindings
from tui.home.start_list import DEMO, ENDPOINT, StartList
from tui.shared.action import Place
from tui.shared.glyphs import glyphs
from tui.shared.path_suggester import PathSuggester
from tui.shared.screen import LuthierScreen

if TYPE_CHECKING:  # the first paint does not wait for what is looked at behind it
    from jobs.job import Job
    from workshop.data_files import FileLook
    from workshop.job_list import JobRow
    from workshop.machine import Machine

_ABOUT = (
    "Luthier teaches a chat model from your conversations.\nIt shows you the base and the tuned"
    " model side by side,\nand proves that the model you serve is the one you trained."
)


class HomeScreen(LuthierScreen):
    """What is typed narrows the files of the folder, or is a path of its own."""

    place: ClassVar[Place] = "home"
    CSS_PATH = "home.tcss"
    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("home")
    AUTO_FOCUS = "#home-path"

    def __init__(self) -> None:
        super().__init__()
        self._has_jobs = False

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="home"):
            yield Static(Content(_ABOUT), id="home-about")
            with Horizontal(id="home-line"):
                yield Label("Train on")
                box = Input(
                    placeholder="a data file or folder: type part of its name, or a path",
                    id="home-path",
                    compact=True,
                    suggester=PathSuggester(),
                )
                box.cursor_blink = False  # over SSH each blink is sent
                yield box
            yield Static(id="home-error", classes="field-error")
            yield StartList(Path.cwd())
            yield Static(id="home-machine")

    @property
    def choices(self) -> StartList:
        return self.query_one(StartList)

    @property
    def typed(self) -> str:
        return self.query_one("#home-path", Input).value.strip()

    def on_mount(self) -> None:
        self._show_machine(None)
        # the first paint does not share its interpreter with a thread that imports
        self.call_after_refresh(
            self.in_thread, _machine, self._show_machine, group="machine", exclusive=True
        )

    def on_screen_resume(self) -> None:
        self.call_after_refresh(
            self.in_thread, _data_files, self._files_listed, group="files", exclusive=True
        )

    def jobs_changed(self, rows: list[JobRow]) -> None:
        self._has_jobs = bool(rows)

    # The files, and what a look says of each

    def _files_listed(self, paths: list[Path]) -> None:
        self.choices.set_files(paths)
        self._look_at_next(paths)

    def _look_at_next(self, paths: list[Path]) -> None:
        """One after the other, so that typing stays quick."""
        if not paths or not self.is_attached:
            return
        path, *later_paths = paths

        def show(file_look: FileLook) -> None:
            self.choices.set_look(path, file_look)
            self._look_at_next(later_paths)

        self.in_thread(lambda: _look_at(path), show, group="looks")

    def _show_machine(self, machine: Machine | None) -> None:
        line = self.query_one("#home-machine", Static)
        name = Content.styled(f"{'This machine':<14}", "$foreground-muted")
        if machine is None:
            line.update(Content.assemble(name, ("looking", "$foreground-muted")))
            return
        line.update(
            Content.assemble(name, f"{machine.has}\n{' ' * 14}{machine.fits}\n", _missing(machine))
        )

    # What is typed

    @on(Input.Changed, "#home-path")
    def path_changed(self) -> None:
        self._say("")
        self.choices.narrow(self.typed)

    @on(OptionList.OptionSelected)
    async def clicked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        await self._take(event.option.id or "")

    def _say(self, problem: str) -> None:
        line = self.query_one("#home-error", Static)
        line.display = bool(problem)
        line.update(Content(problem))

    def action_move(self, step: int) -> None:
        self.choices.move(step)

    def action_complete(self) -> None:
        """As in a shell. Nothing else on this screen takes the focus."""
        box = self.query_one("#home-path", Input)
        box.action_end()
        box.action_cursor_right()  # at the end of the text it takes what is offered

    async def action_choose(self) -> None:
        """What is typed, if it is a path; else what is highlighted."""
        text = self.typed
        self.choices.narrow(text)  # enter may come before the message of what was typed
        reason = why_missing(expanded(text))
        if text and (text.startswith(HUB) or not reason):
            await self._plan(text)
        elif self.choices.highlighted_id:
            await self._take(self.choices.highlighted_id)
        else:
            self._say(
                f"{reason.capitalize()}, and no file here has a name like it: {quoted_name(text)}"
            )

    async def _take(self, choice: str) -> None:
        if choice == DEMO:
            self.action_demo()
        elif choice == ENDPOINT:
            self.action_endpoint()
        elif choice:
            await self._plan(choice)

    async def _plan(self, source: str) -> None:
        await self.app.journey.plan_run(source)

    def action_demo(self) -> None:
        from trainer.launch import train
        from workshop.demo import demo_recipe

        def start() -> Job:
            return train(demo_recipe())

        def open_run(job: Job) -> None:
            self.notify("The demo has started: it prepares the built-in model, and trains it.")
            # the app does it: a screen cannot wait for its own end
            self.app.call_later(self.app.journey.open_started, job.id)

        self.in_thread(start, open_run, group="demo", exclusive=True)

    def action_endpoint(self) -> None:
        from tui.chat.endpoint_form import EndpointForm

        self.app.push_screen(EndpointForm(), self._endpoint_kept)

    def _endpoint_kept(self, name: str | None) -> None:
        if name is not None:
            self.app.call_later(self.app.journey.chat_with_endpoint)

    def action_leave(self) -> None:
        self.step_back()

    def step_back(self) -> bool:
        box = self.query_one("#home-path", Input)
        if box.value:
            box.value = ""
        else:
            self.app.call_later(self.app.action_show, "runs")
        return True


def _machine() -> Machine:
    from workshop.machine import this_machine

    return this_machine()


def _data_files() -> list[Path]:
    from workshop.data_files import data_files

    return data_files(Path.cwd())


def _look_at(path: Path) -> FileLook:
    from workshop.data_files import look_at

    return look_at(path)


def _missing(machine: Machine) -> Content:
    indent = " " * 14
    if not machine.missing:
        return Content.assemble(
            indent,
            (glyphs().done, "$success"),
            (" all that Luthier needs is here", "$foreground-muted"),
        )
    lines = [
        Content.assemble(indent, (f"{glyphs().failed} missing ", "$error"), text)
        for text in machine.missing
    ]
    return Content("\n").join(lines)
