"""What a guard has found, item by item, and what that means. Light: the app reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

import msgspec

from jobs.files import write_atomic
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models import foreign
from models.certificate import Check, Verdict
from models.regression_guard import ALL, BASE, DEFAULT_TEXT_LOSS, Bounds
from workshop.regression.statistics import (
    LEVEL,
    exact_test,
    holm,
    mean_interval,
    share_interval,
)

RESULT_FILE = "guard.json"
THE_BASE = f"the {BASE}"
Outcome = Literal["won", "lost", "unchanged", "unanswered"]


class Reply(msgspec.Struct, frozen=True):
    """What a model answered to a probe; `error` is why there is no answer, "" if there is one."""

    text: str
    passed: bool
    error: str = ""


class Item(msgspec.Struct, frozen=True):
    """One probe with both replies."""

    id: str
    family: str
    prompt: str
    expected: str
    """What a reply must be like, in words."""
    base: Reply
    tuned: Reply
    system: str = ""

    @property
    def outcome(self) -> Outcome:
        if self.base.error or self.tuned.error:
            return "unanswered"
        if self.base.passed == self.tuned.passed:
            return "unchanged"
        return "won" if self.tuned.passed else "lost"

    @property
    def is_flip(self) -> bool:
        return self.outcome in ("won", "lost")


class PassageLoss(msgspec.Struct, frozen=True):
    """The mean loss of a passage's tokens, in nats."""

    id: str
    text: str
    tokens: int
    base: float
    tuned: float


class Result(msgspec.Struct, frozen=True):
    """Of one run against its base, or against another run."""

    run: str
    base: str
    tuned: str
    """The names of the two models; the first is "base", or that of the run in its place."""
    items: list[Item]
    passages: list[PassageLoss]
    points: dict[str, float] = {}
    """The bounds that were asked for, by family."""
    text_loss: float = DEFAULT_TEXT_LOSS
    skipped: int = 0
    """Rows of a file that Luthier cannot check."""

    @property
    def reference(self) -> str:
        """The first model, in a sentence."""
        return THE_BASE if self.base == BASE else self.base

    @property
    def bounds(self) -> Bounds:
        return Bounds(self.points, self.text_loss)

    @property
    def flips(self) -> list[Item]:
        """The items whose outcome differs, the lost ones first."""
        return [item for outcome in ("lost", "won") for item in self.items_that(outcome)]

    def items_that(self, outcome: str) -> list[Item]:
        return [item for item in self.items if item.outcome == outcome]


@dataclass(frozen=True)
class Line:
    """The figures of one probe family, or of all. `corrected` is the p value after Holm's
    method."""

    family: str
    items: int
    base: int
    """How many items the base passes."""
    tuned: int
    won: int
    lost: int
    low: float
    """The 95 % bounds of the difference, tuned less base, in points."""
    high: float
    p_value: float
    corrected: float
    bound: float

    @property
    def points(self) -> float:
        """Tuned less base, in percentage points."""
        return 100 * (self.won - self.lost) / self.items

    @property
    def verdict(self) -> Verdict:
        return _verdict(-self.points, self.bound, self.corrected, worse=self.lost > self.won)


@dataclass(frozen=True)
class TextLine:
    """The loss on plain text, in nats a token: `difference` is the mean over passages, tuned less
    base."""

    passages: int
    worse: int
    """How many passages have a higher loss than with the base."""
    better: int
    base: float
    tuned: float
    low: float
    high: float
    p_value: float
    corrected: float
    bound: float

    @property
    def difference(self) -> float:
        return self.tuned - self.base

    @property
    def verdict(self) -> Verdict:
        return _verdict(self.difference, self.bound, self.corrected, worse=self.worse > self.better)


@dataclass(frozen=True)
class Figures:
    """Everything that a result says in figures. `total` is None where there is one family only."""

    lines: list[Line]
    total: Line | None
    text: TextLine | None
    unanswered: int
    tests: int
    """How many p values were corrected together."""
    reference: str = THE_BASE
    """The model that the tuned one is held against, in a sentence."""

    @property
    def all_lines(self) -> list[Line]:
        return [*self.lines, *([self.total] if self.total is not None else [])]


def _verdict(loss: float, bound: float, corrected: float, *, worse: bool) -> Verdict:
    """Red needs both: a loss beyond the bound, and a test that rules chance out."""
    if loss <= bound:
        return "green"
    return "red" if worse and corrected < LEVEL else "amber"


def figures(result: Result) -> Figures:
    """The exact tests of all families, of all items together and of the text are corrected as one
    set."""
    compared = [item for item in result.items if item.outcome != "unanswered"]
    families = list(dict.fromkeys(item.family for item in compared))
    groups = {family: [item for item in compared if item.family == family] for family in families}
    if len(groups) > 1:
        groups[ALL] = compared
    worse = sum(passage.tuned > passage.base for passage in result.passages)
    better = sum(passage.tuned < passage.base for passage in result.passages)
    p_values = [_p_value(items) for items in groups.values()]
    if result.passages:
        p_values.append(exact_test(worse, better))
    corrected = holm(p_values)
    bounds = result.bounds
    lines = [
        _line(family, items, p_value, after, bounds.of(family))
        for (family, items), p_value, after in zip(
            groups.items(), p_values, corrected, strict=False
        )
    ]
    text = None
    if result.passages:
        low, high = mean_interval([each.tuned - each.base for each in result.passages])
        text = TextLine(
            len(result.passages),
            worse,
            better,
            fmean(each.base for each in result.passages),
            fmean(each.tuned for each in result.passages),
            low,
            high,
            p_values[-1],
            corrected[-1],
            bounds.text_loss,
        )
    total = lines.pop() if ALL in groups else None
    unanswered = len(result.items) - len(compared)
    return Figures(lines, total, text, unanswered, len(p_values), result.reference)


