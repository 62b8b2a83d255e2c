"""The server: starting it, what it serves, and how to ask it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget

from jobs.events import Event, Follower
from jobs.files import tail_lines
from jobs.luthier_error import LuthierError
from jobs.state import Asleep, Failed, Lost, Running, Starting, Stopping
from models.standing import Standing
from tui import key_bindings
from tui.serve import facts
from tui.serve.adapters import Adapters
from tui.serve.api_line import ApiLine
from tui.serve.live_panel import LivePanel
from tui.serve.log_words import in_words
from tui.serve.snippets import LANGUAGES, Language, snippet
from tui.shared.action import Handler, Place
from tui.shared.hanging_text import HangingText
from tui.shared.job_actions import confirm_stop
from tui.shared.log_panel import LogPanel
from tui.shared.log_view import LogView
from tui.shared.screen import LuthierScreen
from tui.shared.state_label import state_content
from tui.shared.steady_text import SteadyText
from workshop import number_format
from workshop.job_list import JobRow, newest_server, tuned

if TYPE_CHECKING:
    from serve.servers import Server
    from tui.serve.start_server import StartServerModal


@dataclass(frozen=True)
class _ServerLook:
    """What the server of this job says of itself."""

    job_id: str
    server: Server | None
    """None while it is not ready."""
    key: str
    standings: dict[str, Standing]


class ServeScreen(LuthierScreen):
    place: ClassVar[Place] = "serve"
    poll_seconds = 0.5
    CSS_PATH = "serve.tcss"
    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("serve")

    def __init__(self) -> None:
        super().__init__()
        self.row: JobRow | None = None
        self.server: Server | None = None
        self.key = ""
        self.standings: dict[str, Standing] = {}
        self.key_shown = False
        self.language: Language = "curl"
        self.events: list[Event] = []
        self.adapters = Adapters(self, lambda: self.server)
        self.api = ApiLine()
        self.handlers = self._handlers()
        self._follower: Follower | None = None

    def compose_body(self) -> Iterable[Widget]:
        yield SteadyText("", id="serve-nothing", classes="empty")
        with Vertical(id="server"):
            yield SteadyText(id="server-title")
            with Horizontal(id="server-state"):
                yield HangingText(id="server-facts")
                yield LivePanel()
            with Vertical(id="snippet-panel", classes="panel"):
                yield SteadyText(id="snippet")
            with Vertical(id="server-log", classes="panel") as panel:
                panel.border_title = "log"
                yield LogPanel(None, in_words)
        yield self.api

    # What is shown

    def jobs_changed(self, rows: list[JobRow]) -> None:
        row = newest_server(rows)
        if row is not None and (self.row is None or row.id != self.row.id):
            self._turn_to(row)
        self.row = row
        self.api.jobs_changed(rows)
        if row is not None and isinstance(row.state, Running | Asleep):
            job = row.job
            self.in_thread(lambda: _look(job.id), self._show_server, group="server", exclusive=True)
        self.advance()
        self.show()

    def _turn_to(self, row: JobRow) -> None:
        self.server, self.events, self.key_shown = None, [], False
        self._follower = Follower(row.job.events_path)
        self.query_one(LogPanel).open(row.job.log_path)

    def _show_server(self, look: _ServerLook) -> None:
        if self.row is not None and look.job_id == self.row.id:
            self.server, self.key, self.standings = look.server, look.key, look.standings
            self.show()

    def advance(self) -> None:
        """Read what is new in the server's files, and show it; the time of a phase ticks, too."""
        news = self._follower.read() if self._follower is not None else []
        self.events += news
        self.query_one(LogPanel).advance()
        if news or (self.row is not None and isinstance(self.row.state, Starting | Stopping)):
            self.show()

    def show(self) -> None:
        row = self.row
        server = self.query_one("#server")
        # what was hidden could not have the keys
        if row is not None and not server.display and self.focused is None:
            self.call_after_refresh(self.query_one(LogView).focus)
        self.query_one("#serve-nothing").display = row is None
        server.display = row is not None
        if row is None:
            self.query_one("#serve-nothing", SteadyText).update(
                key_bindings.with_keys(
                    "No server runs.\n\n{serve.start} starts one: a base model and any number of"
                    " tuned ones,\nbehind one address that speaks the OpenAI API"
                )
            )
            return
        with self.app.batch_update():
            seconds = number_format.now() - row.since
            since = number_format.duration(seconds) if row.alive else number_format.age(row.since)
            self.query_one("#server-title", SteadyText).update(
                Content.assemble(
                    (row.name, "bold"),
                    "   ",
                    state_content(row.state),
                    (f"   {since} ", "$foreground-muted"),
                )
            )
            self.query_one("#server-facts", HangingText).hang(
                facts.server_facts(row, self.server, self.events, self.standings),
                0 if isinstance(row.state, Failed | Lost) else facts.LABEL,
            )
            panel = self.query_one("#snippet-panel")
            panel.display = self._answering
            self.query_one(LivePanel).turn_to(
                self.server.endpoint if self.server is not None and self._answering else None
            )
            if self._answering:
                if panel.border_title != self.language:
                    panel.border_title = Content(self.language)
                self.query_one("#snippet", SteadyText).update(Content(self._snippet()))
        self.refresh_hints()

    @property
    def _answering(self) -> bool:
        return (
            self.row is not None and isinstance(self.row.state, Running) and self.server is not None
        )

    def _snippet(self) -> str:
        assert self.server is not None
        tuned_names = [model.id for model in self.server.models if model.kind == "adapter"]
        model = tuned_names[0] if tuned_names else "base"
        return snippet(
            self.language,
            self.server.base_url,
            model,
            facts.key_file(),
            self.key if self.key_shown else None,
        )

    @on(LogView.Searched)
    def search_went_on(self) -> None:
        self.query_one("#server-log").border_title = Content(
            f"log{self.query_one(LogPanel).matches}"
        )

    def step_back(self) -> bool:
        return self.query_one(LogPanel).step_back() or super().step_back()

    # Actions

    def _handlers(self) -> dict[str, Handler]:
        def is_answering() -> bool:
            return self._answering

        def has_adapters() -> bool:
            return self._answering and bool(self.adapters.loaded())

        return {
            "start": Handler(self.offer),
            "stop": Handler(self._stop, lambda: self.row is not None and self.row.alive),
            "sleep": Handler(self.adapters.toggle_sleep, self._can_sleep),
            "load": Handler(self.adapters.load, is_answering),
            "chat": Handler(lambda: self.app.action_show("chat"), is_answering),
            "unload": Handler(self.adapters.unload, has_adapters),
            "pin": Handler(self.adapters.pin, has_adapters),
            "api": Handler(self.api.toggle),
            "copy": Handler(self._copy, is_answering),
            "snippet": Handler(self._next_language, is_answering),
            "reveal": Handler(self._toggle_key, is_answering),
            "error": Handler(
                self._show_error,
                lambda: self.row is not None and isinstance(self.row.state, Failed),
            ),
        }

    def _can_sleep(self) -> bool:
        row = self.row
        return (
            row is not None and isinstance(row.state, Running | Asleep) and row.job.spec.gives_way
        )

    def offer(self, base: str | None = None, run_id: str | None = None) -> None:
        """Open the form for a new server, with this base or this run chosen."""
        rows = self.app.rows or []
        self.in_thread(
            lambda: _form(rows, base, run_id), self._open_form, group="form", exclusive=True
        )

    def _open_form(self, form: StartServerModal) -> None:
        self.app.push_screen(form, lambda job_id: self.app.read_jobs())

    def _stop(self) -> None:
        if self.row is not None:
            confirm_stop(self, self.row.job)

    def _copy(self) -> None:
        self.app.copy_to_clipboard(self._snippet())
        key = ", with the key in it" if self.key_shown else ""
        self.notify(f"Copied the {self.language} example{key}.")

    def _next_language(self) -> None:
        self.language = LANGUAGES[(LANGUAGES.index(self.language) + 1) % len(LANGUAGES)]
        self.show()

    def _toggle_key(self) -> None:
        self.key_shown = not self.key_shown
        self.show()

    def _show_error(self) -> None:
        if self.row is not None and isinstance(self.row.state, Failed):
            state = self.row.state
            self.app.show_failure(
                LuthierError(state.title, state.message, state.hint),
                tail_lines(self.row.job.log_path, 12),
            )


