"""What the app knows of all jobs: one row each, read again every two seconds away from the screen's
thread."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from jobs.job import Job, age_key, folders
from jobs.luthier_error import LuthierError
from jobs.state import (
    Alive,
    Asleep,
    Done,
    Lost,
    Queued,
    Running,
    Starting,
    State,
    Stopped,
    Stopping,
    word,
)
from jobs.state import Failed as FailedState
from models.events import Step, last_of_kind
from models.run_folder import CHAPTERS_FOLDER
from models.runs import Run, model_of
from models.standing import NO_CERTIFICATE, Standing, standing
from workshop.gpu_conflict import open_question
from workshop.runs.eval_losses import NO_EVAL_LOSSES, EvalLosses
from workshop.runs.pace import RECENT, usual_step

Stamp = tuple[int, int, int, int]
_UNKNOWN: Stamp = (-1, -1, -1, -1)


@dataclass(frozen=True)
class JobRow:
    """A job at one moment. `since` is when its state began; `step` and `total` are 0 where there
    are none, and so is `position`, its place in the queue, from 1 on. `asks`: the servers that hold
    its GPU, while it is to be said what it does about them. `stamp` changes with what the row is
    made of."""

    job: Job
    kind: str
    name: str
    model: str
    created: float
    state: State
    since: float
    step: int
    total: int
    loss: float | None
    seconds_left: float | None
    stamp: Stamp
    position: int = 0
    asks: tuple[str, ...] = ()
    standing: Standing = NO_CERTIFICATE
    eval_losses: EvalLosses = NO_EVAL_LOSSES
    learning_rate: float | None = None
    """The highest one that a run's plan has."""
    data: str = ""
    """The data files of a run, by the name of the first."""

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def alive(self) -> bool:
        return isinstance(self.state, Alive)

    @property
    def eval_loss(self) -> float | None:
        """The best one that was measured: the lowest."""
        return self.eval_losses.best

    @property
    def left_waiting(self) -> bool:
        """Whether it was in the queue when the machine went down."""
        return isinstance(self.state, Lost) and self.state.waited

    def matches(self, text: str) -> bool:
        """Whether every word of a filter stands in the name, the kind, the model, the id or the
        state."""
        haystack = f"{self.name} {self.kind} {self.model} {self.id} {word(self.state)}".lower()
        return all(part in haystack for part in text.lower().split())


def read_rows(rows_before: Mapping[str, JobRow]) -> list[JobRow]:
    """All jobs: what runs, then what waits in the order of the queue, then what has ended, each
    newest first but for the queue.

    A job that has ended is not read again until something comes to its events or into its folder.
    """
    rows = []
    for job in folders():
        old = rows_before.get(job.id)
        # the old one's job, which has its paths as text: of a thousand they cost the most
        if old is not None and not old.alive and _UNKNOWN != old.stamp == _stamp(old.job):
            rows.append(old)
            continue
        try:
            if job.readable():
                rows.append(read_row(job, old.eval_losses if old is not None else NO_EVAL_LOSSES))
        except (LuthierError, OSError):  # it was removed or damaged while we looked
            continue
    return _in_order(sorted(rows, key=lambda row: age_key(row.job), reverse=True))


def _in_order(rows: list[JobRow]) -> list[JobRow]:
    """The rows in the order of `read_rows`, and each waiting one with its position."""
    numbered = [
        (order, row.id, row)
        for row in rows
        if isinstance(row.state, Queued) and (order := row.job.order) is not None
    ]
    line = [row for _, _, row in sorted(numbered, key=lambda numbered_row: numbered_row[:2])]
    waiting = {row.id for row in line}
    return [
        *(row for row in rows if row.alive and row.id not in waiting),
        *(replace(row, position=position) for position, row in enumerate(line, start=1)),
        *(row for row in rows if not row.alive),
    ]


