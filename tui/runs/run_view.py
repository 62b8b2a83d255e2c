"""A run at a glance, or up to four over each other: charts, and the first one's figures beside
them. Follows the jobs' own events."""

from __future__ import annotations

from dataclasses import dataclass

from textual import getters, on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.worker import get_current_worker

from jobs.job import Job
from jobs.state import Alive, Done, Failed, Lost, Queued, Running, Starting, State, Stopped
from models.runs import model_of
from tui.app import LuthierApp
from tui.runs.chart_board import ChartBoard
from tui.shared import machine_text
from tui.shared.state_label import bar
from workshop import number_format
from workshop.runs.chart_metrics import FIGURES
from workshop.runs.events import RunReader
from workshop.runs.record import RunRecord
from workshop.runs.track import Track

_LONG = 2_000_000  # bytes of events that take longer to read than an eye notices
_WORTH_DRAWING = 0.25  # of a column of dots: fewer new steps would hardly be seen


class RunView(Vertical):
    """Give it a job with `open`; `advance` reads what is new, in bounded time. A long past is read
    in a thread."""

    app = getters.app(LuthierApp)

    @dataclass
    class PastRead(Message):
        """The past of a run was read, or a part of it: then `reader` is None."""

        track: Track
        share: float
        reader: RunReader | None = None

    def __init__(self) -> None:
        super().__init__()
        self.tracks: list[Track] = []
        self._state: State | None = None
        self.board = ChartBoard()
        # version and step of each run when the charts were drawn
        self._drawn: list[tuple[int, int]] = []

    def compose(self) -> ComposeResult:
        yield self.board

    @property
    def record(self) -> RunRecord:
        return self.tracks[0].record if self.tracks else RunRecord()

    def open(self, job: Job, state: State) -> None:
        """Show this job from its beginning. The same job again changes nothing but the state."""
        if not self.tracks or job.id != self.tracks[0].job.id:
            self.workers.cancel_node(self)
            self.tracks = [Track(job, alive=isinstance(state, Alive))]
            self.board.begin()
            self.board.title = job.spec.name if self.has_class("-named") else ""
            self._read_past(self.tracks[0])
        self.advance(state)

    def overlay(self, jobs: list[tuple[Job, bool]]) -> None:
        """Draw these runs over the first one, each told whether it lives; those that are there
        already stay as they are."""
        tracks = {track.job.id: track for track in self.tracks}
        kept = [tracks[job.id] for job, _ in jobs if job.id in tracks]
        self.tracks = [self.tracks[0], *kept]
        for job, alive in jobs:
            if job.id not in tracks:
                slot = min({0, 1, 2, 3} - {track.slot for track in self.tracks})
                track = Track(job, slot, alive=alive)
                self.tracks.append(track)
                self._read_past(track)
        self.tracks.sort(key=lambda track: track.slot)
        self._draw()

    def _read_past(self, track: Track) -> None:
        """At once if it is short, else in a thread."""
        reader = RunReader(track.job.events_path)
        if reader.behind() <= _LONG:
            track.reader = reader
            while reader.read():
                pass
            return

        def work() -> None:
            worker = get_current_worker()
            while not worker.is_cancelled and reader.read():
                self.post_message(self.PastRead(track, reader.share))
            if not worker.is_cancelled:
                self.post_message(self.PastRead(track, 1.0, reader))

        self.run_worker(work, thread=True, group="past", exit_on_error=False)

    @on(PastRead)
    def past_read(self, message: PastRead) -> None:
        message.track.share = message.share
        if message.reader is not None:
            message.track.reader = message.reader
            self._draw()
        elif self.tracks:
            self.board.say(self._waiting())

    def advance(self, state: State) -> None:
        """Read what is new. Figures and readout follow at once, the charts once there is something
        to be seen."""
        if not self.tracks:
            return
        changed = type(state) is not type(self._state) or (
            state != self._state and not self.record.has_points
        )
        self._state = state
        self.tracks[0].alive = isinstance(state, Alive)
        for track in self.tracks:
            if track.reader is not None:
                track.reader.read()
        if changed or self._worth_drawing():
            self._draw()
        else:
            self._show_figures()
            self.board.show_readout()

    def _worth_drawing(self) -> bool:
        now = [(track.record.version, track.record.step) for track in self.tracks]
        if [version for version, _ in now] != [version for version, _ in self._drawn]:
            return True
        grown = max(
            abs(step - drawn) for (_, step), (_, drawn) in zip(now, self._drawn, strict=True)
        )
        return grown > 0 and grown >= _WORTH_DRAWING * self.board.steps_a_dot

    def _draw(self) -> None:
        self._drawn = [(track.record.version, track.record.step) for track in self.tracks]
        self.board.show(self.tracks, self._waiting())
        self._show_figures()

    @on(ChartBoard.CursorMoved)
    def _show_figures(self) -> None:
        if self._state is None or not self.tracks:
            return
        cursor, panel = self.board.cursor, self.board.figures_panel
        title = "now"
        if cursor is not None:
            title = f"at step {cursor:,}"
        elif isinstance(self._state, Done | Stopped | Failed | Lost):
            title = "at the end"
        if panel.border_title != title:
            panel.border_title = Content(title)
        figures = run_figures(self.tracks[0], self._state, cursor)
        machine = self.app.machine
        if machine is not None and cursor is None and _goes_on(self._state):
            figures += machine_text.figures(machine)
        self.board.figures.show(figures)

    def _waiting(self) -> Content:
        """What stands where there is no curve yet."""
        reading = next((track for track in self.tracks if track.reader is None), None)
        if reading is not None:
            share = round(100 * reading.share)
            return Content.assemble(
                "Reading what was recorded\n\n", bar(share, 100, 30), f" {share:>3} %"
            )
        match self._state:
            case Queued(waits_for=waits_for):
                return Content(f"Waits for {waits_for or 'its turn'}.")
            case Starting() | Running():
                return Content("Waiting for the first step.\nIt draws the first point.")
            case _:
                return Content("No step was taken.")


def _goes_on(state: State) -> bool:
    return isinstance(state, Alive) and not isinstance(state, Queued)


def run_figures(track: Track, state: State, cursor: int | None = None) -> list[tuple[str, str]]:
    """Every figure keeps its place from the first step on; before it, only those that there are.
    With a cursor, those of its step."""
    record = track.record
    step = record.step if cursor is None else cursor
    position = f"{step:,} / {record.total:,}" if record.total else ""
    figures = [("step", position)]
    for metric in FIGURES:
        text = metric.text(record.figure_by(metric, step))
        if text or not metric.optional:
            figures.append((metric.title, text))
    now = number_format.now()
    # nobody knows how long a lost run went on after it was last heard of
    elapsed = record.elapsed(record.heard if isinstance(state, Lost) else now)
    at_cursor = record.told_at(cursor) if cursor is not None else None
    if cursor is not None:
        figures.append(("time", number_format.clock(at_cursor) if at_cursor is not None else ""))
    else:
        figures.append(("elapsed", number_format.duration(elapsed) if elapsed is not None else ""))
        if isinstance(state, Lost):
            figures.append(("last heard from", number_format.age(state.at)))
        elif isinstance(state, Done | Stopped | Failed):
            figures.append(("ended", number_format.age(state.at)))
        else:
            left = record.time_left(now) if isinstance(state, Running) else None
            figures.append(("time left", str(left or "")))
        figures.append(("model", model_of(track.job)))
    return figures if record.step else [(name, value) for name, value in figures if value]
