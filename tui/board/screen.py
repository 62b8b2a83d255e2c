"""The board: the machine, the server's traffic, the live loss, what runs and waits, what ended
last. Made to be left open: it paints only what has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Resize
from textual.widget import Widget

from jobs.machine import GpuLoad, gpu_loads
from jobs.state import Asleep, Running
from serve.client import Endpoint
from tui import key_bindings
from tui.board.lists import ended_lines, queue_lines
from tui.runs.run_view import RunView
from tui.serve.live_panel import LivePanel
from tui.shared.action import Handler, Place
from tui.shared.machine_text import machine_lines
from tui.shared.screen import LuthierScreen
from tui.shared.state_label import state_content
from tui.shared.steady_text import SteadyText
from workshop import number_format
from workshop.job_list import JobRow, newest_server

_GPU_TICKS = 4  # between two looks of nvidia-smi, which takes its time
_MOST_JOBS = 7  # of each list
_MOST_LINES = 12  # of the machine: processors, memory, five GPUs


_Lines = Callable[[Sequence[JobRow], int, int], list[Content]]
"""Lines for these jobs, so many cells wide, and at most so many."""


class BoardScreen(LuthierScreen):
    place: ClassVar[Place] = "board"
    poll_seconds = 1.0
    CSS_PATH = "board.tcss"
    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("board")

    def __init__(self) -> None:
        super().__init__()
        self._run_id = ""
        self._gpus: list[GpuLoad] = []
        self._ticks = 0
        self._server_id = ""
        self.handlers = {
            "open": Handler(self._open, lambda: self.run is not None),
            "next": Handler(self._next, lambda: len(self._runs()) > 1),
            "server": Handler(lambda: self.app.journey.open_server()),
        }

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="board"):
            with Horizontal(id="board-top"):
                with Vertical(id="machine", classes="panel") as panel:
                    panel.border_title = "machine"
                    for _ in range(_MOST_LINES):
                        yield SteadyText(classes="board-line")
                with Vertical(id="board-server", classes="panel") as panel:
                    panel.border_title = "server"
                    yield SteadyText(id="board-server-title")
                    yield LivePanel()
            yield RunView().add_class("-named")
            with Horizontal(id="board-bottom"):
                for name, title in (("queue", "queue"), ("ended", "ended last")):
                    with Vertical(id=f"board-{name}", classes="panel") as panel:
                        panel.border_title = title
                        for _ in range(_MOST_JOBS):
                            yield SteadyText(classes="board-line")

    def on_resize(self, event: Resize) -> None:
        self.call_after_refresh(self.jobs_changed, self.app.rows or [])

    # What is shown

    def advance(self) -> None:
        """The loss follows its run; GPUs are asked now and then."""
        if not self.is_seen:
            return
        run = self.run
        if run is not None and run.alive:
            self.query_one(RunView).advance(run.state)
        if self._ticks % _GPU_TICKS == 0:
            self.in_thread(gpu_loads, self._show_gpus, group="gpus", exclusive=True)
        self._ticks += 1

    def _show_gpus(self, gpus: list[GpuLoad]) -> None:
        self._gpus = gpus
        self._show_machine()

    def jobs_changed(self, rows: list[JobRow]) -> None:
        with self.app.batch_update():
            self._show_machine()
            self._show_server(newest_server(rows))
            self._show_loss()
            self._show_list("#board-queue", rows, queue_lines)
            self._show_list("#board-ended", rows, ended_lines)

    def _show_machine(self) -> None:
        machine, panel = self.app.machine, self.query_one("#machine")
        if machine is None:
            return
        lines = machine_lines(machine, self._gpus, panel.content_size.width)
        _show_lines(panel.query(SteadyText), lines)

    def _show_server(self, row: JobRow | None) -> None:
        title, live = self.query_one("#board-server-title", SteadyText), self.query_one(LivePanel)
        if row is None or not row.alive:
            self._server_id = ""
            live.turn_to(None)
            serve = key_bindings.key_of("app.serve")
            title.update(
                Content.styled(f"No server runs. {serve} opens Serve.", "$foreground-muted")
            )
            return
        since = number_format.short_duration(number_format.now() - row.since)
        state = state_content(row.state)
        title.update(
            Content.assemble((row.name, "bold"), "  ", state, (f"  {since}", "$foreground-muted"))
        )
        is_up = isinstance(row.state, Running | Asleep)
        if not is_up:
            live.turn_to(None)
        elif row.id != self._server_id:
            self._server_id = row.id
            self.in_thread(lambda: _endpoint_of(row), self._follow_server, "server", exclusive=True)

    def _follow_server(self, endpoint: Endpoint | None) -> None:
        if endpoint is None:  # it is about to say where it is
            self._server_id = ""
        self.query_one(LivePanel).turn_to(endpoint)

    def _show_loss(self) -> None:
        view, run = self.query_one(RunView), self.run
        view.display = run is not None
        if run is not None:
            view.open(run.job, run.state)

    def _show_list(self, panel: str, rows: list[JobRow], lines_of: _Lines) -> None:
        size = self.query_one(panel).content_size
        if size.width and size.height:
            lines = lines_of(rows, size.width, min(_MOST_JOBS, size.height))
            _show_lines(self.query_one(panel).query(SteadyText), lines)

    # The run whose loss is drawn

    def _runs(self) -> list[JobRow]:
        """Those that go on; where none does, the one that ended last."""
        runs = [row for row in self.app.rows or [] if row.kind == "run"]
        going_on = [row for row in runs if row.alive and not row.position]
        ended = sorted((row for row in runs if not row.alive), key=lambda row: row.since)
        return going_on or ended[-1:]

    @property
    def run(self) -> JobRow | None:
        """The one that was chosen, else one that takes steps."""
        runs = self._runs()
        running = [row for row in runs if isinstance(row.state, Running)]
        by_key = [row for row in runs if row.id == self._run_id]
        return next(iter([*by_key, *running, *runs]), None)

    def _next(self) -> None:
        runs, run = self._runs(), self.run
        if run is not None:
            self._run_id = runs[(runs.index(run) + 1) % len(runs)].id
            self._show_loss()

    def _open(self) -> None:
        if self.run is not None:
            self.app.open_run(self.run.job)


def _show_lines(widgets: Iterable[SteadyText], lines: Sequence[Content]) -> None:
    """A line each, so that only those are painted that have changed."""
    for index, widget in enumerate(widgets):
        widget.display = index < len(lines)
        if index < len(lines):
            widget.update(lines[index])


def _endpoint_of(row: JobRow) -> Endpoint | None:
    from workshop.servers import server_by_job

    server = server_by_job(row.job)
    return None if server is None else server.endpoint
