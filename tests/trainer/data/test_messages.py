"""Items as messages: tools and their calls, weights, and keys that mean nothing."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.trainer.data.dialogues import convert, said, turns
from trainer.data.formats import recognise
from trainer.data.formats_turns import Converted, Message, RowProblem, decoded


def test_tools() -> None:
    arguments = {"city": "Göteborg", "days": [1, None]}
    function = {"name": "weather", "parameters": {"type": "object"}}
    called = {"type": "function", "function": {"name": "weather", "arguments": arguments}}
    spoken = {
        "id": "c1",
        "type": "function",
        "function": {"name": "weather", "arguments": json.dumps(arguments)},
    }
    chat = [
        said("user", "?"),
        {**said("assistant", None), "tool_calls": [spoken]},
        {**said("tool", "rain"), "tool_call_id": "c1"},
    ]
    converted = convert({"messages": chat, "tools": json.dumps([function])})
    assert converted.tools == [{"type": "function", "function": function}]
    assert converted.messages == [
        chat[0],
        {**said("assistant", ""), "tool_calls": [{"id": "c1", **called}]},
        chat[2],
    ]

    legacy = [
        said("user", "?"),
        {**said("assistant", None), "function_call": spoken["function"]},
        {**said("function", "rain"), "name": "weather"},
    ]
    converted = convert({"messages": legacy, "functions": [function]})
    assert converted.messages[1:] == [
        {**said("assistant", ""), "tool_calls": [called]},
        {**said("tool", "rain"), "name": "weather"},
    ]

    sharegpt = [
        ("human", "?"),
        ("function_call", json.dumps({"name": "weather", "arguments": arguments})),
        ("weather", "rain"),
        ("observation", "sun"),
    ]
    converted = convert(
        {
            "conversations": [{"from": who, "value": text} for who, text in sharegpt],
            "tools": [function],
        }
    )
    assert converted.messages == [
        said("user", "?"),
        {**said("assistant", ""), "tool_calls": [called]},
        {**said("tool", "rain"), "name": "weather"},
        said("tool", "sun"),
    ]


@pytest.mark.parametrize("arguments", ["{broken", "[1]", "5", '{"a": "\\ud83d"}', "[" * 100_000])
def test_bad_tool_arguments(arguments: str) -> None:
    call = {"function": {"name": "f", "arguments": arguments}}
    with pytest.raises(RowProblem) as problem:
        convert({"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]})
    assert problem.value.code == "tool_call"


def test_what_messages_keep() -> None:
    message = {
        **said("assistant", "x"),
        "weight": 0.5,
        "reasoning_content": "hm",
        "timestamp": 3,
        "name": "",
    }
    assert convert({"messages": [message]}).messages == [
        {**said("assistant", "x"), "weight": 0.5, "reasoning_content": "hm"}
    ]
    assert (
        convert({"messages": [{**said("assistant", "x"), "train": False}]}).messages[0]["weight"]
        == 0
    )
    assert (
        convert({"messages": [{**said("assistant", "x"), "reasoning": "hm"}]}).messages[0][
            "reasoning_content"
        ]
        == "hm"
    )
    for weight in (-1, float("inf"), float("nan"), "much", [1]):
        with pytest.raises(RowProblem, match="weight"):
            convert({"messages": [{**said("assistant", "x"), "weight": weight}]})


MISSPELT = {
    "wieght": "weight", "weights": "weight", "Weight": "weight", "tool_call": "tool_calls",
    "toolCalls": "tool_calls", "toolCallId": "tool_call_id",
    "reasoningContent": "reasoning_content", "thinkng": "thinking", "trian": "train",
    "nmae": "name", "train_detail": "weight", "contnet": "content",
    "functoin_call": "function_call",
}  # fmt: skip
COMMON = re.findall(
    r"\w+",
    "id message_id parent_id timestamp time date created create_time model metadata author"
    " recipient end_turn status channel annotations refusal audio lang language source url score"
    " rating labels label tokens token_count finish_reason stop_reason index turn turn_id emotion"
    " context intent title type attachments images image width height toxic redacted country usage"
    " logprobs cite eos sender_id reasoning_details thinking_time user_id username markdown"
    " text_html version hash",
)


@pytest.mark.parametrize("key", MISSPELT)
def test_misspelt_keys_are_told_with_the_nearest_that_means_something(key: str) -> None:
    converted = convert({"messages": [said("user", "a"), {**said("assistant", "b"), key: 0}]})
    assert converted.messages == turns("a", "b")
    assert converted.unknown == (
        f"message 1 has the unknown key `{key}`: did you mean `{MISSPELT[key]}`?",
    )


def test_common_keys_are_listed_and_no_more() -> None:
    row = {
        "conversations": [
            {"from": "human", "value": "a", **dict.fromkeys(COMMON, "x")},
            {"from": "gpt", "value": "b"},
        ]
    }
    assert convert(row) == Converted(turns("a", "b"))
    assert recognise([row]).unused == tuple(f"conversations[].{key}" for key in COMMON)


def test_an_empty_misspelt_key_says_nothing() -> None:
    assert (
        convert({"messages": [{**said("user", "a"), "tool_call": None, "weights": []}]}).unknown
        == ()
    )


def test_arguments_of_a_call_are_not_lost_by_their_name() -> None:
    def called(**function: Any) -> Message:
        return convert(
            {
                "messages": [
                    {
                        **said("assistant", ""),
                        "tool_calls": [{"function": {"name": "f", **function}}],
                    }
                ]
            }
        ).messages[0]

    assert called(parameters={"x": 1})["tool_calls"][0]["function"]["arguments"] == {"x": 1}
    assert called(description="d")["tool_calls"][0]["function"]["arguments"] == {}
    with pytest.raises(RowProblem, match=r"unknown key `argumets`: did you mean `arguments`"):
        called(argumets={"x": 1})


def test_a_weight_in_a_transcript_is_told() -> None:
    items = [{"speaker": name, "text": "x", "weight": 0.5} for name in ("Anna", "Bo")]
    assert convert({"turns": items}).unknown == tuple(
        f"message {n} has a weight, which has no effect in a transcript" for n in (0, 1)
    )


def test_odd_messages_are_left_for_the_policies() -> None:
    odd = [
        said("narrator", "x"),
        said("user", None),
        said("user", [{"type": "text", "text": "x"}]),
        said("assistant", 5),
    ]
    assert convert({"messages": [*odd, said("assistant", "x")]}).messages[:4] == odd
    assert convert({"messages": [[said("user", "a")], [said("assistant", "b")]]}).messages == turns(
        "a", "b"
    )
    for items in ([said("user", "x"), "text"], [said("user", "x"), {"content": "x"}]):
        with pytest.raises(RowProblem, match="item 1"):
            convert({"messages": items})


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{'a': " * 50_000,
        "[1, {2}]",
        "{1j: 2}",
        "['\\ud83d']",
        "[b'x']",
        "[...]",
        "['a', 1if 1 else 2]",
        "[__import__('os')]",
    ],
)
@pytest.mark.filterwarnings("error")
def test_text_that_is_no_value_stays_text(text: str) -> None:
    assert decoded(text) == text
