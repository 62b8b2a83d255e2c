"""Duplicates: found by value, whatever the order of keys; near ones by their text, not by what they
share around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data import duplicates
from trainer.data.duplicates import (
    Fingerprints,
    exact_twins,
    near_twins,
    pieces,
    similarity,
    sketch,
)

STORY = (
    "Far out in the uncharted backwaters of the unfashionable end of the western spiral arm lies a"
    " small unregarded yellow sun. Orbiting this at a distance of roughly ninety-two million miles"
    " is an utterly insignificant little blue green planet."
)


def told(*said: str, system: str = "") -> list[dict[str, Any]]:
    messages = [
        {"role": ("user", "assistant")[place % 2], "content": text}
        for place, text in enumerate(said)
    ]
    return [{"role": "system", "content": system}, *messages] if system else messages


def near(
    folder: Path, conversations: list[list[dict[str, Any]]], threshold: float = 0.8
) -> list[int]:
    with Fingerprints(folder, sketches=True) as prints:
        for messages in conversations:
            prints.add(messages, None)
    excluded = exact_twins(folder / "exact.bin") >= 0
    told: list[float] = []

    def tell(done: int, total: int) -> None:
        told.append(done / total)

    twins: list[int] = near_twins(
        folder / "sketches.bin",
        threshold,
        lambda number: pieces(conversations[number]),
        excluded,
        tell,
    ).tolist()
    # told of each of the 16 bands
    assert told == sorted(told) and told[0] == 0 and 0.9 < told[-1] < 1
    return twins


def test_the_search_can_be_ended_from_its_progress(tmp_path: Path) -> None:
    def tell(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with Fingerprints(tmp_path, sketches=True) as prints:
        prints.add(told("a", STORY), None)
    with pytest.raises(KeyboardInterrupt):
        near_twins(
            tmp_path / "sketches.bin",
            0.8,
            lambda number: pieces(told("a")),
            np.zeros(1, bool),
            tell,
        )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=40))
def test_exact_twins_are_the_first_of_their_kind(
    fresh: Callable[[], Path], kinds: list[int]
) -> None:
    folder = fresh()
    with Fingerprints(folder, sketches=False) as prints:
        for place, kind in enumerate(kinds):
            message = {"role": "user", "content": str(kind)}
            prints.add([message if place % 2 else dict(reversed(message.items()))], None)
    first = {kind: kinds.index(kind) for kind in kinds}
    wanted = [-1 if first[kind] == place else first[kind] for place, kind in enumerate(kinds)]
    assert exact_twins(folder / "exact.bin").tolist() == wanted


def test_tools_make_a_difference_to_exact_twins(tmp_path: Path) -> None:
    with Fingerprints(tmp_path, sketches=False) as prints:
        prints.add(told("a", "b"), None)
        prints.add(told("a", "b"), [{"type": "function"}])
    assert exact_twins(tmp_path / "exact.bin").tolist() == [-1, -1]


def test_near_twins_are_told_from_others(tmp_path: Path) -> None:
    changed = STORY.replace("ninety-two", "ninety-three")
    conversations = [
        told("Tell me.", STORY),
        told("Something else?", "No."),
        told("tell  me.", changed.upper()),
        told("Tell me.", STORY[:120]),
    ]
    assert near(tmp_path, conversations) == [-1, -1, 0, -1]


def test_a_long_system_prompt_makes_no_twins(tmp_path: Path) -> None:
    conversations = [
        told(f"Question {number * 7919}?", f"The answer is {number * 104729}.", system=STORY * 5)
        for number in range(50)
    ]
    assert near(tmp_path, conversations) == [-1] * 50


def test_of_a_thousand_variations_nearly_all_are_found(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    words = [f"word{number}" for number in range(5000)]
    texts = [" ".join(generator.choice(words, 120)) for _ in range(500)]
    varied = [text.replace(text.split()[60], "changed") for text in texts]
    twins = near(tmp_path, [told("?", text) for text in (*texts, *varied)])
    assert twins[:500] == [-1] * 500
    assert sum(twin == place for place, twin in enumerate(twins[500:])) >= 495


@given(st.text(max_size=200), st.text(max_size=200))
def test_similarity_and_sketches_are_of_any_text(one: str, other: str) -> None:
    left, right = pieces(told(one)), pieces(told(other))
    assert 0 <= similarity(left, right) <= 1
    assert similarity(left, left) == 1
    assert sketch(left).shape == (64,)


def test_the_chunks_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_CHUNK", 3)
    monkeypatch.setattr(duplicates, "_PAIRS", 2)
    texts = [f"{number} {STORY[number * 5 : number * 5 + 60]} {number}" for number in range(10)]
    assert near(
        tmp_path, [told("?", text) for text in (*texts, *[f"{text}." for text in texts])]
    ) == [*[-1] * 10, *range(10)]
