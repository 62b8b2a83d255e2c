"""The map that a drift measurement leaves in its job's folder: each prompt with how far the tuned
model is from the base on it, and the tokens where."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec

from jobs.files import write_json
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models import foreign
from serve.drift.prompts import HELDOUT, Prompt
from serve.drift.reading import Reading, divergence
from serve.lens import Shift, aligned

MAP_FILE = "map.json"


class Spill(msgspec.Struct, frozen=True):
    """A prompt with the base's answer to it."""

    topic: str
    prompt: str
    divergence: float
    """The mean divergence of the tuned model from the base on the answer, in nats a token."""
    pieces: list[tuple[str, float]]
    """The answer in pieces, each with how much likelier it is to the tuned model, in nats."""
    of_chance: float | None = None
    """The same divergence between the tuned model and another seed's run."""


class Topic(msgspec.Struct, frozen=True):
    """The mean of a topic's prompts."""

    name: str
    divergence: float
    prompts: int
    of_chance: float | None = None


def spills(
    prompts: Sequence[Prompt],
    base: Sequence[Reading],
    tuned: Sequence[Reading],
    beside: Sequence[Reading] | None,
) -> list[Spill]:
    """The prompts, those with the strongest drift first. Those without an answer are left out."""
    every = []
    for number, prompt in enumerate(prompts):
        if base[number]:
            chance = None if beside is None else divergence(tuned[number], beside[number])
            every.append(
                Spill(
                    prompt.topic,
                    prompt.text,
                    divergence(base[number], tuned[number]),
                    _pieces(base[number], tuned[number]),
                    chance,
                )
            )
    return sorted(every, key=lambda spill: -spill.divergence)


def _pieces(base: Reading, tuned: Reading) -> list[tuple[str, float]]:
    texts = [position.text for position in base]
    differences = [
        of_tuned.log_probability - of_base.log_probability
        for of_base, of_tuned in zip(base, tuned, strict=True)
    ]
    shifts: list[Shift] = aligned("".join(texts), texts, differences)
    return [(shift.text, round(shift.difference, 3)) for shift in shifts]


def topics(all_spills: Sequence[Spill]) -> list[Topic]:
    """The topics outside the data, the strongest drift first."""
    by_topic: dict[str, list[Spill]] = {}
    for spill in all_spills:
        if spill.topic != HELDOUT:
            by_topic.setdefault(spill.topic, []).append(spill)
    return sorted(
        (
            Topic(name, mean_divergence(members), len(members), mean_of_chance(members))
            for name, members in by_topic.items()
        ),
        key=lambda topic: -topic.divergence,
    )


def mean_divergence(members: Sequence[Spill]) -> float:
    return statistics.fmean(spill.divergence for spill in members)


def mean_of_chance(members: Sequence[Spill]) -> float | None:
    values = [spill.of_chance for spill in members if spill.of_chance is not None]
    return statistics.fmean(values) if values else None


def write(folder: Path, all_spills: Sequence[Spill]) -> None:
    write_json(folder / MAP_FILE, msgspec.to_builtins(list(all_spills)))


def read(folder: Path) -> list[Spill]:
    """LuthierError if the job's folder has none, or it is damaged."""
    path = folder / MAP_FILE
    try:
        return foreign.read(path, list[Spill])
    except (FileNotFoundError, Damaged) as error:
        reason = error.reason if isinstance(error, Damaged) else "it is not there"
        raise LuthierError(
            "No map of the drift",
            f"{path} cannot be read: {reason}.",
            "Measure the drift again: the map lies in the folder of the job that made it.",
        ) from None
