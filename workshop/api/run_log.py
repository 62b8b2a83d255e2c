"""What a run's events say in the API's words: its events, its checkpoints with their metrics, its
results. Each line of `events.jsonl` is read once."""

from __future__ import annotations

import csv
import io
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from jobs.events import Event, Follower
from models import events
from models.events import Known, typed
from models.runs import Run
from trainer.data.ledger import describe, read_ledger
from workshop.api.names import job_id, model_name
from workshop.job_list import seconds_left
from workshop.runs.eval_losses import NO_EVAL_LOSSES
from workshop.runs.moments import moment_of

Level = Literal["info", "warn", "error"]
_RECENT = 60
_LEDGER_ROWS = 200_000
"""Rows of the ledger that are looked through for those that were left out."""
_NAMED_ROWS = 20
_PREFERENCE_FIGURES = ("reward_chosen", "reward_rejected", "reward_margin", "reward_accuracy", "kl")
RESULT_COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")
"""Those of OpenAI's result files. The accuracies are empty: a run does not measure them."""


@dataclass(frozen=True)
class Told:
    """An event as a program gets it."""

    t: float
    level: Level
    message: str
    data: dict[str, Any] = field(default_factory=dict)
    is_metrics: bool = False


@dataclass(frozen=True)
class Checkpoint:
    step: int
    t: float


