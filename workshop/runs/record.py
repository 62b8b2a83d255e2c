"""What a run's events add up to: its curves, what happened to it and when, its samples, what it
does now."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from jobs.events import Event
from jobs.foreign_json import fits
from models import events
from models.events import Step, typed
from workshop.runs.chart_metrics import (
    EVAL_FIGURES,
    EVAL_LOSS,
    METRICS,
    STEP_FIGURES,
    TASK_PREFIX,
    Metric,
    metric,
)
from workshop.runs.curve import Curve
from workshop.runs.moments import Moment, moment_of
from workshop.runs.pace import RECENT, TimeLeft, seconds_of_each, usual_step

_step_figures = [(metric.key, metric.value_of) for metric in STEP_FIGURES]
_eval_figures = [(metric.key, metric.value_of) for metric in EVAL_FIGURES]
_LEAST_LEFT = 0.5  # seconds: less would be shown as 0


@dataclass
class Sample:
    """What the model answered to one prompt, by the step of the evaluation."""

    prompt: str
    reference: str
    answers: dict[int, str] = field(default_factory=dict)


@dataclass
class RunRecord:
    """Feed it events in their order. Times are in unix seconds, 0 where unknown."""

    curves: dict[str, Curve] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    samples: dict[int, Sample] = field(default_factory=dict)
    plan: events.Plan | None = None
    data: events.Data | None = None
    template: events.Template | None = None
    phase: str = ""
    phase_since: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    heard: float = 0.0
    """When the last event was told."""
    step: int = 0
    attempts: int = 0
    version: int = 0
    """Grows with everything but steps that is told."""
    _total: int = 0
    _seconds_before: float = 0.0
    times: Curve = field(default_factory=Curve)
    """When each step was told."""
    _attempt_began: int = 0
    _evaluation_seconds: list[float] = field(default_factory=list)

    # What is told

    def add(self, line: Event) -> None:
        event = typed(line)
        if not isinstance(event, Step):
            self.version += 1
        match event:
            case Step():
                self.add_steps([event])
            case events.Queued() | events.Started() | events.Phase() | events.Exited():
                self._lived(event)
            case events.Plan():
                self.plan = event
            case events.Data():
                self.data = event
            case events.Template():
                self.template = event
            case events.Resumed(step=step):
                self._back_to(step)
            case events.Eval():
                self._evaluated(event)
            case events.Sample():
                self._sampled(event)
            case events.CheckpointRemoved(step=step):
                self._mark_gone("checkpoint", step, "removed")
            case _:  # kinds that say nothing about the figures
                pass
        self._happened(moment_of(event, self.step, self.attempts))
        self.heard = max(self.heard, line["t"])

    def _happened(self, moment: Moment | None) -> None:
        if moment is None:
            return
        for older in self.moments if moment.best else ():
            older.best = False
        self.moments.append(moment)

    def _lived(self, event: events.Queued | events.Started | events.Phase | events.Exited) -> None:
        """How the job goes, attempt by attempt."""
        match event:
            case events.Queued():
                self.attempts += 1
                # a lost attempt: it lived at least until it was last heard of
                if self.started and not self.ended:
                    self._seconds_before += max(0.0, self.heard - self.started)
                self.started = self.ended = 0.0
            case events.Started():
                self.started = event.t
                self.phase, self.phase_since = "starting", event.t
                self._attempt_began = len(self.times)
            case events.Phase():
                self.phase, self.phase_since = event.name, event.t
            case events.Exited():
                self.ended = event.t
                self._seconds_before += self.ended - self.started if self.started else 0.0

    def add_steps(self, steps: Sequence[Step]) -> None:
        """Steps in the order in which they were told."""
        start = 0
        for number in range(1, len(steps) + 1):
            if number == len(steps) or steps[number].step <= steps[number - 1].step:
                self._add_rising(steps[start:number])
                start = number

    def _add_rising(self, steps: Sequence[Step]) -> None:
        last = steps[-1]
        # a second attempt that had no checkpoint to resume from
        if steps[0].step <= self.step and len(self.times):
            self._back_to(steps[0].step - 1)
        self.step, self._total = last.step, last.total or self._total
        numbers = [step.step for step in steps]
        self.times.extend(numbers, [step.t for step in steps])
        self.heard = max(self.heard, last.t)
        for key, value_of in _step_figures:
            figures = list(map(value_of, steps))
            if set(map(type, figures)) != {float}:
                figures = [number(value) for value in figures]
            if last is steps[0] and math.isnan(figures[0]):
                continue
            self.curve(key).extend(numbers, figures)

    def _evaluated(self, event: events.Eval) -> None:
        if event.seconds is not None and event.seconds >= 0:
            self._evaluation_seconds.append(event.seconds)
        for key, value_of in _eval_figures:
            self.curve(key).extend([event.step], [number(value_of(event))])
        for name, value in (event.metrics or {}).items():
            self.curve(TASK_PREFIX + name).extend([event.step], [number(value)])

    def _sampled(self, event: events.Sample) -> None:
        sample = self.samples.setdefault(event.index, Sample(event.prompt, event.reference or ""))
        sample.answers[event.step] = event.answer

    def _back_to(self, step: int) -> None:
        """What was told of later steps no longer holds: they are taken again."""
        for curve in (self.times, *self.curves.values()):
            curve.cut(step)
        self._attempt_began = len(self.times)
        self.step = step
        for moment in self.moments:
            if moment.step > step and moment.kind in ("eval", "checkpoint", "early_stop"):
                moment.gone = moment.gone or "taken again"
        for sample in self.samples.values():
            sample.answers = {at: answer for at, answer in sample.answers.items() if at <= step}

    def _mark_gone(self, kind: str, step: int, how: Literal["removed", "taken again"]) -> None:
        for moment in reversed(self.moments):
            if moment.kind == kind and moment.step == step:
                moment.gone = how
                return

    # What is asked

    def curve(self, key: str) -> Curve:
        return self.curves.setdefault(key, Curve())

    def figure(self, key: str, step: int | None = None) -> float | None:
        """A figure of the last step, or of the step asked for."""
        curve = self.curves.get(key)
        if curve is None or not curve:
            return None
        return curve.value_at(self.step if step is None else step)

    def figure_by(self, figure: Metric, step: int) -> float | None:
        """A figure of a step; of one that is told now and then, the last before it."""
        curve = self.curves.get(figure.key)
        if not curve:
            return None
        return curve.value_before(step) if figure.points else curve.value_at(step)

    def metrics(self) -> list[Metric]:
        """What can be drawn: the usual ones, then the task metrics that there are."""
        tasks = sorted(key for key in self.curves if key.startswith(TASK_PREFIX))
        usual = (metric for metric in METRICS if not metric.rare or self.curves.get(metric.key))
        return [*usual, *(metric(key) for key in tasks)]

    @property
    def total(self) -> int:
        planned = self.plan.steps if self.plan is not None else 0
        return self._total or planned or 0

    @property
    def has_points(self) -> bool:
        return any(len(self.curves.get(metric.key, ())) for metric in METRICS)

    @property
    def eval_loss(self) -> float | None:
        curve = self.curves.get(EVAL_LOSS.key)
        return curve.values[-1] if curve else None

    @property
    def checkpoint(self) -> int:
        """The step of the newest checkpoint that is there; 0 if there is none."""
        return next(
            (
                moment.step
                for moment in reversed(self.moments)
                if moment.kind == "checkpoint" and not moment.gone
            ),
            0,
        )

    @property
    def activity(self) -> str:
        """What it does now, in words. A step that was told after the last phase is training."""
        stepped = bool(self.times) and self.times.values[-1] > self.phase_since
        return "training" if stepped else self.phase

    @property
    def usual_step(self) -> float | None:
        """Seconds of a usual step of this attempt."""
        first = max(self._attempt_began, len(self.times) - RECENT)
        return usual_step(self.times.steps[first:], self.times.values[first:])

    @property
    def last_step_at(self) -> float | None:
        return self.times.values[-1] if self.times else None

    @property
    def evaluations_due(self) -> int:
        """Those of the plan that no attempt has made yet."""
        evaluations_made = sum(moment.kind == "eval" and not moment.gone for moment in self.moments)
        return (
            max(0, self.plan.evaluation.evaluations - evaluations_made)
            if self.plan is not None
            else 0
        )

    def time_left(self, now: float) -> TimeLeft | None:
        """What the remaining steps take at the pace of this attempt, and the evaluations that are
        due; of one that is under way, what is left of it. None if that is unknown, as it is of the
        last evaluation when it takes longer than the others did."""
        usual = self.usual_step
        if self.ended or usual is None or self.step > self.total:
            return None
        seconds, is_about = usual * (self.total - self.step), False
        if self.plan is not None and (due := self.evaluations_due):
            each = seconds_of_each(self._evaluation_seconds, self.plan.evaluation)
            is_evaluating = self.activity.startswith("evaluating")
            under_way = now - (self.last_step_at or now) if is_evaluating else 0.0
            seconds += due * each.seconds - min(each.seconds, max(0.0, under_way))
            is_about = each.about or under_way > each.seconds
        return TimeLeft(seconds, is_about) if seconds >= _LEAST_LEFT else None

    def elapsed(self, now: float) -> float | None:
        """The time of all attempts, waiting between them left out."""
        if not self.started:
            return self._seconds_before or None
        return self._seconds_before + (0.0 if self.ended else now - self.started)

    def told_at(self, step: int) -> float | None:
        """When a step was told, in unix seconds."""
        return self.times.value_at(step)


def number(value: object) -> float:
    """A finite number out of an event, else NaN."""
    return float(value) if isinstance(value, int | float) and fits(value, float) else math.nan