def read_row(job: Job, eval_losses: EvalLosses = NO_EVAL_LOSSES) -> JobRow:
    """`eval_losses` are those that were read of it before."""
    stamp = _stamp(job)
    state, events = job.look()
    steps = last_of_kind(events, Step, RECENT if isinstance(state, Running) else 1)
    last = steps[-1] if steps else Step(step=0)
    run = Run(job) if job.spec.kind == "run" else None
    evaluations = NO_EVAL_LOSSES if run is None else eval_losses.read_on(job.events_path)
    return JobRow(
        job=job,
        kind=job.spec.kind,
        name=job.spec.name,
        model=model_of(job),
        created=job.created,
        state=state,
        since=_since(state),
        step=last.step,
        total=last.total,
        loss=last.loss if isinstance(last.loss, float) else None,
        seconds_left=seconds_left(steps, evaluations.seconds_due)
        if isinstance(state, Running)
        else None,
        stamp=stamp,
        asks=tuple(open_question(events)) if isinstance(state, Queued) else (),
        standing=standing(job.directory)
        if run is not None and isinstance(state, Done)
        else NO_CERTIFICATE,
        eval_losses=evaluations,
        learning_rate=None if run is None else run.learning_rate,
        data="" if run is None else _data_text(run.data_names),
    )


def _data_text(names: Sequence[str]) -> str:
    further = f" +{len(names) - 1}" if len(names) > 1 else ""
    return f"{names[0]}{further}" if names else ""


def _stamp(job: Job) -> Stamp:
    """The size of the job's events, when something was put into its folder (a certificate, a merged
    model) or among its chapters, and when its spec was written."""
    try:
        return (
            job.events_path.stat().st_size,
            job.directory.stat().st_mtime_ns,
            _modified(f"{job.directory}/{CHAPTERS_FOLDER}"),
            job.spec_path.stat().st_mtime_ns,
        )
    except OSError:
        return _UNKNOWN


def _modified(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns  # noqa: PTH116 - 1,000 paths cost more
    except FileNotFoundError:
        return 0


def _since(state: State) -> float:
    if isinstance(state, Queued | Starting | Running | Asleep | Stopping):
        return state.since
    return state.at


def ordinal(position: int) -> str:
    """A place in the queue: "next", "2nd", "3rd", "11th"."""
    if position == 1:
        return "next"
    ending = (
        "th"
        if position % 100 in (11, 12, 13)
        else {1: "st", 2: "nd", 3: "rd"}.get(position % 10, "th")
    )
    return f"{position}{ending}"


def waiting_text(position: int, waits_for: str) -> str:
    """What a queued job waits for, and after how many: "2nd, waits for captain-7f3a, which has the
    CPU"."""
    cause = f"waits for {waits_for}" if waits_for else "waits for its turn"
    return f"{ordinal(position)}, {cause}" if position else cause


def seconds_left(steps: list[Step], evaluations_due: float) -> float | None:
    """How long the remaining steps take at the pace of the last ones, with the seconds of the
    evaluations that are due. None if nobody knows, or if nothing of that remains."""
    usual = usual_step([step.step for step in steps], [step.t for step in steps])
    remaining = steps[-1].total - steps[-1].step if steps else -1
    if usual is None or remaining < 0:
        return None
    return usual * remaining + evaluations_due or None


def running_count(rows: Iterable[JobRow]) -> int:
    return sum(row.alive for row in rows)


def newest_server(rows: Iterable[JobRow]) -> JobRow | None:
    """The server that lives, else the last one that there was."""
    servers = [row for row in rows if row.kind == "server"]
    return next((row for row in servers if row.alive), servers[0] if servers else None)


def tuned(rows: Iterable[JobRow]) -> list[JobRow]:
    """The runs that have an adapter to serve: those that are done, and those that were stopped with
    one saved."""
    return [
        row
        for row in rows
        if row.kind == "run"
        and isinstance(row.state, Done | Stopped | FailedState)
        and Run(row.job).folder.has_adapter
    ]
