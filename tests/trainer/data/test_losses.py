"""What the ledger must count beyond rows: reasoning that a template leaves out; and the numbers of
messages, as their rows have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from models.conversations import Conversation
from models.mask import MaskError
from models.samples import Sample
from tests.trainer.data.stub import StubSampler, prepared, settings, talk, write
from trainer.data.formats import recognise
from trainer.data.pipeline import Refused
from trainer.data.policies import Policies, Rejected, SpecialTexts, settle
from trainer.data.traits import WORDS, concerning, traits_of


class Forgetful(StubSampler):
    """As of a template that leaves reasoning out: a token a word."""

    def samples(self, conversations: Sequence[Conversation]) -> Iterator[Sample | MaskError]:
        for found in super().samples(conversations):
            if isinstance(found, MaskError):
                yield found
                continue
            thoughts = [
                str(found.conversation.messages[turn].get("reasoning_content", ""))
                for turn in found.turns
            ]
            left_out = len(" ".join(thoughts).split())
            yield Sample(
                found.conversation,
                found.turns,
                found.input_ids,
                found.labels,
                found.weights,
                left_out=left_out,
            )


def thinking(*thoughts: str) -> dict[str, Any]:
    row = talk(
        *(
            word
            for number in range(len(thoughts))
            for word in (f"question {number}", f"answer {number}")
        )
    )
    for place, thought in enumerate(thoughts):
        row["messages"][1 + 2 * place]["reasoning_content"] = thought
    return row


def test_reasoning_that_is_left_out_counts_as_lost(fresh: Callable[[], Path]) -> None:
    folder = fresh()
    rows = [thinking("one two three", "four"), talk("a", "b"), thinking("five six")]
    run = prepared(folder / "out", settings(write(folder / "data.jsonl", rows)), Forgetful())
    assert [(entry.state, entry.lost) for entry in run.ledger] == [
        ("repaired", 4),
        ("kept", 0),
        ("repaired", 2),
    ]
    assert (
        run.ledger[0].reasons == ["reasoning"] and "4 tokens of reasoning" in run.ledger[0].detail
    )
    assert run.summary["ledger"]["total_lost"] == 6


def test_the_recipe_may_drop_such_rows_or_stop(fresh: Callable[[], Path]) -> None:
    folder = fresh()
    data = write(folder / "data.jsonl", [thinking("one two three"), talk("a", "b"), talk("c", "d")])
    run = prepared(folder / "drop", settings(data, policy=Policies(reasoning="drop")), Forgetful())
    assert (
        run.ledger[0].state == "dropped"
        and not run.ledger[0].samples
        and run.ledger[0].lost == 3 + 8
    )
    with pytest.raises(Refused, match=r"policy\.reasoning is .stop"):
        prepared(folder / "stop", settings(data, policy=Policies(reasoning="stop")), Forgetful())


def test_a_split_row_counts_what_each_part_leaves_out(fresh: Callable[[], Path]) -> None:
    folder = fresh()
    rows = [thinking("one two", "three"), talk("a", "b"), talk("c", "d")]
    run = prepared(
        folder / "out", settings(write(folder / "data.jsonl", rows), max_length=12), Forgetful()
    )
    assert (
        run.ledger[0].state == "split"
        and run.ledger[0].lost == 3
        and "reasoning" in run.ledger[0].reasons
    )


def test_a_mask_error_names_the_message_as_the_row_has_it(fresh: Callable[[], Path]) -> None:
    folder = fresh()
    first = {"role": "user", "content": ""}
    rows = [
        {"system": "Be kind.", **talk("a", "UNPROVABLE")},
        {"system": "", "messages": [first, *talk("a", "UNPROVABLE")["messages"]]},
        talk("a", "UNPROVABLE", system="x"),
        talk("c", "d"),
    ]
    run = prepared(
        folder / "out", settings(write(folder / "data.jsonl", rows), policy=Policies(mask="drop"))
    )
    told = [entry.detail for entry in run.ledger]
    assert [detail.rpartition(": ")[0].rpartition("; ")[2] for detail in told[:3]] == [
        "message 1",
        "message 2",
        "message 2",
    ]


def test_an_error_inside_a_part_names_the_message_of_the_whole(fresh: Callable[[], Path]) -> None:
    folder = fresh()
    rows = [
        talk(
            *(
                word
                for number in range(6)
                for word in (f"question {number}", "UNPROVABLE" if number == 5 else "x")
            ),
            system="s",
        )
    ]
    run_settings = settings(
        write(folder / "data.jsonl", [*rows, talk("c", "d")]),
        policy=Policies(mask="drop", max_messages=4),
    )
    run = prepared(folder / "out", run_settings)
    assert "message 12:" in run.ledger[0].detail


NUMBERED: list[tuple[dict[str, Any], str]] = [
    (
        {
            "system": "Be kind.",
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": {"a": 1}},
            ],
        },
        "message 1",
    ),
    ({"system": {"a": 1}, "messages": talk("a", "b")["messages"]}, "the system prompt"),
    (
        {"messages": [*talk("a", "b", "c", "d")["messages"], {"role": "narrator", "content": "x"}]},
        "message 4",
    ),
    ({"system": "s", "messages": talk("a", "b", "c <|im_end|>", "d")["messages"]}, "message 2"),
    (
        {
            "messages": [
                *talk("a", "", "b", "c")["messages"],
                {"role": "user", "content": "d </s>"},
                *talk("e", "f")["messages"][1:],
            ]
        },
        "message 4",
    ),
    (
        {
            "messages": [
                {"role": "user", "content": "a"},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t", "content": "x"},
                        {"type": "text", "text": "<image>"},
                    ],
                },
                {"role": "assistant", "content": "b"},
            ]
        },
        "message 2",
    ),
]


@pytest.mark.parametrize(("row", "where"), NUMBERED)
def test_messages_are_numbered_as_in_the_row(row: dict[str, Any], where: str) -> None:
    with pytest.raises(Rejected) as caught:
        settle(
            recognise([row]).convert(row),
            msgspec.structs.replace(Policies(), empty_turn="repair"),
            SpecialTexts(("<|im_end|>", "</s>")),
        )
    assert caught.value.detail.startswith(where)


def test_the_traits_of_conversations_are_counted(fresh: Callable[[], Path]) -> None:
    folder = fresh()
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    called = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "x", "tool_calls": [call]},
        ]
    }
    rows = [
        talk("a", "b"),
        talk("a", "c", system="s"),
        talk("a", "b", "c", "d"),
        thinking("hm"),
        called,
    ]
    run = prepared(folder / "out", settings(write(folder / "data.jsonl", rows)))
    assert run.summary["traits"] == {"system": 1, "history": 1, "reasoning": 1, "tools": 1}
    assert traits_of(talk("a", "b")["messages"], [call]) == ["tools"]


def test_a_template_s_warning_is_about_the_data_at_hand() -> None:
    assert (
        concerning("reasoning", "It is left out.", {"reasoning": 12})
        == "It is left out. 12 conversations have reasoning."
    )
    assert [concerning(name, "x", {}) for name in WORDS] == [None] * len(WORDS)
    assert concerning("stop token is listed", "x", {}) == "x"
