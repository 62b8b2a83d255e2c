"""Why the answers of base and tuned differ: which prompts flipped, what changed in how many of
them, which words came and went, and where in the prompt file. Every figure has its interval or its
exact test, and two seeds of one recipe are the unit, if there are two. Standard library only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from serve.comparison.measures import Measure, Values, measure_of, measured, values_of
from serve.comparison.readings import FEW, Reading, holm, p_of
from serve.comparison.slices import slices
from serve.comparison.summary import Row, Scored, answered, scored_rows
from serve.comparison.traits import (
    DETECTORS,
    DIMENSIONS,
    FLIPS,
    Dimension,
    changes,
    opposite,
    outcome_changes,
    traits,
    words,
)
from serve.votes.statistics import SIGNIFICANT, sign_test

_MOST_CLUSTERS = 16
_MOST_WORDS = 10
_OF_SLICES = ("chrF", "words")
_LEAST_ANSWERS = 4  # that a word is in, to be looked at
Change = tuple[Dimension, str]


@dataclass(frozen=True)
class Cluster:
    """Prompts whose answers changed alike. `questions` count from 1, `back` is how many changed the
    other way, `seeds` in how many of all prompts two seeds differ in this, either way."""

    dimension: Dimension
    change: str
    questions: list[int]
    back: int
    seeds: int | None
    p_value: float
    reading: Reading


@dataclass(frozen=True)
class Slice:
    """Prompts with one value of a column."""

    column: str
    value: str
    prompts: int
    flipped: int
    changed: int
    measures: list[Measure]


@dataclass(frozen=True)
class _Subject:
    """One tuned model beside the base, over the prompts that all have answered."""

    rows: list[int]
    changes: list[list[Change]]
    seed_changes: list[list[Change]] | None
    values: list[Values]


def why(
    rows: Sequence[Row],
    models: Sequence[str],
    scored: Scored,
    languages: Mapping[str, str],
    *,
    noise: str = "",
    by: Sequence[str] = (),
) -> dict[str, Any]:
    """As JSON. `models` begins with the base; `noise` is the model of them that another seed
    made."""
    of_models = {
        model: _of_model(rows, _subject(rows, models, model, scored, languages, noise), model, by)
        for model in models[1:]
        if model != noise
    }
    return {"noise": noise, "few": FEW, "detectors": DETECTORS, "models": of_models}


def _subject(
    rows: Sequence[Row],
    models: Sequence[str],
    model: str,
    scored: Scored,
    languages: Mapping[str, str],
    noise: str,
) -> _Subject:
    compared = [models[0], model, *([noise] if noise else [])]
    indices = answered(rows, compared)
    seen = {
        name: [traits(rows[index].answers[name] or {}, languages) for index in indices]
        for name in compared
    }
    by_row = {
        metric: {
            name: dict(zip(scored_rows(rows, models), values, strict=True))
            for name, values in of_model.items()
        }
        for metric, of_model in scored[0].items()
    }

    def changed(before: str, after: str) -> list[list[Change]]:
        return [
            _outcome(by_row, index, before, after) + changes(first, second)
            for index, first, second in zip(indices, seen[before], seen[after], strict=True)
        ]

    return _Subject(
        indices,
        changed(models[0], model),
        changed(model, noise) if noise else None,
        values_of(indices, seen, by_row),
    )


def _outcome(
    by_row: Mapping[str, Mapping[str, Mapping[int, float]]], index: int, before: str, after: str
) -> list[Change]:
    pairs = {
        metric: (of_model[before][index], of_model[after][index])
        for metric, of_model in by_row.items()
        if index in of_model[before]
    }
    return outcome_changes(pairs.get("exact match"), pairs.get("chrF"))


def _of_model(
    rows: Sequence[Row], subject: _Subject, model: str, by: Sequence[str]
) -> dict[str, Any]:
    measures = measured(subject.values)
    flips = [
        {"question": index + 1, "changes": [text for _, text in changed]}
        for index, changed in zip(subject.rows, subject.changes, strict=True)
        if any(dimension in FLIPS for dimension, _ in changed)
    ]
    clusters = _clusters(subject)
    came, went = _words(rows, subject, model)
    return {
        "prompts": len(subject.rows),
        "changed": sum(bool(changed) for changed in subject.changes),
        "flips": flips,
        "measures": [asdict(measure) for measure in measures],
        "clusters": [asdict(cluster) for cluster in clusters],
        "words": {"came": came, "went": went},
        "slices": [asdict(part) for column in by for part in _slices(rows, subject, column)],
        "changes": {
            str(index + 1): [text for _, text in changed]
            for index, changed in zip(subject.rows, subject.changes, strict=True)
            if changed
        },
    }


def _clusters(subject: _Subject) -> list[Cluster]:
    """The larger direction of each change, the most frequent first."""
    questions: defaultdict[Change, list[int]] = defaultdict(list)
    for index, changed in zip(subject.rows, subject.changes, strict=True):
        for change in changed:
            questions[change].append(index + 1)
    larger = [
        change
        for change, asked in questions.items()
        if (len(asked), change) >= (len(questions.get(_back(change), [])), _back(change))
    ]
    backs = [len(questions.get(_back(change), [])) for change in larger]
    p_values = [
        sign_test(len(questions[change]), back) for change, back in zip(larger, backs, strict=True)
    ]
    clusters = []
    for change, back, p_value in zip(larger, backs, holm(p_values), strict=True):
        seeds, more_than_seeds = _against_seeds(subject, change)
        name: Reading = "clear" if p_value < SIGNIFICANT else "chance"
        if len(subject.rows) < FEW:
            name = "few"
        elif not more_than_seeds:
            name = "seeds"
        clusters.append(Cluster(*change, questions[change], back, seeds, p_value, name))
    order = {dimension: number for number, dimension in enumerate(DIMENSIONS)}
    clusters.sort(key=lambda cluster: (-len(cluster.questions), order[cluster.dimension]))
    return clusters[:_MOST_CLUSTERS]


def _back(change: Change) -> Change:
    return change[0], opposite(change[1])


def _against_seeds(subject: _Subject, change: Change) -> tuple[int | None, bool]:
    """In how many prompts two seeds differ in this, and whether base and tuned surely do so in
    more: an exact test over the prompts in which only one of the two pairs does. Seeds that never
    do are no explanation."""
    if subject.seed_changes is None:
        return None, True
    either = {change, _back(change)}
    by_tuning = [bool(either & set(changed)) for changed in subject.changes]
    by_seed = [bool(either & set(changed)) for changed in subject.seed_changes]
    only_tuning = sum(a and not b for a, b in zip(by_tuning, by_seed, strict=True))
    only_seed = sum(b and not a for a, b in zip(by_tuning, by_seed, strict=True))
    surely = only_tuning > only_seed and sign_test(only_tuning, only_seed) < SIGNIFICANT
    return sum(by_seed), surely or not any(by_seed)


def _words(
    rows: Sequence[Row], subject: _Subject, model: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The words that clearly more answers of the tuned model have, and of the base: of each word
    the answers of a pair that alone has it, by an exact test that counts how many words were looked
    at."""
    base_name = next(iter(rows[0].answers)) if rows else ""
    only: dict[str, tuple[int, int]] = {}
    totals: Counter[str] = Counter()
    tuned_only: Counter[str] = Counter()
    base_only: Counter[str] = Counter()
    for index in subject.rows:
        before, after = (
            {word.casefold() for word in words(str((rows[index].answers[name] or {})["text"]))}
            for name in (base_name, model)
        )
        totals.update(before | after)
        tuned_only.update(after - before)
        base_only.update(before - after)
    for word, total in totals.items():
        if total >= _LEAST_ANSWERS and (len(word) > 1 or not word.isascii()):
            only[word] = (tuned_only[word], base_only[word])
    candidates = sorted(only)
    p_values = holm([sign_test(*only[word]) for word in candidates])
    clear: list[dict[str, Any]] = [
        {"word": word, "base": only[word][1], "tuned": only[word][0], "p_value": p_value}
        for word, p_value in zip(candidates, p_values, strict=True)
        if p_value < SIGNIFICANT
    ]
    came = sorted((w for w in clear if w["tuned"] > w["base"]), key=_by_count("tuned"))
    went = sorted((w for w in clear if w["tuned"] < w["base"]), key=_by_count("base"))
    return came[:_MOST_WORDS], went[:_MOST_WORDS]


def _by_count(name: str) -> Any:
    return lambda word: (-word[name], word["word"])


def _slices(rows: Sequence[Row], subject: _Subject, column: str) -> list[Slice]:
    """Each slice by nearness, where there are references, and by length."""
    parts = slices([rows[index].item for index in subject.rows], column)
    by_slice: dict[str, list[Measure]] = {name: [] for name in parts}
    for values in subject.values:
        if values.name not in _OF_SLICES:
            continue
        adjusted = holm([p_of(values.differences(part)) for part in parts.values()])
        for (name, part), p_value in zip(parts.items(), adjusted, strict=True):
            by_slice[name].append(measure_of(values, part, p_value))
    return [
        Slice(
            column,
            name,
            len(part),
            sum(any(dimension in FLIPS for dimension, _ in subject.changes[i]) for i in part),
            sum(bool(subject.changes[i]) for i in part),
            by_slice[name],
        )
        for name, part in parts.items()
    ]
