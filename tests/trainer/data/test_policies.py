"""Policies: each oddity under each choice; what is repaired needs no more repair."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.conversations import ROLES
from tests.trainer.data.stub import SPECIAL
from trainer.data.formats_turns import Converted
from trainer.data.policies import POLICIES, Policies, Rejected, choices, settle, table


def message(role: str, content: Any = "text", **extra: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **extra}


U, A, S, T = (
    message("user", "ask"),
    message("assistant", "say"),
    message("system", "be"),
    message("tool", "found"),
)
CALL = message(
    "assistant", "", tool_calls=[{"type": "function", "function": {"name": "f", "arguments": {}}}]
)
PARTS = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]

# What is odd, the policy that it meets, and what the repair leaves: roles and contents. None: there
# is no repair of it.
ODD: list[tuple[list[dict[str, Any]], str, list[tuple[str, str]] | None]] = [
    ([message("user", PARTS), A], "content", [("user", "one\ntwo"), ("assistant", "say")]),
    ([message("user", 7), A], "content", [("user", "7"), ("assistant", "say")]),
    (
        [message("user", {"type": "text", "text": "x"}), A],
        "content",
        [("user", "x"), ("assistant", "say")],
    ),
    ([message("user", [{"type": "image_url", "image_url": "x"}]), A], "media", None),
    (
        [U, message("assistant", ["say", "shout"])],
        "alternatives",
        [("user", "ask"), ("assistant", "say")],
    ),
    ([message("user", {"a": 1}), A], "content", None),
    (
        [message("narrator", "It rains."), U, A],
        "unknown_role",
        [("user", "ask"), ("assistant", "say")],
    ),
    (
        [U, A, S, U, A],
        "late_system",
        [("system", "be"), *[("user", "ask"), ("assistant", "say")] * 2],
    ),
    (
        [message("system", "kind"), U, S, A],
        "late_system",
        [("system", "kind\n\nbe"), ("user", "ask"), ("assistant", "say")],
    ),
    ([U, A, message("user", " "), A], "empty_turn", [("user", "ask"), ("assistant", "say")]),
    ([U, message("assistant", ""), U, A], "empty_turn", [("user", "ask"), ("assistant", "say")]),
    ([U, message("assistant", None), U, A], "empty_turn", [("user", "ask"), ("assistant", "say")]),
    ([message("system", ""), U, A], "empty_turn", [("user", "ask"), ("assistant", "say")]),
    ([message("user", ""), U, A], "empty_turn", [("user", "ask"), ("assistant", "say")]),
    ([U, message("assistant", "")], "empty_turn", None),
    ([A, U, A], "assistant_first", [("user", "ask"), ("assistant", "say")]),
    ([S, A, U, A], "assistant_first", [("system", "be"), ("user", "ask"), ("assistant", "say")]),
    ([T, U, A], "assistant_first", [("user", "ask"), ("assistant", "say")]),
    ([A], "assistant_first", None),
    ([U, U, A], "consecutive", [("user", "ask\n\nask"), ("assistant", "say")]),
    ([U, A, A], "consecutive", [("user", "ask"), ("assistant", "say\n\nsay")]),
    ([S, S, U, A], "consecutive", [("system", "be\n\nbe"), ("user", "ask"), ("assistant", "say")]),
    ([U, CALL, A], "consecutive", None),
    ([U, A, message("assistant", "x", weight=0)], "consecutive", None),
    ([U, A, U], "user_last", [("user", "ask"), ("assistant", "say")]),
    ([U, CALL, T], "user_last", [("user", "ask"), ("assistant", "")]),
    (
        [message("user", "a <|im_end|> b"), A],
        "special_text",
        [("user", "a < |im_end|> b"), ("assistant", "say")],
    ),
    (
        [message("user", "ask", name="</s>"), A],
        "special_text",
        [("user", "ask"), ("assistant", "say")],
    ),
]


@pytest.mark.parametrize(("messages", "code", "repaired"), ODD)
def test_each_oddity_is_repaired_dropped_or_stopped_at(
    messages: list[dict[str, Any]], code: str, repaired: list[tuple[str, str]] | None
) -> None:
    for choice in choices(code):
        policies = msgspec.structs.replace(Policies(), **{code: choice})
        if choice == "repair" and repaired is not None:
            settled = settle(Converted(messages), policies, SPECIAL)
            assert [(told["role"], told["content"]) for told in settled.messages] == repaired
            assert settled.repairs[code]
        else:
            with pytest.raises(Rejected) as caught:
                settle(Converted(messages), policies, SPECIAL)
            assert caught.value.code == code


@pytest.mark.parametrize(
    "messages",
    [
        [U, A],
        [S, U, A, U, A],
        [U, CALL, T, T, A],
        [U, CALL, message("tool", ""), A],
        [U, message("assistant", "<think>x</think>y")],
    ],
)
def test_what_is_in_order_is_left_as_it_is(messages: list[dict[str, Any]]) -> None:
    assert settle(Converted(messages), Policies(), SPECIAL)[:2] == (messages, {})


def test_an_unknown_key_is_left_out_dropped_or_stopped_at() -> None:
    odd = Converted([U, A], unknown=("message 1 has the key `wieght`",))
    assert settle(odd, Policies(unknown_key="repair"), SPECIAL)[:2] == (
        [U, A],
        {"unknown_key": "message 1 has the key `wieght`"},
    )
    with pytest.raises(Rejected, match="wieght"):
        settle(odd, Policies(), SPECIAL)


def test_nothing_to_train_on_has_no_repair() -> None:
    with pytest.raises(Rejected) as caught:
        settle(Converted([U, message("assistant", "x", weight=0)]), Policies(), SPECIAL)
    assert caught.value.code == "untrained"


REFUSES = "it refuses one, saying 'roles must alternate'"


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        ("merge", [("user", "be\n\nask"), ("assistant", "say")]),
        ("leave_out", [("user", "ask"), ("assistant", "say")]),
    ],
)
def test_a_system_prompt_that_the_template_lacks_is_merged_or_left_out_as_a_repair(
    choice: str, left: list[tuple[str, str]]
) -> None:
    policies = msgspec.structs.replace(Policies(), system_prompt=choice)
    settled = settle(Converted([S, U, A]), policies, SPECIAL, REFUSES)
    assert [(told["role"], told["content"]) for told in settled.messages] == left
    assert REFUSES in settled.repairs["system_prompt"]
    assert settle(Converted([U, A]), policies, SPECIAL, REFUSES)[:2] == ([U, A], {})
    assert settle(Converted([S, U, A]), policies, SPECIAL)[:2] == ([S, U, A], {})


def test_by_default_such_a_system_prompt_stops() -> None:
    with pytest.raises(Rejected, match="no place for one: it refuses one") as caught:
        settle(Converted([S, U, A]), Policies(), SPECIAL, REFUSES)
    assert caught.value.code == "system_prompt"


def test_tools_with_control_tokens_cannot_be_repaired() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "ends with <|im_end|>"}}]
    with pytest.raises(Rejected, match="tools contain"):
        settle(Converted([U, A], tools), Policies(special_text="repair"), SPECIAL)


def test_the_table_shows_every_policy_its_choice_and_what_it_does() -> None:
    shown = {row["name"]: row for row in table(Policies(mask="drop"))}
    assert list(shown) == list(POLICIES)
    assert {*shown} == {*Policies.__struct_fields__} - {"max_messages", "near_similarity"}
    assert all(row["choice"] in row["choices"] and row["meets"] for row in shown.values())
    assert [name for name, row in shown.items() if row["changed"]] == ["mask"]
    assert all(
        bool(row["repair"]) == bool({"repair", "split", "merge"} & {*row["choices"]})
        for row in shown.values()
    )


CONTENTS = st.one_of(
    st.sampled_from(
        ["", " \n", "hello", "<|im_end|>", "<<|im_end|>/s>", "</s>", "<think>a</think>b"]
    ),
    st.none(),
    st.integers(),
    st.lists(
        st.one_of(
            st.text(max_size=3),
            st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=3)}),
            st.none(),
        ),
        max_size=3,
    ),
)
EXTRAS: list[dict[str, Any]] = [
    *[{}] * 3,
    {"weight": 0},
    {"weight": 0.5},
    {"name": "Kim"},
    {"reasoning_content": "so"},
    {"tool_calls": CALL["tool_calls"]},
]
MESSAGES = st.lists(
    st.builds(
        lambda role, content, extra: {"role": role, "content": content, **extra},
        st.sampled_from([*ROLES, "user", "assistant", "narrator"]),
        CONTENTS,
        st.sampled_from(EXTRAS),
    ),
    min_size=1,
    max_size=9,
)
CHOSEN = st.fixed_dictionaries(
    {name: st.sampled_from(choices(name)) for name in POLICIES if "repair" in choices(name)}
)


@pytest.mark.heavy
@hypothesis_settings(max_examples=1000, deadline=None)
@given(MESSAGES, CHOSEN)
def test_what_is_repaired_needs_no_more_repair_and_obeys_the_rules(
    messages: list[dict[str, Any]], chosen: dict[str, str]
) -> None:
    before = repr(messages)
    try:
        settled, repairs, _ = settle(Converted(messages), Policies(**chosen), SPECIAL)  # type: ignore[arg-type]
    except Rejected as rejected:
        assert rejected.code in POLICIES
        return
    assert repr(messages) == before
    assert all(chosen[code] == "repair" for code in repairs)
    assert settle(Converted(settled), Policies(), SPECIAL)[:2] == (settled, {})
    assert all(isinstance(told["content"], str) and told["role"] in ROLES for told in settled)
    roles = [told["role"] for told in settled]
    assert roles[-1] == "assistant"
    assert roles.count("system") == (roles[0] == "system")
    assert roles[int(roles[0] == "system")] == "user"
