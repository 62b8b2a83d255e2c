"""What a comparison says in figures, and how sure it is of them."""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from jobs import foreign_json
from serve.comparison.items import Item
from serve.comparison.journal import Entry
from serve.comparison.judge import Judged
from serve.votes.statistics import duels

_RESAMPLES, _SEED = 2000, 7
_METRIC_SECONDS = 300.0


@dataclass(frozen=True)
class Row:
    """A question with every model's answer; an answer is None where it has not been asked yet."""

    item: Item
    answers: dict[str, Entry | None]


Scored = tuple[dict[str, dict[str, list[float]]], str]
"""Scores by metric and model, and why one is missing."""


def summary(
    rows: Sequence[Row],
    models: Sequence[str],
    judged: Judged | None,
    scored: Scored | None = None,
) -> dict[str, Any]:
    """The figures, as JSON. `models` begins with the base; `scored` is what `scores` says of
    them, if it was asked already."""
    by_metric, problem = scored or scores(rows, models)
    metrics = {name: _metric(values, models) for name, values in by_metric.items()}
    figures: dict[str, Any] = {
        "questions": len(rows),
        "with_reference": sum(row.item.reference is not None for row in rows),
        "models": {model: _about([row.answers[model] for row in rows]) for model in models},
        "metrics": metrics,
        "metrics_problem": problem,
    }
    if judged is not None:
        figures["judge"] = {
            "duels": [duel.to_json() for duel in duels(judged.comparisons)],
            "pairs": judged.pairs,
            "agreed": judged.agreed,
            "for_first": judged.for_first,
            "decisive": judged.decisive,
            "asked_again": judged.asked_again,
            "left_out": dict(judged.left_out),
        }
    return figures


def _about(answers: Sequence[Entry | None]) -> dict[str, Any]:
    complete = [answer for answer in answers if answer is not None and answer.get("error") is None]
    failed = [
        str(answer["error"])
        for answer in answers
        if answer is not None and answer.get("error") is not None
    ]
    firsts = [answer["first_token"] for answer in complete if answer.get("first_token") is not None]
    return {
        "answered": len(complete),
        "failed": len(failed),
        "first_failure": failed[0] if failed else "",
        "mean_tokens": fmean(answer["tokens"] for answer in complete) if complete else None,
        "mean_characters": fmean(len(answer["text"]) for answer in complete) if complete else None,
        "cut_off": sum(answer.get("reason") == "length" for answer in complete),
        "mean_first_token": fmean(firsts) if firsts else None,
    }


def answered(rows: Sequence[Row], models: Sequence[str]) -> list[int]:
    """Which questions all of these models have answered to the end."""
    return [
        index
        for index, row in enumerate(rows)
        if all((row.answers[model] or {"error": ""}).get("error") is None for model in models)
    ]


def scored_rows(rows: Sequence[Row], models: Sequence[str]) -> list[int]:
    """Which questions are scored: those with a reference that every model has answered."""
    return [index for index in answered(rows, models) if rows[index].item.reference is not None]


def scores(rows: Sequence[Row], models: Sequence[str]) -> Scored:
    """A list of scores by metric and model, a score for each of the scored rows; and why one is
    missing."""
    texts: dict[str, list[str]] = {model: [] for model in models}
    references: list[str] = []
    for index in scored_rows(rows, models):
        references.append(str(rows[index].item.reference))
        for model in models:
            texts[model].append(str((rows[index].answers[model] or {})["text"]))
    if not references:
        return {}, ""
    exact = {
        model: [
            float(text.strip() == reference.strip())
            for text, reference in zip(texts[model], references, strict=True)
        ]
        for model in models
    }
    if importlib.util.find_spec("sacrebleu") is None:
        return {
            "exact match": exact
        }, "chrF is not computed: sacrebleu is not installed in this environment."
    command = [sys.executable, "-P", "-m", "serve.comparison.metrics"]
    asked = json.dumps({"answers": texts, "references": references})
    try:
        answer = subprocess.run(
            command,
            input=asked,
            capture_output=True,
            text=True,
            timeout=_METRIC_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {
            "exact match": exact
        }, f"chrF is not computed: it took longer than {_METRIC_SECONDS:.0f} s."
    if answer.returncode != 0:
        return {
            "exact match": exact
        }, f"chrF is not computed: {(answer.stderr.strip().splitlines() or ['it ended early'])[-1]}"
    return {
        "exact match": exact,
        "chrF": foreign_json.decode_object(answer.stdout, "sacrebleu's answer", lenient=True)[
            "scores"
        ],
    }, ""


def _metric(values: dict[str, list[float]], models: Sequence[str]) -> dict[str, Any]:
    """Means, and of each tuned model the difference to the base with a 95 % interval (paired
    bootstrap over the questions)."""
    base = values[models[0]]
    figures: dict[str, Any] = {}
    for model in models:
        differences = [score - other for score, other in zip(values[model], base, strict=True)]
        interval = None if model == models[0] else bootstrap_interval(differences)
        figures[model] = {
            "mean": fmean(values[model]),
            "difference": fmean(differences),
            "interval": interval,
            "questions": len(base),
        }
    return figures


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of their mean, by resampling them."""
    dice = random.Random(_SEED)
    means = sorted(fmean(dice.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    return means[int(0.025 * _RESAMPLES)], means[int(0.975 * _RESAMPLES) - 1]
