"""What the map says: the checks of the chapter, from measured values alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from jobs.counting import counted
from models.certificate import Check, Verdict
from serve.drift.prompts import HELDOUT
from serve.drift.reading import ANSWER_TOKENS, TOP
from serve.drift.spill_map import Spill, Topic, mean_divergence, mean_of_chance, topics

GREEN, RED = 1.4, 2.8
"""Times the drift on held-out prompts. Of five runs of other data, seeds and objectives
(docs/recites.md) none reaches 1.4, three standard errors added; red begins at twice that."""
CALIBRATION = (
    f"Both models read the base's greedy answers of {ANSWER_TOKENS} tokens. The drift is the"
    f" Kullback-Leibler divergence of their {TOP} likeliest tokens, from below. Its unit is the"
    " drift on held-out prompts, where the model was meant to change: green ends at 1.4 times it"
    " (what none of five measured runs reaches, three standard errors added), red begins at 2.8."
    " Whether a drift is welcome is yours to say."
)


def checks(all_spills: Sequence[Spill]) -> list[Check]:
    outside, heldout = _parts(all_spills)
    by_topic = [
        Check(
            f"drift, {topic.name}",
            "green",
            f"On {topic.prompts} prompts of this topic the models differ by"
            f" {topic.divergence:.2f} nats a token.",
            topic.divergence,
            unit="nats a token",
        )
        for topic in topics(all_spills)
    ]
    return [_outside(outside, heldout), *_of_chance(outside, all_spills), *by_topic]


def _outside(outside: Sequence[Spill], heldout: Sequence[Spill]) -> Check:
    name, unit = "drift outside the data", "of the drift on held-out prompts"
    if not heldout or not mean_divergence(heldout):
        sentence = "The run has no held-out prompts to measure the drift by, or did not move there."
        return Check(name, "amber", sentence, unit=unit)
    share = mean_divergence(outside) / mean_divergence(heldout)
    verdict: Verdict = "green"
    if share > GREEN:
        verdict = "red" if share > RED else "amber"
    sentence = (
        f"Away from its data the model moved {share:.1f} times as far from its base as on it."
    )
    return Check(name, verdict, sentence, share, GREEN, RED, unit)


def _of_chance(outside: Sequence[Spill], all_spills: Sequence[Spill]) -> list[Check]:
    chance = mean_of_chance(outside)
    if not chance:
        return []
    within = [topic.name for topic in topics(all_spills) if topic.divergence <= _chance(topic)]
    sentence = (
        f"The model moved {mean_divergence(outside) / chance:.1f} times as far from its base as"
        " another seed's run is from it."
    )
    if within:
        sentence += f" Another seed explains all of {', '.join(within)}."
    figure = mean_divergence(outside) / chance
    return [Check("drift by another seed", "green", sentence, figure, unit="times its distance")]


def _chance(topic: Topic) -> float:
    return -1.0 if topic.of_chance is None else topic.of_chance


def summary(all_spills: Sequence[Spill]) -> str:
    outside, heldout = _parts(all_spills)
    strongest = [topic.name for topic in topics(all_spills)[:2]]
    moved = mean_divergence(outside)
    beside = ""
    if heldout and mean_divergence(heldout):
        beside = f", {moved / mean_divergence(heldout):.1f} times its drift on held-out prompts"
    return (
        f"{moved:.2f} nats a token on {counted(len(outside), 'prompt')} far from the"
        f" data{beside}; most in {' and '.join(strongest)}."
    )


def figures(all_spills: Sequence[Spill]) -> dict[str, Any]:
    """What the chapter's own view shows; the map itself lies in the job's folder."""
    outside, heldout = _parts(all_spills)
    return {
        "outside": mean_divergence(outside),
        "held_out": mean_divergence(heldout) if heldout else None,
        "of_chance": mean_of_chance(outside),
        "topics": msgspec.to_builtins(topics(all_spills)),
    }


def _parts(all_spills: Sequence[Spill]) -> tuple[list[Spill], list[Spill]]:
    return (
        [spill for spill in all_spills if spill.topic != HELDOUT],
        [spill for spill in all_spills if spill.topic == HELDOUT],
    )
