"""A job's progress in the terminal: what it does now, a bar, and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

from jobs.events import Event, Follower
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.state import Done, Failed, Lost, State, Stopped
from models import events
from models.events import typed
from tui.commands.output import say_done, talk
from tui.shared.foreign_text import one_line
from workshop.number_format import duration, size

_TICK_SECONDS = 0.2


class JobMeter:
    """How far a job is, from its events: by steps or bytes where it counts them, else by how long
    its phases usually take."""

    def __init__(self) -> None:
        self.phase = "waiting"
        self.note = ""
        self._began = self._phase_began = time.time()
        self._phase_left = 1.0
        self._bytes: tuple[int, int] | None = None
        self._first_step: events.Step | None = None
        self._last_step: events.Step | None = None

    def take(self, event: Event) -> None:
        match typed(event):
            case events.Phase(name=name, done=done, total=total) as phase:
                self.phase, self._phase_began = name, phase.t
                self._phase_left = 1.0 if phase.seconds_left is None else phase.seconds_left
                counts = phase.unit == "bytes" and total
                self._bytes = (int(done or 0), int(total or 0)) if counts else None
                self.note = (
                    f"{size(self._bytes[0])} of {size(self._bytes[1])}" if self._bytes else ""
                )
            case events.Waiting(waits_for=waits_for):
                self.phase = f"waiting for {waits_for}"
            case events.Started(t=t):
                self._began = t
            case events.Step(loss=loss) as step:
                self._first_step, self._last_step = self._first_step or step, step
                self.note = f"loss {loss:.3f}" if isinstance(loss, float) else ""
            case _:
                pass

    def seconds_left(self) -> float | None:
        """An estimate; None while there is nothing to go by."""
        now = time.time()
        if self._last_step and self._first_step:
            steps = self._last_step.step - self._first_step.step
            if steps == 0:
                return None
            pace = (self._last_step.t - self._first_step.t) / steps
            left = (self._last_step.total - self._last_step.step) * pace
            return max(0.0, left - (now - self._last_step.t))
        return max(1.0, self._phase_left - (now - self._phase_began))

    def share(self) -> float:
        """From 0 to 1."""
        if self._bytes:
            return self._bytes[0] / self._bytes[1]
        if self._last_step:
            return self._last_step.step / max(1, self._last_step.total)
        elapsed = time.time() - self._began
        return elapsed / (elapsed + (self.seconds_left() or 1.0))


def bar() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", justify="left", markup=False),
        BarColumn(bar_width=28),
        TaskProgressColumn(),
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
        task = progress.add_task(one_line(title), total=1.0, left="")
        while True:
            for event in follower.read():
                meter.take(event)
            state = job.state()
            if until(state):
                break
            if isinstance(state, Failed | Lost | Stopped | Done):
                raise ended_badly(job, state)
            left = meter.seconds_left()
            note = f", {meter.note}" if meter.note else ""
            text = one_line(f"{title}: {meter.phase}{note}")
            if (
                not talk.is_terminal and meter.phase != printed_phase
            ):  # a log file gets a line a phase
                talk.print(f"  {text}")
                printed_phase = meter.phase
            progress.update(
                task,
                description=text,
                completed=meter.share(),
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
