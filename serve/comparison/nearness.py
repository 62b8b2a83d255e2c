"""How near models come to another one's answers, which stand as the references: how alike the texts
are, whether length and form agree, and how likely the answers are to each model. Light."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from jobs import foreign_json
from serve.client import ChatMessage, Endpoint
from serve.comparison.summary import Row, bootstrap_interval, scores
from serve.lens import answer_log_probabilities
from serve.votes.statistics import wilson

_LIST_LINE = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.MULTILINE)
_TABLE_LINE = re.compile(r"^\s*\|.*\|\s*$", re.MULTILINE)


def form(text: str) -> str:
    """What an answer looks like."""
    stripped = text.strip()
    if stripped[:1] in ("{", "["):
        try:
            foreign_json.decode(stripped, "an answer")
        except foreign_json.Damaged:
            pass
        else:
            return "JSON"
    if "```" in text:
        return "text with code"
    if len(_TABLE_LINE.findall(text)) > 1:
        return "text with a table"
    if len(_LIST_LINE.findall(text)) > 1:
        return "text with a list"
    if "\n\n" in stripped:
        return "paragraphs"
    return "one line" if "\n" not in stripped else "lines"


def nearness(
    rows: Sequence[Row],
    models: Sequence[str],
    log_probabilities: dict[str, list[float]] | None = None,
) -> dict[str, Any]:
    """Figures of each model, over the rows that all have answered. `models` begins with the base;
    `log_probabilities` are each row's, of the reference, for a character."""
    comparable = [
        row
        for row in rows
        if row.item.reference is not None
        and all((row.answers[model] or {"error": ""}).get("error") is None for model in models)
    ]
    if not comparable:
        return {"questions": 0, "models": {}, "problem": ""}
    similarity, problem = scores(comparable, models)
    figures: dict[str, Any] = {}
    for model in models:
        pairs = [
            (str(row.item.reference), str((row.answers[model] or {})["text"])) for row in comparable
        ]
        figures[model] = {
            "same text": _share(sum(old.strip() == new.strip() for old, new in pairs), len(pairs)),
            "same form": _share(sum(form(old) == form(new) for old, new in pairs), len(pairs)),
            "length": _mean(
                [math.log((len(new) + 1) / (len(old) + 1)) for old, new in pairs], math.exp
            ),
        }
        if "chrF" in similarity:
            figures[model] = {
                "chrF": _mean(similarity["chrF"][model])
                | _difference(similarity["chrF"][model], similarity["chrF"][models[0]]),
                **figures[model],
            }
        if log_probabilities and log_probabilities.get(model):
            values = [-value for value in log_probabilities[model]]
            base = [-value for value in log_probabilities[models[0]]]
            figures[model]["nats a character"] = _mean(values) | _difference(values, base)
    return {"questions": len(comparable), "models": figures, "problem": problem}


def _share(count: int, total: int) -> dict[str, Any]:
    return {"mean": count / total, "interval": wilson(count, total)}


def _mean(values: Sequence[float], scale: Callable[[float], float] = float) -> dict[str, Any]:
    low, high = bootstrap_interval(values)
    return {"mean": scale(fmean(values)), "interval": (scale(low), scale(high))}


def _difference(values: Sequence[float], base: Sequence[float]) -> dict[str, Any]:
    """To the base, of the same questions."""
    differences = [value - other for value, other in zip(values, base, strict=True)]
    return {
        "difference": fmean(differences),
        "difference_interval": bootstrap_interval(differences),
    }


async def likelihoods(
    endpoint: Endpoint,
    models: Sequence[str],
    answers: Sequence[tuple[Sequence[ChatMessage], str]],
    on_answer: Callable[[], None],
) -> dict[str, list[float]]:
    """The log-probability for a character that each model gives to each answer. `models` begins
    with the base. LuthierError if the server cannot tell."""
    by_model: dict[str, list[float]] = {model: [] for model in models}
    for context, answer in answers:
        entries = await answer_log_probabilities(endpoint, models[0], models, [*context], answer)
        for model, tokens in zip(models, entries, strict=True):
            total = sum(probability for _, probability in tokens)
            by_model[model].append(total / max(1, len(answer)))
        on_answer()
    return by_model


NOTE = (
    "In brackets 95 % intervals: of shares Wilson's, of means by bootstrap over the questions; the"
    " difference to the base is paired. chrF is 100 for equal texts; length is the new answer's"
    " over the old one's (geometric mean); nats a character say how unlikely the old answers are"
    " to the model: less is nearer."
)


def table(figures: dict[str, Any]) -> list[list[str]]:
    """A row for each model."""
    models = figures["models"]
    measures = list(next(iter(models.values()), {}))
    lines = [["model", *measures]]
    for model, of_model in models.items():
        lines.append([model, *(_cell(name, of_model[name]) for name in measures)])
    return lines


def _cell(name: str, figure: dict[str, Any]) -> str:
    is_share = name.startswith("same")
    low, high = figure["interval"]
    if is_share:
        return f"{figure['mean']:.0%} [{low:.0%}, {high:.0%}]"
    cell = f"{figure['mean']:.3g} [{low:.3g}, {high:.3g}]"
    if not figure.get("difference"):
        return cell
    low, high = figure["difference_interval"]
    return f"{cell}  ({figure['difference']:+.3g} [{low:+.3g}, {high:+.3g}])"
