"""Which stretch of a run is looked at, and at what step the cursor stands."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workshop.runs.curve import Span

_NARROWEST = 10.0  # steps
_NEAR_THE_END = 0.25  # of a stretch


@dataclass(frozen=True)
class View:
    """All of a run, or a stretch of it. A stretch with the last step near its right edge goes on
    with it as the run grows.

    `end` is where all of the run ends: its last step, or the last one planned. `last` is the step
    it has come to. `ahead` is how far a stretch that goes on reaches beyond that; one that stays
    where it is has its `right` edge instead.
    """

    end: float = 1.0
    last: float = 0.0
    width: float | None = None
    right: float | None = None
    ahead: float = 0.0
    logarithmic: bool = False
    window: int = 1

    @property
    def span(self) -> Span:
        if self.width is None:
            return Span(0.0, self.end)
        right = self._right
        return Span(right - self.width, right)

    @property
    def zoomed(self) -> bool:
        return self.width is not None

    @property
    def follows(self) -> bool:
        """Whether it goes on with the run."""
        return self.right is None

    @property
    def _right(self) -> float:
        right = self.last + self.ahead if self.right is None else self.right
        return min(self.end, max(right, self.width or 0.0))

    def grown(self, end: float, last: float) -> View:
        return replace(self, end=max(1.0, end, last), last=last)

    def zoom(self, factor: float, around: float) -> View:
        """`factor` below 1 looks closer. `around` keeps its place on the screen."""
        span = self.span
        width = max(min(_NARROWEST, self.end), span.width * factor)
        if width >= self.end:
            return self.whole()
        left = around - (around - span.low) * width / span.width
        return self.looking_at(Span(left, left + width))

    def pan(self, share: float) -> View:
        """Move by a share of what is seen; to the right if positive."""
        if self.width is None:
            return self
        span = self.span
        by = share * span.width
        return self.looking_at(Span(span.low + by, span.high + by))

    def looking_at(self, span: Span) -> View:
        width = min(max(span.width, min(_NARROWEST, self.end)), self.end)
        low = min(max(0.0, span.low), self.end - width)
        right = low + width
        follows = low + (1 - _NEAR_THE_END) * width <= self.last <= right + 1e-9
        return replace(self, width=width, right=None if follows else right, ahead=right - self.last)

    def showing(self, step: float) -> View:
        """Moved just as far as it takes to see `step`."""
        span = self.span
        if step < span.low:
            return self.looking_at(Span(step, step + span.width))
        if step > span.high:
            return self.looking_at(Span(step - span.width, step))
        return self

    def whole(self) -> View:
        return replace(self, width=None, right=None)
