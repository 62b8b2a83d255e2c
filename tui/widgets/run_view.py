"""A run at a glance: its loss as a chart, its figures beside it. Follows the job's own events."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from jobs.events import Follower
from jobs.job import Job
from jobs.state import Done, Failed, Lost, Queued, Running, Starting, State, Stopped
from tui import figures
from tui.run_record import RunRecord
from tui.widgets.chart import LossChart
from tui.widgets.figure import Figures


class RunView(Horizontal):
    """Give it a job with `open`; `advance` reads what is new, in bounded time."""

    def __init__(self) -> None:
        super().__init__()
        self.record = RunRecord()
        self._job: Job | None = None
        self._follower: Follower | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel") as panel:
            panel.border_title = "loss"
            yield LossChart()
            yield Static("", classes="empty")
        yield Figures()

    def open(self, job: Job, state: State) -> None:
        """Show this job from its beginning. The same job again changes nothing but the state."""
        if self._job is None or job.id != self._job.id:
            self._job, self._follower, self.record = job, Follower(job.events_path), RunRecord()
            self.query_one(Vertical).border_title = f"loss of {job.spec.name}" if self.has_class("-named") else "loss"
            self.query_one(LossChart).show(self.record.train, [], 0)
        self.advance(state)

    def advance(self, state: State) -> None:
        if self._follower is None or self._job is None:
            return
        events = self._follower.read()
        for event in events:
            self.record.add(event)
        record = self.record
        if any(event["kind"] in ("step", "eval", "resumed") for event in events):
            self.query_one(LossChart).show(record.train, record.evals, record.total)
        has_points = bool(record.train.buckets or record.evals)
        self.query_one(LossChart).display = has_points
        empty = self.query_one(".empty", Static)
        empty.display = not has_points
        empty.update(_waiting(state))
        self.query_one(Figures).show(run_figures(record, state, str(self._job.spec.settings.get("model", ""))))

    def switch_scale(self) -> None:
        chart = self.query_one(LossChart)
        chart.logarithmic = not chart.logarithmic
        self.query_one(Vertical).border_subtitle = "log scale" if chart.logarithmic else ""


def run_figures(record: RunRecord, state: State, model: str) -> list[tuple[str, str]]:
    """Every figure keeps its place from the first step on; before it, only those that there are."""
    shown = [
        ("step", f"{record.step} / {record.total}" if record.total else ""),
        ("epoch", _fixed(record.figure("epoch"))),
        ("loss", figures.loss(record.figure("loss"))),
        ("eval loss", figures.loss(record.eval_loss)),
        ("learning rate", figures.rate(record.figure("learning_rate"))),
        ("grad norm", _fixed(record.figure("grad_norm"))),
        ("tokens/s", figures.count(record.figure("tokens_per_second"))),
        ("elapsed", figures.duration(record.elapsed(figures.now()) or 0) if record.started else ""),
    ]
    if isinstance(state, Done | Stopped | Failed | Lost):
        shown.append(("ended", figures.age(state.at)))
    else:
        left = record.seconds_left if isinstance(state, Running) else None
        shown.append(("time left", figures.duration(left) if left is not None else ""))
    shown.append(("model", model))
    return shown if record.step else [(name, value) for name, value in shown if value]


def _waiting(state: State) -> Content:
    """What stands where there is no curve yet."""
    match state:
        case Queued(waits_for=waits_for):
            return Content(f"Waits for {waits_for or 'its turn'}.")
        case Starting() | Running():
            return Content("The first step draws the first point.")
        case _:
            return Content("No step was taken.")


def _fixed(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
