"""What speaks against training on these preferences, with figures. Light."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from jobs.counting import counted
from trainer.objective import Scoring

_FEW = 100
_ONE_SIDED = 0.8
_FEWEST_OF_A_BIAS = 20


@dataclass
class Figures:
    """What preferences come to: of all prepared ones in tokens, of those that the plan looks at in
    characters."""

    pairs: int = 0
    good: int = 0
    """Single answers called good; a pair is one of each kind where verdicts are scored."""
    bad: int = 0
    prompts: int = 0
    longer: int = 0
    """Pairs whose chosen answer is longer."""
    shorter: int = 0
    better_length: float = 0.0
    """The mean length of chosen answers."""
    worse_length: float = 0.0
    equal: int = 0
    """Pairs that were left out because both answers are equal."""
    too_long: int = 0
    """Left out because of train.max_length."""
    unit: str = "tokens"

    def add_pair(self, better: int, worse: int) -> None:
        """A pair's lengths."""
        self.better_length += (better - self.better_length) / (self.pairs + 1)
        self.worse_length += (worse - self.worse_length) / (self.pairs + 1)
        self.pairs += 1
        self.longer += better > worse
        self.shorter += better < worse

    def add_verdict(self, *, is_good: bool) -> None:
        self.good += is_good
        self.bad += not is_good

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def in_words(figures: Figures) -> str:
    """What the preferences come to, as a sentence."""
    parts = []
    if figures.pairs:
        parts.append(
            f"{counted(figures.pairs, 'pair')}, whose chosen answers have"
            f" {figures.better_length:.0f} and whose rejected ones {figures.worse_length:.0f}"
            f" {figures.unit} on average"
        )
    if figures.good or figures.bad:
        parts.append(f"{counted(figures.good, 'answer')} called good and {figures.bad:,} bad")
    prompts = f", to {counted(figures.prompts, 'prompt')}" if figures.prompts else ""
    return f"{'; '.join(parts) or 'None'}{prompts}."


def warnings(figures: Figures, scoring: Scoring) -> list[str]:
    """Sentences, the gravest first; none where nothing is odd."""
    if scoring == "turns":
        return []
    checks = (_kinds(figures, scoring), _length(figures), _few(figures, scoring), _equal(figures))
    return [warning for warning in checks if warning]


def _kinds(figures: Figures, scoring: Scoring) -> str:
    good, bad = figures.good + figures.pairs, figures.bad + figures.pairs
    if scoring != "verdicts" or (good and bad):
        return ""
    kind, other = ("good", "bad") if good else ("bad", "good")
    return (
        f"All {good + bad:,} answers are called {kind} and none {other}. KTO learns from the"
        " difference: it needs some of both."
    )


def _length(figures: Figures) -> str:
    different = figures.longer + figures.shorter
    most = max(figures.longer, figures.shorter)
    if different < _FEWEST_OF_A_BIAS or most < _ONE_SIDED * different:
        return ""
    side = "longer" if figures.longer > figures.shorter else "shorter"
    return (
        f"The chosen answer is {side} in {most:,} of {figures.pairs:,} pairs"
        f" ({most / figures.pairs:.0%}; {figures.better_length:.0f} against"
        f" {figures.worse_length:.0f} {figures.unit} on average). The model can learn the length"
        " instead of what makes the answers better (Singhal et al. 2023, arXiv:2310.03716). Add"
        f" pairs whose chosen answer is not {side}."
    )


def _few(figures: Figures, scoring: Scoring) -> str:
    number = figures.pairs
    noun = "pair"
    if scoring == "verdicts":
        number, noun = 2 * figures.pairs + figures.good + figures.bad, "answer"
    if number >= _FEW:
        return ""
    # of a share of one half
    spread = 1.96 * 0.5 / math.sqrt(max(number, 1))
    return (
        f"Only {counted(number, noun)}. By chance alone, a preference seen in so few may be off by"
        f" {spread:.0%}; several hundred are usual. Compare the result with its base before you"
        " trust it."
    )


def _equal(figures: Figures) -> str:
    if not figures.equal:
        return ""
    verb = "pair has" if figures.equal == 1 else "pairs have"
    return f"{figures.equal:,} {verb} two equal answers, which teach nothing, and are left out."
