"""What a run's events add up to: its curve, its figures, what it does now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jobs.events import Event
from tui.joblist import number, seconds_left
from tui.series import Series


@dataclass
class RunRecord:
    """Feed it events in their order. Times are in unix seconds, 0 where unknown."""

    train: Series = field(default_factory=Series)
    evals: list[tuple[float, float]] = field(default_factory=list)
    last_step: Event = field(default_factory=dict)
    plan: Event = field(default_factory=dict)
    data: Event = field(default_factory=dict)
    phase: str = ""
    phase_since: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    checkpoint: int = 0
    _recent: list[Event] = field(default_factory=list)

    def add(self, event: Event) -> None:
        match event["kind"]:
            case "queued":
                self.ended = 0.0
                self._recent.clear()
            case "started":
                self.started = event["t"]
                self.phase, self.phase_since = "starting", event["t"]
            case "phase":
                self.phase, self.phase_since = str(event.get("name", "")), event["t"]
            case "plan":
                self.plan = event
            case "data":
                self.data = event
            case "resumed":
                self._resume(float(event.get("step", 0)))
            case "step":
                self._step(event)
            case "eval":
                loss = number(event.get("loss"))
                if loss is not None:
                    self.evals.append((float(event.get("step", 0)), loss))
            case "checkpoint":
                self.checkpoint = int(event.get("step", 0))
            case "exited":
                self.ended = event["t"]
            case _:  # kinds that say nothing about the curve
                pass

    def _step(self, event: Event) -> None:
        self.last_step = event
        loss = number(event.get("loss"))
        if loss is not None:
            self.train.append(float(event.get("step", 0)), loss)
        self._recent = [*self._recent[-49:], event]

    def _resume(self, step: float) -> None:
        self.train.cut(step)
        self.evals = [(at, loss) for at, loss in self.evals if at <= step]

    def figure(self, key: str) -> float | None:
        """A figure of the last step."""
        return number(self.last_step.get(key))

    @property
    def step(self) -> int:
        return int(self.last_step.get("step", 0))

    @property
    def total(self) -> int:
        return int(self.last_step.get("total") or self.plan.get("steps") or 0)

    @property
    def eval_loss(self) -> float | None:
        return self.evals[-1][1] if self.evals else None

    @property
    def seconds_left(self) -> float | None:
        return None if self.ended else seconds_left(self._recent)

    def elapsed(self, now: float) -> float | None:
        return (self.ended or now) - self.started if self.started else None

    def planned(self, key: str) -> Any:
        return self.plan.get(key)