def _counts(items: Sequence[Item]) -> tuple[int, int]:
    """Lost and won."""
    outcomes = [item.outcome for item in items]
    return outcomes.count("lost"), outcomes.count("won")


def _p_value(items: Sequence[Item]) -> float:
    return exact_test(*_counts(items))


def _line(
    family: str, items: Sequence[Item], p_value: float, corrected: float, bound: float
) -> Line:
    lost, won = _counts(items)
    low, high = share_interval(lost, won, len(items))
    return Line(
        family,
        len(items),
        sum(item.base.passed for item in items),
        sum(item.tuned.passed for item in items),
        won,
        lost,
        100 * low,
        100 * high,
        p_value,
        corrected,
        bound,
    )


def checks(numbers: Figures) -> list[Check]:
    """As a chapter of the certificate has them."""
    entries = [_check(line, numbers) for line in numbers.all_lines]
    if numbers.text is not None:
        entries.append(_text_check(numbers.text, numbers))
    if numbers.unanswered:
        plural = "items have" if numbers.unanswered > 1 else "item has"
        sentence = f"{numbers.unanswered} {plural} no answer from one of the models or both, and"
        entries.append(
            Check(
                "unanswered",
                "amber",
                f"{sentence} {'do' if numbers.unanswered > 1 else 'does'} not count.",
                float(numbers.unanswered),
                0.0,
                None,
                "items",
            )
        )
    return entries


def _check(line: Line, numbers: Figures) -> Check:
    title = "all probes" if line.family == ALL else line.family
    sentence = (
        f"{title[0].upper()}{title[1:]}: {line.tuned} of {line.items} items pass, {line.base} with"
        f" {numbers.reference} ({line.lost} lost, {line.won} won)."
    )
    if line.verdict != "green":
        sentence += (
            f" That is {-line.points:.0f} points lower (95 %: {change(line.low)} to"
            f" {change(line.high)}), where {line.bound:g} are allowed."
        )
        sentence += _chance(line.verdict, line.corrected, numbers.tests)
    return Check(
        title,
        line.verdict,
        sentence,
        round(line.points, 1) + 0.0,
        -line.bound,
        None,
        f"points against {numbers.reference}",
        at_least=True,
    )


def _text_check(line: TextLine, numbers: Figures) -> Check:
    direction = "higher" if line.difference > 0 else "lower"
    sentence = (
        f"Loss on plain text: {line.tuned:.2f} nats a token, {line.base:.2f} with"
        f" {numbers.reference}; {direction} by {abs(line.difference):.2f} (95 %:"
        f" {nats(line.low)} to {nats(line.high)})."
    )
    if line.verdict != "green":
        sentence += f" {line.bound:g} more are allowed."
        sentence += _chance(line.verdict, line.corrected, numbers.tests)
    return Check(
        "loss on plain text",
        line.verdict,
        sentence,
        round(line.difference, 3) + 0.0,
        line.bound,
        None,
        f"nats a token against {numbers.reference}",
    )


def _chance(verdict: Verdict, corrected: float, tests: int) -> str:
    p_value = "p < 0.001" if corrected < 0.001 else f"p = {corrected:.2g}"
    of_all = f"{p_value}, corrected for {tests} tests" if tests > 1 else p_value
    words = "Chance hardly explains it" if verdict == "red" else "It may be chance"
    return f" {words} ({of_all})."


def change(points: float) -> str:
    """Points with their sign, rounded."""
    return f"{round(points):+d}".replace("-", "−").replace("+0", "0")


def nats(loss: float) -> str:
    """A difference of losses with its sign."""
    return f"{loss:+.2f}".replace("-", "−")


def summary(numbers: Figures) -> str:
    """One sentence for a person, with the figure that matters most."""
    lines = numbers.lines
    items = sum(line.items for line in lines)
    lost, won = sum(line.lost for line in lines), sum(line.won for line in lines)
    worst = [line for line in lines if line.verdict == "red"] or [
        line for line in lines if line.verdict == "amber"
    ]
    sentence = f"{lost} lost and {won} won of {items} items"
    if worst:
        names = ", ".join(
            f"{line.family} {change(line.points)}"
            for line in sorted(worst, key=lambda line: line.points)
        )
        beyond = "beyond the bound" if worst[0].verdict == "red" else "perhaps beyond the bound"
        return f"{sentence}; {beyond}, in points: {names}."
    return f"{sentence}; every probe family is within its bound."


def write(folder: Path, result: Result) -> None:
    write_atomic(folder / RESULT_FILE, msgspec.json.encode(result).decode())


def read(folder: Path) -> Result | None:
    """None where there is none yet. LuthierError if it is damaged."""
    path = folder / RESULT_FILE
    try:
        return foreign.read(path, Result)
    except FileNotFoundError:
        return None
    except Damaged as error:
        raise LuthierError(
            "Unreadable result of a guard",
            f"{path} is damaged: {error.reason}.",
            "Guard the run again.",
        ) from error


def check_bounds(points: Mapping[str, float], families: Sequence[str]) -> None:
    """LuthierError where a bound is that of a family that is not asked."""
    unknown = [name for name in points if name not in (*families, ALL)]
    if unknown:
        raise LuthierError(
            "No such probes",
            f"A bound names {', '.join(unknown)}, but there are no such probes.",
            f"There are {', '.join([*families, ALL])}; guard.text_loss bounds the loss on plain"
            " text.",
        )
