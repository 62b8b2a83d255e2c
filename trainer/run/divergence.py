"""When a loss has exploded: the rule, without the trainer around it. Light."""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import Any

_WINDOW = 10  # steps
_NATS, _SPREADS = 1.0, 5.0  # how far above the calm level is too far: the larger of the two


class LossWatch:
    """A loss has exploded when it or the gradient is no number, or when each of the last ten steps
    lay far above the calm level, which is the lowest median of ten calm steps so far. Far is more
    than 1 nat, and more than five times the median deviation of the last ten calm losses from their
    median. A noisy start sets no level, since a median minds no single low step; a noisy run does
    not trip it, since a single ordinary step begins the count anew."""

    def __init__(self) -> None:
        self.level = math.inf
        self.onset: int | None = None
        self._calm: deque[float] = deque(maxlen=_WINDOW)

    @property
    def limit(self) -> float:
        """Losses above it are far above the calm level."""
        if len(self._calm) < _WINDOW:
            return math.inf
        middle = statistics.median(self._calm)
        return self.level + max(
            _NATS, _SPREADS * statistics.median(abs(loss - middle) for loss in self._calm)
        )

    def see(self, step: int, loss: float, gradient_norm: float) -> str | None:
        """Why training must stop, if it must. `onset` is then the first step of the bad ones."""
        for name, value in (("loss", loss), ("gradient's norm", gradient_norm)):
            if not math.isfinite(value):
                self.onset = step if self.onset is None else self.onset
                return (
                    f"The {name} became {'NaN' if math.isnan(value) else 'infinite'} at step"
                    f" {step}."
                )
        if loss <= self.limit:
            self.onset = None
            self._calm.append(loss)
            if len(self._calm) == _WINDOW:
                self.level = min(self.level, statistics.median(self._calm))
            return None
        self.onset = step if self.onset is None else self.onset
        if step - self.onset + 1 < _WINDOW:
            return None
        return (
            f"Since step {self.onset} the loss has been above {self.limit:.2f}; before that it was"
            f" about {self.level:.2f}."
        )

    def state(self) -> dict[str, Any]:
        return {
            "level": self.level if math.isfinite(self.level) else None,
            "onset": self.onset,
            "calm": list(self._calm),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.level = math.inf if state["level"] is None else float(state["level"])
        self.onset = state["onset"]
        self._calm = deque(state["calm"], maxlen=_WINDOW)
