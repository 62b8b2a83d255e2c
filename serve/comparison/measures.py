"""Figures that every answer has, and the difference that tuning made to each, paired by prompt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from serve.comparison.readings import Reading, holm, p_of, reading, seeds_unit
from serve.comparison.summary import bootstrap_interval
from serve.comparison.traits import VOICE, Traits

Kind = Literal["share", "points", "times"]
"""A share of the prompts, points of a score, or how many times as much (its differences are
logarithms)."""

_METRICS = ("chrF", "exact match")
_KINDS: dict[str, Kind] = {"chrF": "points", "words": "times"}
"""The others are shares."""


@dataclass(frozen=True)
class Values:
    """A figure of each prompt's answers; None for a prompt that has none."""

    name: str
    kind: Kind
    base: list[float | None]
    tuned: list[float | None]
    other_seed: list[float | None] | None

    def differences(self, positions: Sequence[int] | None = None) -> list[float]:
        return self._paired(self.base, self.tuned, positions)

    def seed_differences(self, positions: Sequence[int] | None = None) -> list[float]:
        if self.other_seed is None:
            return []
        return self._paired(self.tuned, self.other_seed, positions)

    def means(self, positions: Sequence[int]) -> tuple[float, float]:
        """Of base and tuned, as a person reads them."""
        pairs = [
            (first, second)
            for first, second in ((self.base[i], self.tuned[i]) for i in positions)
            if first is not None and second is not None
        ]
        before, after = fmean(first for first, _ in pairs), fmean(second for _, second in pairs)
        if self.kind == "times":
            return math.exp(before) - 1, math.exp(after) - 1
        return before, after

    def _paired(
        self,
        first: Sequence[float | None],
        second: Sequence[float | None],
        positions: Sequence[int] | None,
    ) -> list[float]:
        chosen = range(len(first)) if positions is None else positions
        return [
            after - before
            for before, after in ((first[i], second[i]) for i in chosen)
            if before is not None and after is not None
        ]


@dataclass(frozen=True)
class Measure:
    """The difference that tuning made to one figure. `interval` is the paired bootstrap's, 95 %;
    `unit` how large a difference two seeds can make; `p_value` counts the other figures."""

    name: str
    kind: Kind
    prompts: int
    base: float | None
    tuned: float | None
    difference: float
    interval: tuple[float, float]
    unit: float | None
    p_value: float
    reading: Reading


def values_of(
    indices: Sequence[int],
    sides: Mapping[str, Sequence[Traits]],
    by_row: Mapping[str, Mapping[str, Mapping[int, float]]],
) -> list[Values]:
    """All figures, the most important first: nearness to the references, length, then shares.
    `sides` are base and tuned, and the run of another seed, if there is one; `by_row` has the
    scores by metric, model and row. Shares that are 0 for base and tuned are left out."""
    base, tuned, *further = (
        _figures(answers, {metric: by_row[metric][name] for metric in by_row}, indices)
        for name, answers in sides.items()
    )
    every = [
        Values(
            name,
            _KINDS.get(name, "share"),
            base[name],
            tuned[name],
            further[0][name] if further else None,
        )
        for name in base
    ]
    return [
        values
        for values in every
        if values.kind != "share" or any(values.base) or any(values.tuned)
    ]


def _figures(
    answers: Sequence[Traits], scores: Mapping[str, Mapping[int, float]], indices: Sequence[int]
) -> dict[str, list[float | None]]:
    """Those of one side, by name."""
    figures: dict[str, list[float | None]] = {
        metric: [scores[metric].get(index) for index in indices]
        for metric in _METRICS
        if metric in scores
    }
    figures["words"] = [math.log(answer.words + 1) for answer in answers]
    figures["refuses"] = [float(answer.refuses) for answer in answers]
    figures["cut off"] = [float(answer.cut_off) for answer in answers]
    for voice in VOICE:
        figures[voice] = [float(voice in answer.voice) for answer in answers]
    return figures


def measured(figures: Sequence[Values]) -> list[Measure]:
    """Each figure with its difference and what that may be called."""
    usable = [values for values in figures if values.differences()]
    p_values = holm([p_of(values.differences()) for values in usable])
    return [
        measure_of(values, range(len(values.base)), p_value)
        for values, p_value in zip(usable, p_values, strict=True)
    ]


def measure_of(values: Values, positions: Sequence[int], p_value: float) -> Measure:
    """The difference over these prompts."""
    differences, seeds = values.differences(positions), values.seed_differences(positions)
    if not differences:
        return Measure(values.name, values.kind, 0, None, None, 0.0, (0.0, 0.0), None, 1.0, "few")
    unit = seeds_unit(seeds) if seeds else None
    mean = fmean(differences)
    return Measure(
        values.name,
        values.kind,
        len(differences),
        *values.means(positions),
        mean,
        bootstrap_interval(differences),
        unit,
        p_value,
        reading(len(differences), mean, p_value, unit),
    )
