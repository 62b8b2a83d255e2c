"""Fits by statsmodels, as a program of its own: `python -P -m serve.votes.bradley_terry` reads JSON
and writes JSON. Heavy; nothing light imports it.

* Length: a logistic regression of "the first model wins" on an intercept and the difference of the
  answers' lengths, in standard deviations. The intercept is the advantage at equal length.
* Ratings: Bradley and Terry (1952) as a logistic regression without intercept on +1 for the one, -1
  for the other model, relative to the first one; ties and "both bad" count half for each. Wald
  intervals.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from typing import Any

import numpy as np
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

from jobs import foreign_json

_ELO = 400 / math.log(10)  # so that 400 points are ten to one


def length_effect(differences: list[float], won: list[int]) -> dict[str, Any]:
    """`differences` are lengths of the first answer less those of the second, `won` 1 where the
    first one won."""
    lengths = np.asarray(differences, dtype=float)
    spread = float(lengths.std())
    if spread == 0:
        return {"problem": "All answers are equally long."}
    fitted = _fit(
        np.asarray(won, dtype=float), np.column_stack([np.ones(len(won)), lengths / spread])
    )
    if fitted is None:
        return {
            "problem": "The votes are all the same, or length alone explains them: no fit exists."
        }
    intercept, slope = (float(value) for value in fitted.params)
    low, high = (float(value) for value in fitted.conf_int()[0])
    return {
        "win_rate": _logistic(intercept),
        "interval": [_logistic(low), _logistic(high)],
        "odds_per_spread": math.exp(slope),
        "length_p_value": float(fitted.pvalues[1]),
        "spread": spread,
        "votes": len(won),
    }


def ratings(models: list[str], games: list[tuple[int, int, float]]) -> dict[str, Any]:
    """Each game is (place of one model, place of the other, what the one scored: 1, 0.5 or 0). The
    first model's rating is 0."""
    rows, scores = [], []
    for first, other, score in games:
        row = np.zeros(len(models))
        row[first], row[other] = 1.0, -1.0
        rows.append(row[1:])
        scores.append(score)
    fitted = _fit(np.asarray(scores), np.asarray(rows))
    if fitted is None:
        return {
            "problem": (
                "Some model won or lost every vote against the others, so there is no rating yet."
            )
        }
    intervals = np.asarray(fitted.conf_int())
    entries = [{"model": models[0], "rating": 0.0, "interval": [0.0, 0.0]}]
    for index, model in enumerate(models[1:]):
        interval = [float(value) * _ELO for value in intervals[index]]
        entries.append(
            {"model": model, "rating": float(fitted.params[index]) * _ELO, "interval": interval}
        )
    return {
        "reference": models[0],
        "ratings": sorted(entries, key=lambda entry: -float(str(entry["rating"]))),
    }


def _fit(outcomes: Any, design: Any) -> Any:
    """The fitted model; None where no finite one exists."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", PerfectSeparationWarning)
        try:
            fitted = GLM(outcomes, design, family=Binomial()).fit()
        except (PerfectSeparationWarning, np.linalg.LinAlgError, ValueError):
            return None
    errors = np.asarray(fitted.bse)
    return fitted if fitted.converged and np.isfinite(errors).all() and errors.max() < 20 else None


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def main() -> None:
    asked = foreign_json.decode_object(sys.stdin.read(), "standard input", lenient=True)
    answer: dict[str, Any] = {}
    if "length" in asked:
        answer["length"] = [length_effect(**question) for question in asked["length"]]
    if "ratings" in asked:
        answer["ratings"] = ratings(**asked["ratings"])
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