def _look(job_id: str) -> _ServerLook:
    from serve.key_files import client_key
    from serve.servers import running_servers
    from workshop.servers import standings_of

    server = next((server for server in running_servers() if server.job.id == job_id), None)
    return _ServerLook(
        job_id, server, client_key(), {} if server is None else standings_of(server.models)
    )


def _form(rows: list[JobRow], base: str | None, run_id: str | None) -> StartServerModal:
    from models.registry import list_models
    from models.standing import of_adapter
    from tui.serve.start_server import StartServerModal, TunedChoice

    names = [model.name for model in list_models() if model.ready]
    choices = [
        TunedChoice(row.job, row.model, of_adapter(row.job.directory)) for row in tuned(rows)
    ]
    served = next((choice for choice in choices if choice.run.id == run_id), None)
    bases = list(dict.fromkeys([*names, *([served.base] if served is not None else [])]))
    if not bases:
        hint = "Press 2 for the models, then p to prepare the built-in one."
        raise LuthierError("No model is ready", "A server needs a base model.", hint)
    if served is None and base is None and choices:
        served = choices[0]  # nothing was asked for: the newest run
    if served is None:
        return StartServerModal(bases, choices, base=base, ticked=set())
    return StartServerModal(bases, choices, base=served.base, ticked={served.run.id})
