"""All that the votes say, together: the duels, each at equal length too, and ratings where there
are more than two models."""

from __future__ import annotations

import importlib.util
import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs import foreign_json
from serve.votes.ballots import Comparison, comparisons
from serve.votes.next_pair import next_pair
from serve.votes.statistics import Duel, duels

_MODULE = "serve.votes.bradley_terry"
_SECONDS = 120.0
_FEWEST = 8  # decided votes below which a regression says nothing


@dataclass(frozen=True)
class LengthEffect:
    """The first model's win rate where both answers were equally long; or why that cannot be
    told."""

    win_rate: float = 0.0
    interval: tuple[float, float] = (0.0, 0.0)
    odds_per_spread: float = 1.0
    length_p_value: float = 1.0
    spread: float = 0.0
    votes: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Rating:
    """Elo-like: 400 points more are ten to one. Relative to the reference, whose rating is 0."""

    model: str
    rating: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Report:
    """`named_votes` counts the votes that were cast with the names in sight; they are left out
    unless `every`."""

    duels: list[Duel]
    lengths: list[LengthEffect]
    ratings: list[Rating]
    ratings_problem: str
    reference: str
    blind: int
    named_votes: int
    every: bool
    models: list[str] = field(default_factory=list)

    @property
    def next_pair(self) -> tuple[str, str] | None:
        """Of three models or more those two that the next votes decide soonest."""
        if len(self.models) < 3:
            return None
        return next_pair(self.duels, itertools.combinations(self.models, 2))

    def to_json(self) -> dict[str, Any]:
        return {
            "duels": [
                {**duel.to_json(), "at_equal_length": vars(length)}
                for duel, length in zip(self.duels, self.lengths, strict=True)
            ],
            "ratings": [vars(rating) for rating in self.ratings],
            "ratings_problem": self.ratings_problem,
            "reference": self.reference,
            "next_pair": self.next_pair,
            "blind_votes": self.blind,
            "named_votes": self.named_votes,
        }


def quick_report(every: bool = False) -> Report:
    """What needs no library: everything but lengths and ratings. `every` counts votes with names in
    sight too."""
    votes = comparisons()
    return _report(votes, every)


def full_report(every: bool = False) -> Report:
    """The same with the fits, by statsmodels in a process of its own (a second or two)."""
    votes = comparisons()
    report = _report(votes, every)
    counted = _counted(votes, every)
    asked: dict[str, Any] = {}
    enough = [duel for duel in report.duels if duel.wins + duel.losses >= _FEWEST]
    if enough:
        asked["length"] = [_length_question(duel, counted) for duel in enough]
    if len(report.models) > 2:
        places = {model: index for index, model in enumerate(report.models)}
        scores = {"first": 1.0, "second": 0.0, "tie": 0.5, "bad": 0.5}
        games = [
            (places[comparison.first], places[comparison.second], scores[comparison.outcome])
            for comparison in counted
        ]
        asked["ratings"] = {"models": report.models, "games": games}
    answer, problem = _fit(asked) if asked else ({}, "")
    fits = iter(answer.get("length", []))
    lengths = []
    for duel in report.duels:
        if duel not in enough:
            lengths.append(LengthEffect(problem=f"One of the two has fewer than {_FEWEST} votes."))
        elif problem:
            lengths.append(LengthEffect(problem=problem))
        else:
            lengths.append(_length_effect(next(fits)))
    rated = answer.get("ratings", {})
    ratings = [
        Rating(rating["model"], rating["rating"], tuple(rating["interval"]))
        for rating in rated.get("ratings", [])
    ]
    why = rated.get("problem", problem if "ratings" in asked else "")
    return Report(
        report.duels,
        lengths,
        ratings,
        why,
        report.reference,
        report.blind,
        report.named_votes,
        every,
        report.models,
    )


def _report(every_comparison: Sequence[Comparison], every: bool) -> Report:
    counted = _counted(every_comparison, every)
    votes = {comparison.vote: comparison.blind for comparison in every_comparison}
    blind = sum(votes.values())
    names = sorted(
        {name for comparison in counted for name in (comparison.first, comparison.second)},
        key=lambda name: (name != "base", name),
    )
    pairs = duels(counted)
    waiting = [LengthEffect(problem="Not computed.") for _ in pairs]
    return Report(
        pairs, waiting, [], "", names[0] if names else "", blind, len(votes) - blind, every, names
    )


def _counted(every_comparison: Sequence[Comparison], every: bool) -> list[Comparison]:
    return [comparison for comparison in every_comparison if every or comparison.blind]


def _length_question(duel: Duel, counted: Sequence[Comparison]) -> dict[str, Any]:
    differences, won = [], []
    for comparison in counted:
        if comparison.decided and {comparison.first, comparison.second} == {duel.model, duel.other}:
            sign = 1 if comparison.first == duel.model else -1
            differences.append(sign * (comparison.first_length - comparison.second_length))
            won.append(int((comparison.outcome == "first") == (sign == 1)))
    return {"differences": differences, "won": won}


def _length_effect(values: dict[str, Any]) -> LengthEffect:
    return LengthEffect(
        **{**values, **({"interval": tuple(values["interval"])} if "interval" in values else {})}
    )


def _fit(asked: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The fits, or why there are none."""
    if importlib.util.find_spec("statsmodels") is None:
        return {}, "Not computed: statsmodels is not installed in this environment."
    command = [sys.executable, "-P", "-m", _MODULE]
    try:
        answer = subprocess.run(
            command,
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {}, f"Not computed: it took longer than {_SECONDS:.0f} s."
    if answer.returncode != 0:
        last_words = answer.stderr.strip().splitlines()[-1:] or ["the fit ended early"]
        return {}, f"Not computed: {last_words[0]}"
    return foreign_json.decode_object(answer.stdout, "the answer of the fit", lenient=True), ""
