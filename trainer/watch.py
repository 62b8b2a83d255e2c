"""When a loss has exploded: the rule, without the trainer around it. Light."""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import Any

_WINDOW = 10  # steps
_FACTOR, _MARGIN = 2.0, 2.0  # times, and nats above, the calm level


class LossWatch:
    """A loss has exploded when it or the gradient is no number, or when each of the last ten steps lay above twice, and more than 2 nats
    above, the calm level: the lowest median of ten consecutive steps so far. A noisy start sets no level, since a median minds no single
    low step; a noisy run does not trip it, since a single ordinary step begins the count anew."""

    def __init__(self) -> None:
        self.level = math.inf
        self.onset: int | None = None
        self._recent: deque[float] = deque(maxlen=_WINDOW)

    def see(self, step: int, loss: float, gradient_norm: float) -> str | None:
        """Why training must stop, if it must. `onset` is then the first step of the bad ones."""
        for name, value in (("loss", loss), ("gradient's norm", gradient_norm)):
            if not math.isfinite(value):
                self.onset = step if self.onset is None else self.onset
                return f"The {name} became {'NaN' if math.isnan(value) else 'infinite'} at step {step}."
        if loss <= self._limit:
            self.onset = None
            self._recent.append(loss)
            if len(self._recent) == _WINDOW:
                self.level = min(self.level, statistics.median(self._recent))
            return None
        self.onset = step if self.onset is None else self.onset
        if step - self.onset + 1 < _WINDOW:
            return None
        return f"Since step {self.onset} the loss has been above {self._limit:.2f}; before that it was about {self.level:.2f}."

    @property
    def _limit(self) -> float:
        return max(_FACTOR * self.level, self.level + _MARGIN)

    def state(self) -> dict[str, Any]:
        return {"level": self.level if math.isfinite(self.level) else None, "onset": self.onset, "recent": list(self._recent)}

    def restore(self, state: dict[str, Any]) -> None:
        self.level = math.inf if state["level"] is None else float(state["level"])
        self.onset = state["onset"]
        self._recent = deque(state["recent"], maxlen=_WINDOW)
