"""What all screens share: the header line, the footer made from the registry, work in the
background, and one way back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import isawaitable
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, TypeVar

from textual import getters
from textual.actions import parse
from textual.app import ComposeResult
from textual.content import Content
from textual.events import Key, Resize
from textual.geometry import Size
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from jobs.luthier_error import LuthierError
from tui import key_bindings, reasons
from tui.app import LuthierApp
from tui.shared.action import Handler, Place
from tui.shared.footer import KeyFooter
from tui.shared.header import HeaderLine
from tui.shared.messages import JobsChanged
from tui.shared.mode import MODES, Mode

if TYPE_CHECKING:
    from workshop.job_list import JobRow

MINIMUM_WIDTH, MINIMUM_HEIGHT = 60, 15

T = TypeVar("T")


class LuthierScreen(Screen[None]):
    """A screen of the app. It names its `place`, sets `BINDINGS = key_bindings.bindings(place)` and
    composes its body."""

    place: ClassVar[Place]
    app = getters.app(LuthierApp)
    handlers: Mapping[str, Handler] = MappingProxyType({})
    """By the name of an action: the part of the screen that does it. Other actions have methods."""
    poll_seconds: ClassVar[float] = 0.0
    """Between two calls of `advance` while it is in front; 0 for none."""

    def __init__(self) -> None:
        super().__init__()
        self._possible: list[tuple[str, bool | None]] = []
        self._poll: Timer | None = None

    def compose(self) -> ComposeResult:
        self._fit_to(self.app.size)
        yield HeaderLine(self.place)
        yield from self.compose_body()
        yield KeyFooter()
        yield Static(Content(f"needs {MINIMUM_WIDTH}x{MINIMUM_HEIGHT}"), id="too-small")

    def compose_body(self) -> Iterable[Widget]:
        raise NotImplementedError

    def on_mount(self) -> None:
        if self.poll_seconds:
            self._poll = self.set_interval(self.poll_seconds, self.advance)
        self.watch(self.app, "rows", self._rows_changed)

    def _fit_to(self, size: Size) -> None:
        """Have the classes of this size from the beginning: those that come with the first resize
        have everything styled and painted twice."""
        classes: dict[str, bool] = {}
        for cells, breakpoints in (
            (size.width, self.app.HORIZONTAL_BREAKPOINTS),
            (size.height, self.app.VERTICAL_BREAKPOINTS),
        ):
            fitting = self._get_breakpoint_classes(cells, breakpoints or [])
            classes |= {name: name in fitting for _, name in breakpoints or []}
        classes["-too-small"] = size.width < MINIMUM_WIDTH or size.height < MINIMUM_HEIGHT
        self.update_classes(classes, animate=False)

    def on_resize(self, event: Resize) -> None:
        classes_before = self.classes
        self._fit_to(event.size)
        if self.classes != classes_before and self.is_mounted:
            # what a screen shows may depend on its room, which its parts have after the layout
            self.call_after_refresh(self._rows_changed, self.app.rows)

    def on_screen_suspend(self) -> None:
        if self._poll is not None:
            self._poll.pause()

    def on_screen_resume(self) -> None:
        if self._poll is not None:
            self._poll.resume()
        if self.is_mounted:
            self._rows_changed(self.app.rows)
        self.call_after_refresh(self._unfocus_hidden)

    def _unfocus_hidden(self) -> None:
        """What is hidden would still take the keys: Textual focuses it where nothing else has the
        focus."""
        nodes = self.focused.ancestors_with_self if self.focused is not None else []
        if not all(node.display for node in nodes if isinstance(node, Widget)):
            self.set_focus(None)

    def _rows_changed(self, rows: list[JobRow] | None) -> None:
        if rows is not None and self.is_seen:
            self.jobs_changed(rows)
            self.refresh_hints()

    def show_mode(self, mode: Mode | None) -> None:
        """Have the header, the hints and the style sheet say which mode the screen is in."""
        for other in MODES:
            self.set_class(other == mode, other.css_class)
        self.query_one(HeaderLine).show_mode(mode)
        footer = self.query_one(KeyFooter)
        footer.colour = mode.colour if mode is not None else KeyFooter.colour
        footer.show(footer.hints)

    def on_key(self, event: Key) -> None:
        """A key whose action cannot be done now says why."""
        is_kept = self.keeps_key(event.key)
        reason = reasons.why_not(self, event.key, is_kept=is_kept)
        if is_kept:
            event.stop()
            event.prevent_default()
        if reason and all(reason != toast.message for toast in self.app._notifications):
            self.notify(reason, timeout=4)

    def keeps_key(self, key: str) -> bool:
        """Whether an action of this screen that cannot be done now keeps its key from the app."""
        names = [
            str(parameters[0])
            for action in key_bindings.actions_of(self.place)
            if key in action.current_keys
            for _, name, parameters in [parse(action.action)]
            if name == "do"
        ]
        handlers = [self.handlers[name] for name in names if name in self.handlers]
        return any(handler.keeps_key() and not handler.enabled() for handler in handlers)

    @property
    def is_seen(self) -> bool:
        """Whether it is in front, or below a dialog: Textual calls the screen below any other one
        current too."""
        return self.is_current and (self.app.screen is self or self.app.screen.is_modal)

    def refresh_hints(self) -> None:
        """Show again what can be done, if that has changed."""
        possible = [
            (action.id, self.check_action(*parse(action.action)[1:]))
            for action in key_bindings.actions_of(self.place)
        ]
        if possible != self._possible:
            self._possible = possible
            self.refresh_bindings()

    async def action_do(self, name: str, *arguments: object) -> None:
        """An action that one of the screen's parts does."""
        outcome = self.handlers[name].run(*arguments)
        if isawaitable(outcome):
            await outcome

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is bound and shown."""
        if action == "do":
            handler = self.handlers.get(str(parameters[0]))
            return handler is not None and handler.enabled()
        return super().check_action(action, parameters)

    def jobs_changed(self, rows: list[JobRow]) -> None:
        """All jobs were read again, or this screen came back to front."""

    def advance(self) -> None:
        """Read what is new, and show it."""

    def settings_changed(self) -> None:
        """config.toml was changed on the screen of settings."""

    def unsaved(self) -> str:
        """What would be lost if the app ended now; empty if nothing would."""
        return ""

    def step_back(self) -> bool:
        """Take back something within the screen (`esc`); False when there is nothing, so that the
        screen itself is left."""
        # a text is being written
        if self.focused is not None and self.focused.check_consume_key("a", "a"):
            self.set_focus(None)
            return True
        return False

    def in_background(
        self, work: Callable[[], Message | None], group: str = "background", exclusive: bool = False
    ) -> None:
        """Run `work` in a thread. The message that it returns is posted here; what it raises is
        shown."""

        def run() -> None:
            message = work()
            if message is not None:
                self.post_message(message)

        self.run_worker(run, thread=True, group=group, exclusive=exclusive, exit_on_error=False)

    def in_thread(
        self,
        work: Callable[[], T],
        then: Callable[[T], object],
        group: str = "background",
        exclusive: bool = False,
    ) -> None:
        """Run `work` in a thread, then `then` here with what it returns; what it raises is
        shown."""
        self.run_worker(
            lambda: self.call_later(then, work()),
            thread=True,
            group=group,
            exclusive=exclusive,
            exit_on_error=False,
        )

    async def _dispatch_message(self, message: Message) -> None:
        """As the app does it: a dialog's answer comes here."""
        try:
            await super()._dispatch_message(message)
        except (LuthierError, OSError) as error:
            self.app.show_failure(error)

    def on_jobs_changed(self, message: JobsChanged) -> None:
        if message.notice:
            self.notify(message.notice)
        self.app.read_jobs()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.app.show_failure(event.worker.error)


def open_screens(app: LuthierApp) -> list[LuthierScreen]:
    """Those of every tab, also behind others."""
    stacks = app._screen_stacks.values()
    return [each for stack in stacks for each in stack if isinstance(each, LuthierScreen)]
