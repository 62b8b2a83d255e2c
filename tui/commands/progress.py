"""A job's progress in the terminal: what it does now, a bar, and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
)
from rich.text import Text

from jobs.events import Event, Follower
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.state import Done, Failed, Lost, State, Stopped
from models import events
from models.events import typed
from tui.commands.output import say_done, talk
from tui.shared.foreign_text import one_line
from workshop.number_format import duration, size
from workshop.runs.record import RunRecord

_TICK_SECONDS = 0.2


class JobMeter:
    """How far a job is, by its events. A run is measured by its steps and evaluations, as on its
    screen; another job by what its phase counts, or by how long the phase usually takes."""

    def __init__(self) -> None:
        self.phase = "waiting"
        self.note = ""
        self._record = RunRecord()
        self._last_phase: events.Phase | None = None
        self._began = time.time()

    def take(self, event: Event) -> None:
        self._record.add(event)
        match typed(event):
            case events.Phase() as phase:
                self.phase, self._last_phase = phase.name, phase
                counts_bytes = phase.unit == "bytes" and phase.total
                self.note = (
                    f"{size(phase.done or 0)} of {size(phase.total or 0)}" if counts_bytes else ""
                )
            case events.Waiting(waits_for=waits_for):
                self.phase = f"waiting for {waits_for}"
            case events.Started(t=t):
                self._began = t
            case events.Step(loss=loss):
                self.note = f"loss {loss:.3f}" if isinstance(loss, float) else ""
            case _:
                pass

    def seconds_left(self) -> float | None:
        """An estimate; None while there is nothing to go by."""
        now = time.time()
        if self._counts_steps():
            left = self._record.time_left(now)
            return None if left is None else left.seconds
        phase = self._last_phase
        if phase is None or phase.seconds_left is None:
            return None
        return max(1.0, phase.seconds_left - (now - phase.t))

    def share(self) -> float | None:
        """From 0 to 1; None while nobody knows how much there is to do."""
        done, total = self._count()
        if total:
            return max(0.0, min(1.0, done / total))
        left = self.seconds_left()
        if left is None:
            return None
        elapsed = max(0.0, time.time() - self._began)
        return elapsed / (elapsed + left)

    def _counts_steps(self) -> bool:
        """Whether steps say how far the job is: always in a run, whose phases are short; in another
        job if the newest step came after the newest phase."""
        last_step, phase = self._record.last_step_at, self._last_phase
        has_stepped = last_step is not None and (phase is None or last_step >= phase.t)
        return self._record.plan is not None or has_stepped

    def _count(self) -> tuple[float, float]:
        """How much is done, and of how much; 0 of 0 if the job does not count."""
        if self._counts_steps():
            return self._record.step, self._record.total
        phase = self._last_phase
        return (0, 0) if phase is None else (phase.done or 0, phase.total or 0)


class _Share(TaskProgressColumn):
    """Empty while the share is unknown: 0 % would be a claim."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


def bar() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", justify="left", markup=False),
        BarColumn(bar_width=28),
        _Share(),
        TextColumn("{task.fields[left]}", style="dim", markup=False),
        console=talk,
        transient=True,
    )


def follow_job(job: Job, title: str, until: Callable[[State], bool]) -> State:
    """Show the job's progress until its state satisfies `until`. LuthierError if it failed, was
    lost or was stopped first."""
    follower, meter = Follower(job.events_path), JobMeter()
    began, printed_phase = time.monotonic(), ""
    with bar() as progress:
        task = progress.add_task(one_line(title), total=None, left="")
        while True:
            for event in follower.read():
                meter.take(event)
            state = job.state()
            if until(state):
                break
            if isinstance(state, Failed | Lost | Stopped | Done):
                raise ended_badly(job, state)
            left, share = meter.seconds_left(), meter.share()
            note = f", {meter.note}" if meter.note else ""
            text = one_line(f"{title}: {meter.phase}{note}")
            if (
                not talk.is_terminal and meter.phase != printed_phase
            ):  # a log file gets a line a phase
                talk.print(f"  {text}")
                printed_phase = meter.phase
            progress.tasks[0].total = None if share is None else 1.0  # update() takes no None
            progress.update(
                task,
                description=text,
                completed=share,
                left=f"about {duration(left)} left" if left else "",
            )
            time.sleep(_TICK_SECONDS)
    say_done(title, duration(time.monotonic() - began))
    return state


def follow_to_end(job: Job, title: str, after_interrupt: str = "") -> dict[str, Any]:
    """The result of a job, once it is done. Whoever stops waiting (^C) reads that it keeps running,
    and `after_interrupt`."""
    try:
        state = follow_job(job, title, lambda state: isinstance(state, Done))
    except KeyboardInterrupt:
        talk.print(
            f"{job.id} keeps running. `luthier log -f {job.id}` follows it, `luthier stop"
            f" {job.id}` stops it.{after_interrupt and ' '}{after_interrupt}"
        )
        raise
    return dict(state.result) if isinstance(state, Done) else {}


def ended_badly(job: Job, state: State) -> LuthierError:
    """Why a job that was waited for did not come to its end."""
    match state:
        case Failed():
            return LuthierError(state.title, state.message, state.hint)
        case Lost():
            return LuthierError(
                "The job was lost",
                f"{job.id} is lost: its supervisor has gone.",
                f"`luthier log {job.id}` shows its last lines.",
            )
        case _:
            return LuthierError(
                "The job was stopped",
                f"{job.id} was stopped before it was done.",
                "You can start it again.",
            )