class RunLog:
    """A run's events, each look reading on from the last one's end. A resumed run takes steps
    again: what was measured of them before no longer counts."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.told: list[Told] = [
            Told(run.job.created, "info", f"Created fine-tuning job: {job_id(run)}")
        ]
        self.losses: dict[int, float] = {}
        self.evaluations: dict[int, float] = {}
        self.checkpoints: dict[int, Checkpoint] = {}
        self.tokens: int | None = None
        self.total = 0
        self.has_data = False
        """Whether the data is prepared, in any attempt."""
        self.error: events.Error | None = None
        """Of the last attempt."""
        self.began_training = False
        """In the last attempt."""
        self.is_pausing = False
        """Whether the last attempt was asked to pause."""
        self._recent: deque[events.Step] = deque(maxlen=_RECENT)
        self._follower = Follower(run.job.events_path)
        self._attempts = 0

    def read(self) -> None:
        """Take in all whole lines that are new."""
        while lines := self._follower.read(max_seconds=1.0):
            for line in lines:
                self._take(line)

    @property
    def seconds_left(self) -> float | None:
        if not self._recent:
            return None
        due = NO_EVAL_LOSSES.read_on(self.run.job.events_path).seconds_due
        return seconds_left(list(self._recent), due)

    def _take(self, line: Event) -> None:
        event = typed(line)
        match event:
            case events.Queued():
                self._attempts += 1
                self.error, self.is_pausing, self.began_training = None, False, False
                if self._attempts == 1:
                    self._tell(event.t, "The job waits in the queue")
            case events.PauseRequested():
                self.is_pausing = True
                self._tell(event.t, "A pause was asked for: the run stops with a checkpoint")
            case events.CancelRequested():
                self.is_pausing = False
                self._tell(event.t, "The job was cancelled")
            case events.Started():
                self._tell(event.t, "Fine-tuning job started")
            case events.Error():
                self.error = event
                text = " ".join(part for part in (event.message, event.hint) if part)
                self._tell(event.t, f"{event.title}: {text}", "error")
            case events.Result():
                self._tell(event.t, f"New fine-tuned model created: {model_name(self.run)}")
                self._tell(event.t, "The job has successfully completed")
            case events.Phase(name=name) if not self.has_data:
                self._tell(event.t, name[:1].upper() + name[1:])
            case _:
                self._train(event)

    def _train(self, event: Known | Event) -> None:
        """The events of the training itself; the others concern Luthier alone."""
        match event:
            case events.Data():
                self._prepared(event)
            case events.Step():
                self._stepped(event)
            case events.Eval():
                self._evaluated(event)
            case events.Checkpoint():
                self.checkpoints[event.step] = Checkpoint(event.step, event.t)
                self._tell(
                    event.t,
                    f"Checkpoint created at step {event.step}",
                    fine_tuned_model_checkpoint=model_name(self.run, event.step),
                    step=event.step,
                )
            case events.CheckpointRemoved():
                self.checkpoints.pop(event.step, None)
            case events.Resumed():
                self._back_to(event)
            case events.Repair() | events.EarlyStop():
                self._tell_moment(event)
            case _:
                pass

    def _tell(self, t: float, message: str, level: Level = "info", **data: Any) -> None:
        self.told.append(Told(t, level, message, data))

    def _tell_moment(self, event: events.Repair | events.EarlyStop) -> None:
        moment = moment_of(event, self._recent[-1].step if self._recent else 0, self._attempts)
        if moment is not None:
            detail = f": {moment.detail}" if moment.detail else ""
            self._tell(event.t, f"{moment.title}{detail}", "warn")

    def _prepared(self, event: events.Data) -> None:
        self.has_data = True
        self._tell(
            event.t,
            f"Files validated: {event.train or 0} samples to train on, {event.heldout or 0} held"
            " out",
        )
        dropped = 0 if event.ledger is None else event.ledger.rows.get("dropped", 0)
        if dropped:
            rows = [
                f"row {entry.row} ({entry.detail or describe(entry.reasons[-1])})"
                for entry in self._dropped()
            ]
            further = f" and {dropped - len(rows)} more" if dropped > len(rows) else ""
            counts = {} if event.ledger is None else event.ledger.reasons.get("dropped", {})
            self._tell(
                event.t,
                f"{dropped} of {event.ledger.total_rows if event.ledger else dropped} rows are left"
                f" out (counted from 0): {', '.join(rows)}{further}",
                "warn",
                reasons={
                    code: {"rows": n, "meaning": describe(code)} for code, n in counts.items()
                },
            )

    def _dropped(self) -> Iterator[Any]:
        path = self.run.folder.ledger
        if not path.is_file():
            return iter(())
        entries = islice(read_ledger(path), _LEDGER_ROWS)
        return islice(
            (entry for entry in entries if entry.state == "dropped" and entry.reasons), _NAMED_ROWS
        )

    def _stepped(self, event: events.Step) -> None:
        self.began_training = True
        self.total = event.total
        self._recent.append(event)
        loss = _finite(event.loss)
        if loss is not None:
            self.losses[event.step] = loss
        tokens = _finite(event.tokens)
        self.tokens = self.tokens if tokens is None else int(tokens)
        text = "none" if loss is None else f"{loss:.4f}"
        self.told.append(
            Told(
                event.t,
                "info",
                f"Step {event.step}/{event.total}: training loss={text}",
                {
                    "step": event.step,
                    "total_steps": event.total,
                    "train_loss": loss,
                    **_preference_figures(event),
                },
                is_metrics=True,
            )
        )

    def _evaluated(self, event: events.Eval) -> None:
        loss = _finite(event.loss)
        if loss is None:
            return
        self.evaluations[event.step] = loss
        train_loss = self.losses.get(event.step)
        where = f"Step {event.step}/{self.total}" if event.step else "Before the first step"
        self.told.append(
            Told(
                event.t,
                "info",
                f"{where}: full validation loss={loss:.4f}",
                {
                    "step": event.step,
                    "total_steps": self.total,
                    "train_loss": train_loss,
                    "full_valid_loss": loss,
                    **{name: _finite(value) for name, value in (event.metrics or {}).items()},
                },
                is_metrics=True,
            )
        )

    def _back_to(self, event: events.Resumed) -> None:
        where = f"from step {event.step}" if event.step else "from the beginning"
        self._tell(event.t, f"The job continues {where}")
        for measured in (self.losses, self.evaluations, self.checkpoints):
            for step in [step for step in measured if step > event.step]:
                del measured[step]
        self._recent.clear()

    # What is made of them

    def event_json(self, index: int) -> dict[str, Any]:
        entry = self.told[index]
        return {
            "object": "fine_tuning.job.event",
            "id": f"ftevent-{self.run.id}-{index:07d}",
            "created_at": int(entry.t),
            "level": entry.level,
            "message": entry.message,
            "type": "metrics" if entry.is_metrics else "message",
            "data": entry.data,
        }

    def checkpoint_json(self, checkpoint: Checkpoint) -> dict[str, Any]:
        step = checkpoint.step
        return {
            "object": "fine_tuning.job.checkpoint",
            "id": f"ftckpt-{self.run.id}-{step}",
            "created_at": int(checkpoint.t),
            "fine_tuned_model_checkpoint": model_name(self.run, step),
            "fine_tuning_job_id": job_id(self.run),
            "metrics": {
                "step": step,
                "train_loss": self.losses.get(step),
                "train_mean_token_accuracy": None,
                "valid_loss": self.evaluations.get(step),
                "valid_mean_token_accuracy": None,
                "full_valid_loss": self.evaluations.get(step),
                "full_valid_mean_token_accuracy": None,
            },
            "step_number": step,
        }

    def results_csv(self) -> bytes:
        """A line a step, as OpenAI's result files have them."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(RESULT_COLUMNS)
        for step in sorted(self.losses.keys() | self.evaluations.keys()):
            valid = self.evaluations.get(step)
            train = self.losses.get(step)
            writer.writerow(
                (step, "" if train is None else train, "", "" if valid is None else valid, "")
            )
        return text.getvalue().encode()


def _preference_figures(step: events.Step) -> dict[str, float]:
    """What a step of DPO, ORPO or KTO measures beside its loss."""
    figures = {name: _finite(getattr(step, name)) for name in _PREFERENCE_FIGURES}
    return {name: value for name, value in figures.items() if value is not None}


def _finite(value: float | str | None) -> float | None:
    """A figure as JSON's numbers have it; None for one that is not finite."""
    if value is None or isinstance(value, str) or not math.isfinite(value):
        return None
    return float(value)
