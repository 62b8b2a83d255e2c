"""The Textual app: its screens, the poll of all jobs, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, ClassVar

from textual._callback import invoke
from textual.binding import BindingType
from textual.dom import DOMNode
from textual.events import Event, Key, Paste
from textual.message import Message
from textual.reactive import reactive
from textual.screen import Screen
from textual.theme import Theme
from textual.worker import Worker, WorkerState

from jobs.luthier_error import LuthierError
from tui import garbage, key_bindings, keymap, reasons, themes
from tui.appearance import Appearance
from tui.journey import Journey
from tui.key_bindings import key_of
from tui.screens import BASE_SCREENS
from tui.shared.action import Action, use_keys
from tui.shared.clean_app import CleanApp
from tui.shared.glyphs import use_ascii
from tui.shared.key_order import KeyHandled, KeyOrder
from tui.shared.messages import JobsRead
from tui.shared.notices import Notices

if TYPE_CHECKING:
    from textual.command import Provider

    from jobs.job import DamagedJob, Job
    from jobs.machine import Machine, Meter
    from workshop.job_list import JobRow


_HORIZONTAL: list[tuple[int, str]] | None = [(0, "-narrow"), (100, "-wide")]
_VERTICAL: list[tuple[int, str]] | None = [(0, "-short"), (30, "-tall")]


def _palette() -> type[Provider]:
    from tui.shared.palette import ActionProvider

    return ActionProvider


class LuthierApp(CleanApp, inherit_bindings=False):
    """`start_screen` is a place of `BASE_SCREENS`; `chat_with` is a run to talk to at once.
    `ascii_only` is for terminals without Unicode, `is_light` says what the terminal's background
    is."""

    TITLE = "Luthier"
    CSS_PATH: ClassVar[str | PurePath] = "luthier.tcss"
    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("app")
    MODES: ClassVar[dict[str, str | Callable[[], Screen[None]]]] = {
        place: screen.make for place, screen in BASE_SCREENS.items()
    }
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {_palette}
    HORIZONTAL_BREAKPOINTS = _HORIZONTAL
    VERTICAL_BREAKPOINTS = _VERTICAL
    POLL_SECONDS: ClassVar[float] = 2.0

    rows: reactive[list[JobRow] | None] = reactive(
        None, repaint=False, init=False, always_update=True
    )
    """Every job, newest first; None until they have been read once."""

    def __init__(
        self,
        start_screen: str = "runs",
        ascii_only: bool = False,
        chat_with: Job | None = None,
        is_light: bool = False,
    ) -> None:
        use_ascii(ascii_only)
        self._own_keys = keymap.read(key_bindings.ACTIONS)
        use_keys(self._own_keys.changed)
        super().__init__()
        self.start_screen = start_screen
        # Textual would begin with one mode whatever is asked for, and switch on: the first paint
        # waits for neither a screen beneath nor its style sheet.
        make_first = self._modes.pop(start_screen)
        assert callable(make_first)
        self._make_first = make_first
        self._current_mode = start_screen
        self._screen_stacks = {start_screen: []}
        self._chat_with = chat_with
        self.notices = Notices(self)
        self.journey = Journey(self)
        self._keys = KeyOrder(self, partial(CleanApp.on_event, self))
        self.damaged: list[DamagedJob] = []
        self.machine: Machine | None = None
        self._meter: Meter | None = None
        self._last_failure = ""
        self._asked: set[str] = set()
        self.set_class(ascii_only, "-ascii")
        if ascii_only:
            from tui.shared.ascii_filter import AsciiFilter

            self._filters.append(AsciiFilter())
        self.set_keymap(self._own_keys.textual)
        self.appearance = Appearance(self, is_light)

    def get_default_screen(self) -> Screen[None]:
        """The first screen, opened the short way: of a mode, Textual would parse all CSS twice more
        before the first paint."""
        screen = self._make_first()
        self.stylesheet.read_all(screen.css_path)
        return screen

    @property
    def available_themes(self) -> dict[str, Theme]:
        """Without those that cannot be drawn here."""
        return self._themes

    def register_theme(self, theme: Theme) -> None:
        super().register_theme(theme)
        # Textual asks for the themes with every line that it draws.
        self._themes = {
            name: theme
            for name, theme in super().available_themes.items()
            if themes.can_be_drawn(theme)
        }

    def on_mount(self) -> None:
        self.notices.begin()
        self.add_mode(self.start_screen, self._make_first)
        if self._chat_with is not None:
            self.call_after_refresh(self.journey.chat_with, self._chat_with)
        self.call_after_refresh(garbage.search_again)
        self.call_after_refresh(self.read_jobs)
        self.set_interval(self.POLL_SECONDS, self.read_jobs)
        self.appearance.begin()
        for problem in (*self.appearance.problems, *self._own_keys.problems):
            self.notify(problem, severity="warning", timeout=12)

    def search_themes(self) -> None:
        """What Textual's action for choosing a theme calls."""
        self.appearance.choose()

    # Jobs

    def read_jobs(self) -> None:
        """Read all jobs in a thread; `rows` follows."""
        rows = {row.id: row for row in self.rows or []}

        def read() -> None:
            # the first paint does not wait for what reading jobs takes
            from jobs.job import damaged_jobs
            from jobs.machine import Meter
            from workshop import job_list

            now = job_list.read_rows(rows)
            damaged = damaged_jobs({row.id for row in now})
            self._meter = self._meter or Meter()
            self.post_message(JobsRead(now, damaged, self._meter.read()))

        self.run_worker(read, thread=True, exclusive=True, group="jobs", exit_on_error=False)

    def on_jobs_read(self, message: JobsRead) -> None:
        if not self.screen_stack:  # the app is closing
            return
        self.damaged, self.machine = message.damaged, message.machine
        self.rows = message.rows
        self.notices.jobs_read(message.rows)
        self._ask_about_servers(message.rows)

    def _ask_about_servers(self, rows: list[JobRow]) -> None:
        """Ask what a run is to do about the servers that hold its GPU: once, and never over another
        dialog."""
        asking = next((row for row in rows if row.asks and row.id not in self._asked), None)
        if asking is not None and not self.screen.is_modal:
            from tui.serve.server_question import ServerQuestion

            self._asked.add(asking.id)
            self.push_screen(ServerQuestion(asking.job, asking.asks), lambda _: self.read_jobs())

    def watch_app_focus(self, focused: bool) -> None:
        self.notices.focus_changed(focused)

    def on_unmount(self) -> None:
        self.notices.end()

    # Keys

    async def on_event(self, event: Event) -> None:
        if isinstance(event, Key | Paste) and not event.is_forwarded:
            await self._keys.take(event)
        else:
            await CleanApp.on_event(self, event)  # Textual calls this one alone

    async def on_key_handled(self, message: KeyHandled) -> None:
        await self._keys.arrived(message)

    # Failures

    async def _dispatch_message(self, message: Message) -> None:
        """What a key or a click could not do is told, and the app goes on. Textual has no public
        way."""
        try:
            await super()._dispatch_message(message)
        except (LuthierError, OSError) as error:
            self.show_failure(error)

    def _handle_exception(self, error: Exception) -> None:
        """Likewise of what a timer calls, or what was put off: no message brings that here, Textual
        would end the app. It goes on by itself after a callback, but not after a message."""
        called = error.__traceback__.tb_next if error.__traceback__ is not None else None
        is_of_callback = called is not None and called.tb_frame.f_code is invoke.__code__
        if is_of_callback and isinstance(error, LuthierError | OSError):
            self.show_failure(error)
        else:
            super()._handle_exception(error)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """The reading of the jobs failed. It is tried every two seconds, but the same failure is
        told once."""
        error = event.worker.error
        if (
            event.state is WorkerState.ERROR
            and error is not None
            and str(error) != self._last_failure
        ):
            self._last_failure = str(error)
            self.show_failure(error)

    def show_failure(self, error: BaseException, log_lines: list[str] | None = None) -> None:
        """Show what went wrong, whoever raised it: the one way in which the app tells of a
        failure."""
        from tui.shared.error_modal import ErrorModal
        from tui.shared.failures import readable

        readable_error = error if isinstance(error, LuthierError) else readable(error)
        if not isinstance(self.screen, ErrorModal):
            self.push_screen(ErrorModal(readable_error, log_lines or []))

    # Actions

    def open_run(self, job: Job, overlaid: Sequence[Job] = ()) -> None:
        """Show a run; `overlaid` are drawn over it."""
        from tui.runs.run_screen import RunScreen

        self.push_screen(RunScreen(job, overlaid))

    def open_job(self, job: Job) -> None:
        """Show a job: a run, or one of another kind."""
        if job.spec.kind == "run":
            self.open_run(job)
            return
        from tui.runs.job_screen import JobScreen

        self.push_screen(JobScreen(job))

    async def action_home(self) -> None:
        if not self.screen.is_modal:
            await self.action_show("home")

    async def action_show(self, place: str) -> None:
        if place != self.current_mode:
            await self.switch_mode(place)
        elif not self.screen.is_modal:
            while len(self.screen_stack) > 1:
                await self.pop_screen()

    async def action_back(self) -> None:
        from tui.shared.screen import LuthierScreen

        if isinstance(self.screen, LuthierScreen) and self.screen.step_back():
            return
        if len(self.screen_stack) > 1:
            self.pop_screen()

    def action_command_palette(self) -> None:
        from tui.shared.palette import Palette

        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def action_help(self) -> None:
        from tui.shared.help_modal import HelpModal

        self.push_screen(HelpModal(key_bindings.place_of(self.screen)))

    def action_jump(self) -> None:
        from tui.shared.jump import JumpOverlay, targets

        screen = self.screen
        if isinstance(screen, JumpOverlay):
            screen.dismiss(None)
        elif len(widgets := targets(screen)) > 1:
            self.push_screen(JumpOverlay(widgets), lambda widget: widget and widget.focus())
        else:
            self.notify("There is nothing else here to jump to.", timeout=3)

    def action_silence(self) -> None:
        self.notices.toggle()

    def action_help_quit(self) -> None:
        quits = key_of("app.quit_now")
        self.notify(f"{quits} quits. Jobs keep running.", title="Nothing was stopped")

    async def action_quit(self) -> None:
        from tui.shared.confirm_modal import ConfirmModal
        from tui.shared.screen import open_screens

        unsaved = " ".join(filter(None, (screen.unsaved() for screen in open_screens(self))))
        if unsaved and not isinstance(self.screen, ConfirmModal):
            self.push_screen(
                ConfirmModal("Leave all the same?", unsaved, yes="leave", no="stay"),
                lambda yes: self._leave() if yes else None,
            )
        else:
            self._leave()

    def _leave(self) -> None:
        from workshop.job_list import running_count

        alive = running_count(self.rows or [])
        if alive:
            jobs, them = ("1 job keeps", "it") if alive == 1 else (f"{alive} jobs keep", "them")
            self.exit(message=f"{jobs} running. `luthier runs --all` lists {them}.")
        else:
            self.exit()

    async def perform(self, action: Action) -> None:
        """Do an action chosen by its name, wherever it belongs: its screen is opened first."""
        if action.place in self._modes and action.place != key_bindings.place_of(self.screen):
            await self.action_show(action.place)
        here, target = key_bindings.place_of(self.screen), _target(self, action)
        if target is None or not await self.run_action(action.action, default_namespace=target):
            self.notify(reasons.reason_of(action, here), severity="warning")


def _target(app: LuthierApp, action: Action) -> DOMNode | None:
    """Who can do an action now: the app, the screen if it is one of that screen's, else a widget
    around the focus."""
    if action.place == "app":
        return app
    if action.place == key_bindings.place_of(app.screen):
        return app.screen
    around = app.focused.ancestors_with_self if app.focused is not None else []
    method = f"action_{action.action.partition('(')[0]}"
    widgets = [node for node in around if node not in (app, app.screen)]
    return next((widget for widget in widgets if hasattr(widget, method)), None)
