"""Which held-out turns are measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.luthier_error import LuthierError
from serve.certificate.turns import MOST_TOKENS, MOST_TURNS, choose_samples


def line(
    turns: int = 1, length: int = 4, system: bool = False, tools: bool = False
) -> dict[str, Any]:
    """A sample of `turns` turns, each of `length` prompt tokens and as many trained ones."""
    ids = list(range(2 * turns * length))
    labels = [token if token // length % 2 else -100 for token in ids]
    messages = [{"role": "system", "content": "s"}] if system else []
    first = len(messages)
    for _ in range(turns):
        messages += [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    indices = [first + 2 * turn + 1 for turn in range(turns)]
    extra = {"tools": [{"type": "function"}]} if tools else {}
    return {
        "source": {"file": "x", "row": 0},
        "turns": indices,
        "input_ids": ids,
        "labels": labels,
        "messages": messages,
        **extra,
    }


def write(folder: Path, name: str, *lines: dict[str, Any]) -> None:
    (folder / name).write_text("".join(json.dumps(one) + "\n" for one in lines))


def test_turns_are_the_trained_spans_and_their_messages(tmp_path: Path) -> None:
    write(tmp_path, "heldout.jsonl", line(turns=2, system=True))
    name, (sample,) = choose_samples(tmp_path)
    assert name == "heldout.jsonl"
    assert [(turn.start, turn.end, turn.message) for turn in sample.turns] == [
        (4, 8, 2),
        (12, 16, 4),
    ]
    assert sample.scored == [4, 5, 6, 7, 12, 13, 14, 15]
    assert not sample.whole


def test_every_sort_is_there_and_not_too_many(tmp_path: Path) -> None:
    plain = [line() for _ in range(150)]
    write(tmp_path, "heldout.jsonl", *plain, line(system=True), line(turns=3), line(tools=True))
    _, samples = choose_samples(tmp_path)
    assert {sample.sort for sample in samples} == {"one", "system one", "several", "tools one"}
    assert MOST_TURNS <= sum(len(sample.turns) for sample in samples) < MOST_TURNS + 3
    assert samples == choose_samples(tmp_path)[1]


def test_tokens_are_bounded_and_one_sample_is_always_taken(tmp_path: Path) -> None:
    write(tmp_path, "heldout.jsonl", *[line(length=700) for _ in range(20)])
    assert sum(len(sample.input_ids) for sample in choose_samples(tmp_path)[1]) <= MOST_TOKENS
    write(tmp_path, "heldout.jsonl", line(length=9000), line(length=8000))
    assert [len(sample.input_ids) for sample in choose_samples(tmp_path)[1]] == [16000]


def test_samples_that_fill_the_context_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "heldout.jsonl", line(length=8), line(length=7))
    assert [len(sample.input_ids) for sample in choose_samples(tmp_path, context_length=16)[1]] == [
        14
    ]
    with pytest.raises(LuthierError, match="has no samples"):
        choose_samples(tmp_path, context_length=14)


def test_where_everything_was_trained_a_sample_is_scored_whole(tmp_path: Path) -> None:
    whole = line(turns=2)
    write(tmp_path, "heldout.jsonl", {**whole, "labels": whole["input_ids"]})
    (sample,) = choose_samples(tmp_path)[1]
    assert sample.whole and sample.turns == []
    assert sample.scored == list(range(1, 16))


def test_training_data_where_nothing_was_held_out(tmp_path: Path) -> None:
    write(tmp_path, "heldout.jsonl")
    write(tmp_path, "train.jsonl", line())
    assert choose_samples(tmp_path)[0] == "train.jsonl"
    with pytest.raises(LuthierError, match="has no samples"):
        choose_samples(tmp_path / "nowhere")
