"""What the evaluations of a run have found: which was the best, and whether to stop. Light: what it
knows can be read from the events."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from jobs.events import parse_line
from models.events import Eval, Resumed, typed
from trainer.evaluation.settings import Evaluation, higher_is_better


@dataclass(frozen=True)
class Found:
    """One evaluation. `loss` is None where nothing is held out."""

    step: int
    epoch: float = 0.0
    loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    def value(self, name: str) -> float:
        """NaN where it was not computed."""
        value = self.loss if name == "loss" else self.metrics.get(name)
        return math.nan if value is None else value


class History:
    """The evaluations of a run so far, by step. A step that is evaluated again replaces what was
    found before."""

    def __init__(self, settings: Evaluation, evaluations: Iterable[Found] = ()) -> None:
        self._settings = settings
        self._sign = 1.0 if higher_is_better(settings.metric) else -1.0
        self._found = {evaluation.step: evaluation for evaluation in evaluations}

    def add(self, evaluation: Found) -> None:
        self._found[evaluation.step] = evaluation

    def all(self) -> list[Found]:
        return [self._found[step] for step in sorted(self._found)]

    def forget_after(self, step: int) -> None:
        """A run that goes on from an earlier step evaluates again what came after it."""
        self._found = {
            number: evaluation for number, evaluation in self._found.items() if number <= step
        }

    def best(self, among: Collection[int] | None = None) -> Found | None:
        """By the recipe's metric, the earliest of equals; only of the steps `among`, if given. The
        base (step 0) does not count."""
        best: Found | None = None
        for evaluation in self._tuned():
            if (among is None or evaluation.step in among) and (
                best is None or self._score(evaluation) > self._score(best)
            ):
                best = evaluation
        return best

    def stop_reason(self) -> str:
        """Why the run should stop early; "" if it should not."""
        patience, name = self._settings.patience, self._settings.metric
        if not patience:
            return ""
        reference, waited = None, 0
        for evaluation in (evaluation for evaluation in self.all() if evaluation.step > 0):
            score = self._score(evaluation)
            if not math.isnan(score) and (
                reference is None or score > self._score(reference) + self._settings.min_improvement
            ):
                reference, waited = evaluation, 0
            else:
                waited += 1
        if waited < patience:
            return ""
        if reference is None:
            return f"{name} could not be measured in {waited} evaluations"
        by = (
            f" by more than {self._settings.min_improvement:g}"
            if self._settings.min_improvement
            else ""
        )
        than = f"{reference.value(name):.4g} at step {reference.step}"
        return f"no {name} better than {than}{by} in {waited} evaluation{'s' if waited > 1 else ''}"

    def _tuned(self) -> list[Found]:
        return [
            evaluation
            for evaluation in self.all()
            if evaluation.step > 0 and not math.isnan(self._score(evaluation))
        ]

    def _score(self, evaluation: Found) -> float:
        return self._sign * evaluation.value(self._settings.metric)


def read_history(events_path: Path, settings: Evaluation) -> History:
    """The evaluations that a run's events tell of, in all its attempts."""
    return History(settings, map(found_in, eval_events(events_path)))


def eval_events(events_path: Path) -> list[Eval]:
    """The `eval` events that count, in order: after a `resumed`, those of later steps are told
    again."""
    evaluations: list[Eval] = []
    if not events_path.is_file():
        return evaluations
    with events_path.open("rb") as file:
        for line in file:
            if b'"kind": "eval"' not in line and b'"kind": "resumed"' not in line:
                continue
            event = parse_line(line)
            match typed(event) if event is not None else None:
                case Resumed(step=step):
                    evaluations = [entry for entry in evaluations if entry.step <= step]
                case Eval(step=step) as evaluation:
                    evaluations = [entry for entry in evaluations if entry.step != step]
                    evaluations.append(evaluation)
                case _:
                    pass
    return evaluations


def found_in(event: Eval) -> Found:
    """What an `eval` event tells. Events write NaN and infinity as text."""
    metrics = {
        name: float(value) for name, value in (event.metrics or {}).items() if value is not None
    }
    return Found(
        event.step,
        0.0 if event.epoch is None else float(event.epoch),
        None if event.loss is None else float(event.loss),
        metrics,
    )
