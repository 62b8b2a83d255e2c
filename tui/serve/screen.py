"""The server: starting it, what it serves, and how to ask it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from jobs.errors import LuthierError
from jobs.events import Event, Follower
from jobs.files import tail_lines
from jobs.home import home
from jobs.state import Asleep, Failed, Lost, Queued, Running, Starting, Stopping
from models.certificate import NO_CERTIFICATE, Standing
from models.events import Adapter, Phase, Restart, newest, of_kind
from serve.servers import is_for_cpu
from tui import actions
from tui.serve.adapters import AdapterActions
from tui.serve.live_panel import LivePanel
from tui.serve.snippets import LANGUAGES, Language, snippet
from tui.shared.action import Place
from tui.shared.certificate_badge import badge
from tui.shared.glyphs import glyphs
from tui.shared.job_actions import confirm_stop
from tui.shared.log_view import LogView
from tui.shared.state_label import state_content
from workshop import number_format
from workshop.job_list import JobRow, newest_server, tuned

if TYPE_CHECKING:
    from serve.servers import Server
    from tui.serve.start_server import StartServerModal

_POLL_SECONDS = 0.5


@dataclass
class ServerSeen(Message):
    """What the server of this job says of itself; None while it is not ready."""

    job_id: str
    server: Server | None
    key: str
    standings: dict[str, Standing]


@dataclass
class FormReady(Message):
    form: StartServerModal


class ServeScreen(AdapterActions):
    place: ClassVar[Place] = "serve"
    CSS_PATH = "serve.tcss"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings("serve")

    def __init__(self) -> None:
        super().__init__()
        self.row: JobRow | None = None
        self.server: Server | None = None
        self.key = ""
        self.standings: dict[str, Standing] = {}
        self.key_shown = False
        self.language: Language = "curl"
        self.events: list[Event] = []
        self._follower: Follower | None = None
        self._timer: Timer | None = None

    def compose_body(self) -> Iterable[Widget]:
        yield Static("", id="no-server", classes="empty")
        with Vertical(id="server"):
            yield Static(id="server-title")
            with Horizontal(id="server-state"):
                yield Static(id="server-facts")
                yield LivePanel()
            with Vertical(id="snippet-panel", classes="panel"):
                yield Static(id="snippet")
            with Vertical(id="server-log", classes="panel") as panel:
                panel.border_title = "log"
                yield LogView(None)

    def on_mount(self) -> None:
        self._timer = self.set_interval(_POLL_SECONDS, self.advance)

    def on_screen_suspend(self) -> None:
        if self._timer is not None:
            self._timer.pause()

    def on_screen_resume(self) -> None:
        if self._timer is not None:
            self._timer.resume()

    # What is shown

    def jobs_changed(self, rows: list[JobRow]) -> None:
        row = newest_server(rows)
        if row is not None and (self.row is None or row.id != self.row.id):
            self._turn_to(row)
        self.row = row
        if row is not None and isinstance(row.state, Running | Asleep):
            job = row.job
            self.in_background(lambda: _look(job.id), group="server", exclusive=True)
        self.advance()

    def _turn_to(self, row: JobRow) -> None:
        self.server, self.events, self.key_shown = None, [], False
        self._follower = Follower(row.job.events_path)
        self.query_one(LogView).open(row.job.log_path)

    def on_server_seen(self, message: ServerSeen) -> None:
        if self.row is not None and message.job_id == self.row.id:
            self.server, self.key, self.standings = message.server, message.key, message.standings
            self.show()

    def advance(self) -> None:
        """Read what is new in the server's files, and show it."""
        if self._follower is not None:
            self.events += self._follower.read()
            self.query_one(LogView).advance()
        self.show()

    def show(self) -> None:
        row = self.row
        server = self.query_one("#server")
        # what was hidden could not have the keys
        if row is not None and not server.display and self.focused is None:
            self.call_after_refresh(self.query_one(LogView).focus)
        self.query_one("#no-server").display = row is None
        server.display = row is not None
        if row is None:
            self.query_one("#no-server", Static).update(
                "No server runs.\n\n[$primary]n[/] starts one: a base model and any number of tuned"
                " ones,\nbehind one address that speaks the OpenAI API"
            )
            return
        with self.app.batch_update():
            since = number_format.duration(number_format.now() - row.since)
            ended = "ago" if not row.alive else ""
            self.query_one("#server-title", Static).update(
                Content.assemble(
                    (row.name, "bold"),
                    "   ",
                    state_content(row.state),
                    (f"   {since} {ended}", "$foreground-muted"),
                )
            )
            self.query_one("#server-facts", Static).update(self._facts(row))
            panel = self.query_one("#snippet-panel")
            panel.display = self._answering
            self.query_one(LivePanel).turn_to(
                self.server.endpoint if self.server is not None and self._answering else None
            )
            if self._answering:
                panel.border_title = Content(self.language)
                self.query_one("#snippet", Static).update(Content(self._snippet()))
        self.refresh_hints()

    @property
    def _answering(self) -> bool:
        return (
            self.row is not None and isinstance(self.row.state, Running) and self.server is not None
        )

    def _facts(self, row: JobRow) -> Content:
        match row.state:
            case Failed(title=title, message=message, hint=hint):
                why = Content.assemble(
                    (f"{title}\n", "bold $error"),
                    message,
                    (f"\n{hint}" if hint else "", "$foreground-muted"),
                )
                return Content.assemble(why, self._next_step())
            case Lost():
                return Content.assemble(
                    "Its supervisor is gone: a reboot, or it was killed.", self._next_step()
                )
            case Queued(waits_for=waits_for):
                return Content(f"waits for {waits_for or 'its turn'}")
            case Running() | Asleep() if self.server is not None:
                return self._address(self.server)
            case Starting() | Running() | Asleep() | Stopping():
                return self._phases(row)
            case _:
                return self._next_step()

    def _next_step(self) -> Content:
        return Content.from_markup("\n[$primary]n[/] starts another one")

    def _phases(self, row: JobRow) -> Content:
        """Each phase with how long it took; the last one with how long it takes so far."""
        restart = newest(self.events, Restart)
        since = restart.t if restart is not None else 0.0
        began = [(phase.name, phase.t) for phase in of_kind(self.events, Phase) if phase.t >= since]
        signs, lines = glyphs(), [] if restart is None else [_restarted(restart)]
        for index, (name, at) in enumerate(began):
            last = index == len(began) - 1
            took = number_format.duration(
                (number_format.now() if last else began[index + 1][1]) - at
            )
            sign = (signs.starting, "$warning") if last else (signs.done, "$success")
            lines.append(
                Content.assemble(sign, f" {name:<36}", (f"{took:>10}", "$foreground-muted"))
            )
        return (
            Content("\n").join(lines) if lines else Content.styled("starting", "$foreground-muted")
        )

    def _address(self, server: Server) -> Content:
        facts = [("address", f"{server.base_url}/v1"), ("key file", _homely(_key_file()))]
        lines = [
            Content.assemble((f"{name:<11}", "$foreground-muted"), value) for name, value in facts
        ]
        lines += self._sleep()
        width = max(len(model.id) for model in server.models)
        for index, model in enumerate(server.models):
            label = "models" if index == 0 else ""
            sign, colour = (
                (glyphs().eval_point, "$primary")
                if model.kind == "adapter"
                else (glyphs().running, "$secondary")
            )
            kind = "tuned" if model.kind == "adapter" else "base"
            name = Content.assemble(
                (f"{label:<11}", "$foreground-muted"), (sign, colour), f" {model.id:<{width}}  "
            )
            kept = "  pinned" if model.pinned else ""
            proved = badge(self.standings.get(model.id, NO_CERTIFICATE))
            lines.append(
                Content.assemble(
                    name, (f"{kind}{kept}", "$foreground-muted"), "  " if proved else "", proved
                )
            )
        restart = newest(self.events, Restart)
        if restart is not None:
            lines.append(_restarted(restart))
        for adapter in [adapter for adapter in of_kind(self.events, Adapter) if not adapter.ok]:
            why = f"{adapter.name}: {adapter.message}"
            lines.append(
                Content.assemble((f"{'refused':<11}", "$foreground-muted"), (why, "$error"))
            )
        return Content("\n").join(lines)

    def _sleep(self) -> list[Content]:
        """Whether it sleeps, or why it never does."""
        assert self.row is not None
        label = (f"{'sleep':<11}", "$foreground-muted")
        key = ("z", "$primary")
        match self.row.state:
            case Asleep(waking=True):
                return [Content.assemble(label, f"{glyphs().starting} waking up")]
            case Asleep(why=why):
                return [
                    Content.assemble(
                        label,
                        f"{glyphs().asleep} {why}   ",
                        key,
                        (" wakes it", "$foreground-muted"),
                    )
                ]
            case _ if self.row.job.spec.gives_way:
                return [
                    Content.assemble(
                        label,
                        f"{glyphs().running} awake   ",
                        key,
                        (" frees the GPU", "$foreground-muted"),
                    )
                ]
            case _ if is_for_cpu(self.row.job):
                return [
                    Content.assemble(
                        label, ("never: vLLM's sleep mode is for GPUs", "$foreground-muted")
                    )
                ]
            case _:
                return []

    def _snippet(self) -> str:
        assert self.server is not None
        tuned_names = [model.id for model in self.server.models if model.kind == "adapter"]
        model = tuned_names[0] if tuned_names else "base"
        return snippet(
            self.language,
            self.server.base_url,
            model,
            _key_file(),
            self.key if self.key_shown else None,
        )

    # Actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "stop":
                return self.row is not None and self.row.alive
            case "copy" | "snippet" | "reveal" | "load":
                return self._answering
            case "unload" | "pin":
                return (
                    self._answering
                    and self.server is not None
                    and any(model.kind == "adapter" for model in self.server.models)
                )
            case "sleep":
                return (
                    self.row is not None
                    and isinstance(self.row.state, Running | Asleep)
                    and self.row.job.spec.gives_way
                )
            case "error":
                return self.row is not None and isinstance(self.row.state, Failed)
            case _:
                return True

    def action_start(self) -> None:
        self.offer()

    def offer(self, base: str | None = None, run_id: str | None = None) -> None:
        """Open the form for a new server, with this base or this run chosen."""
        rows = self.app.rows or []
        self.in_background(
            lambda: FormReady(_form(rows, base, run_id)), group="form", exclusive=True
        )

    def on_form_ready(self, message: FormReady) -> None:
        self.app.push_screen(message.form, lambda job_id: self.app.read_jobs())

    def action_stop(self) -> None:
        if self.row is not None:
            confirm_stop(self, self.row.job)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._snippet())
        self.notify(
            f"Copied the {self.language} example{', with the key in it' if self.key_shown else ''}."
        )

    def action_snippet(self) -> None:
        self.language = LANGUAGES[(LANGUAGES.index(self.language) + 1) % len(LANGUAGES)]
        self.show()

    def action_reveal(self) -> None:
        self.key_shown = not self.key_shown
        self.show()

    def action_error(self) -> None:
        if self.row is not None and isinstance(self.row.state, Failed):
            state = self.row.state
            self.app.show_failure(
                LuthierError(state.title, state.message, state.hint),
                tail_lines(self.row.job.log_path, 12),
            )


def _look(job_id: str) -> ServerSeen:
    from serve.keys import client_key
    from serve.servers import running_servers
    from workshop.servers import standings_of

    server = next((server for server in running_servers() if server.job.id == job_id), None)
    return ServerSeen(
        job_id, server, client_key(), {} if server is None else standings_of(server.models)
    )


def _form(rows: list[JobRow], base: str | None, run_id: str | None) -> StartServerModal:
    from models.certificate import standing
    from models.registry import list_models
    from tui.serve.start_server import StartServerModal, TunedChoice

    names = [model.name for model in list_models() if model.ready]
    choices = [TunedChoice(row.job, row.model, standing(row.job.directory)) for row in tuned(rows)]
    wanted = next((choice for choice in choices if choice.run.id == run_id), None)
    bases = list(dict.fromkeys([*names, *([wanted.base] if wanted is not None else [])]))
    if not bases:
        hint = "Press 2 for the models, then p to prepare the built-in one."
        raise LuthierError("No model is ready", "A server needs a base model.", hint)
    if wanted is None and base is None and choices:
        wanted = choices[0]  # nothing was asked for: the newest run
    chosen = {wanted.run.id} if wanted is not None else set()
    return StartServerModal(
        bases, choices, base=wanted.base if wanted is not None else base, chosen=chosen
    )


def _restarted(restart: Restart) -> Content:
    """That it crashed, and why."""
    count = f"{restart.number} of {restart.most}"
    return Content.assemble(
        (f"{'crashed':<11}", "$warning"),
        f"{restart.reason} ",
        (f"started again, {count}", "$foreground-muted"),
    )


def _key_file() -> Path:
    return home() / "keys" / "client"


def _homely(path: Path) -> str:
    """A path under the user's home as they would write it."""
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)
