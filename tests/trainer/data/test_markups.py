"""Marked-up text: a conversation comes back the same from each markup, and what is no talk is not
taken for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jobs.luthier_error import LuthierError
from trainer.data.formats import Mapping, recognise
from trainer.data.formats_markup import MARKUPS, markup_of
from trainer.data.formats_text import header_lines
from trainer.data.formats_turns import Message, RowProblem

Dialogue = list[Message]


def _turned(
    header: Callable[[str], str], end: str, names: dict[str, str], before: str = ""
) -> Callable[[Dialogue], str]:
    """A writer of turns that each have a header and an end."""
    return lambda chat: (
        before
        + "".join(f"{header(names.get(m['role']) or m['role'])}{m['content']}{end}" for m in chat)
    )


def _llama2(chat: Dialogue) -> str:
    text, system = "", ""
    for message in chat:
        if message["role"] == "system":
            system = f"<<SYS>>\n{message['content']}\n<</SYS>>\n\n"
        elif message["role"] == "user":
            text += f"<s>[INST] {system}{message['content']} [/INST]"
            system = ""
        else:
            text += f" {message['content']} </s>"
    return text


def _preambled(user: str, assistant: str, end: str, before: str = "") -> Callable[[Dialogue], str]:
    """A writer of markups whose system prompt is the text before the first turn."""
    headers = {"system": "", "user": user, "assistant": assistant}
    return lambda chat: (
        before
        + "".join(
            f"{headers[m['role']]}{m['content']}{'' if m['role'] == 'user' else end}" for m in chat
        )
    )


def _moss(chat: Dialogue) -> str:
    written = {"system": "{}\n", "user": "<|Human|>: {}<eoh>\n", "assistant": "<|MOSS|>: {}<eom>\n"}
    return "".join(written[message["role"]].format(message["content"]) for message in chat)


GEMMA = {"assistant": "model", "system": "user"}
COHERE = {"system": "SYSTEM", "user": "USER", "assistant": "CHATBOT"}
OPENCHAT = {"user": "User", "assistant": "Assistant"}
# How each markup of the table is written; those without a system prompt of their own are in
# NO_SYSTEM.
WRITERS: dict[str, Callable[[Dialogue], str]] = {
    "phi4": _turned(lambda role: f"<|im_start|>{role}<|im_sep|>", "<|im_end|>", {}),
    "chatml": _turned(lambda role: f"<|im_start|>{role}\n", "<|im_end|>\n", {}),
    "kimi": _turned(lambda role: f"<|im_{role}|>{role}<|im_middle|>", "<|im_end|>", {}),
    "llama3": _turned(
        lambda role: f"<|start_header_id|>{role}<|end_header_id|>\n\n",
        "<|eot_id|>",
        {},
        "<|begin_of_text|>",
    ),
    "llama4": _turned(
        lambda role: f"<|header_start|>{role}<|header_end|>\n\n", "<|eot|>", {}, "<|begin_of_text|>"
    ),
    "gemma": _turned(lambda role: f"<start_of_turn>{role}\n", "<end_of_turn>\n", GEMMA, "<bos>"),
    "cohere": _turned(
        lambda role: f"<|START_OF_TURN_TOKEN|><|{role}_TOKEN|>",
        "<|END_OF_TURN_TOKEN|>",
        COHERE,
        "<BOS_TOKEN>",
    ),
    "granite": _turned(
        lambda role: f"<|start_of_role|>{role}<|end_of_role|>", "<|end_of_text|>\n", {}
    ),
    "harmony": _turned(lambda role: f"<|start|>{role}<|message|>", "<|end|>", {}),
    "deepseek": _preambled("<｜User｜>", "<｜Assistant｜>", "", "<｜begin▁of▁sentence｜>"),
    "roles": _turned(lambda role: f"<|{role}|>\n", "</s>\n", {}),
    "openchat": _turned(lambda role: f"GPT4 Correct {role}: ", "<|end_of_turn|>", OPENCHAT, "<s>"),
    "inst": _llama2,
    "baize": _turned(lambda role: f"[|{role}|]", "\n", {}),
    "angle": _turned(lambda role: f"<{role}>: ", "\n", {}),
    "hash": _preambled("### Human: ", "### Assistant: ", "\n"),
    "bold": _preambled("**User:** ", "\n\n**Assistant:** ", "\n\n", "\n\n"),
    "vicuna": _preambled("USER: ", " ASSISTANT: ", "</s>"),
    "moss": _moss,
    "words": lambda chat: " ".join(f"{m['role'].capitalize()}: {m['content']}" for m in chat),
}
NO_SYSTEM = ("gemma", "openchat")
# Words and signs, none of which a markup has.
TEXT = (
    st.text(st.sampled_from("ab cde Éß水😀.,!?'\"-\n{}()1 2"), min_size=1, max_size=30)
    .map(str.strip)
    .filter(lambda text: any(map(str.isalpha, text)))
)
PAIRS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4)


def test_every_markup_has_a_writer() -> None:
    assert list(WRITERS) == [markup.name for markup in MARKUPS]


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=60, deadline=None)
@given(pairs=PAIRS, system=st.just("") | TEXT)
def test_a_conversation_comes_back(name: str, pairs: list[tuple[str, str]], system: str) -> None:
    assume(not system or name not in NO_SYSTEM)
    chat = [
        {"role": ("user", "assistant")[place % 2], "content": text}
        for place, text in enumerate(text for pair in pairs for text in pair)
    ]
    chat = [{"role": "system", "content": system}, *chat] if system else chat
    text = WRITERS[name](chat)
    markup = markup_of(text)
    assert markup is not None and markup.name == name
    found = recognise([{"id": 1, "text": text}])
    assert found.name == ("chatml_text" if name == "chatml" else "markup")
    assert (
        recognise([{"id": 1, "text": text}], found.mapping).convert({"text": text}).messages == chat
    )
    assert found.convert({"text": text}).messages == chat


@pytest.mark.parametrize("name", WRITERS)
def test_no_sign_of_a_markup_is_trained(name: str) -> None:
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    for around in ("{}", "<s>{}</s>", "<bos>{}<eos>", "{}<|endoftext|>", "\n {}\n"):
        text = around.format(WRITERS[name](chat))
        found = recognise([{"text": text}])
        assert found.convert({"text": text}).messages == chat, text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHo",
            "unclosed_turn",
        ),
        (
            "<start_of_turn>user\nHi<end_of_turn>\nnobody's<start_of_turn>model\nHo<end_of_turn>",
            "outside_turns",
        ),
        ("[INST] Hi [/INST] [TOOL_CALLS] [{}] </s>", "tool_call"),
    ],
)
def test_what_a_markup_cannot_say_is_a_problem_of_the_row(text: str, code: str) -> None:
    with pytest.raises(RowProblem) as problem:
        recognise([{"text": text}]).convert({"text": text})
    assert problem.value.code == code


def test_reasoning_of_harmony_goes_to_its_answer() -> None:
    text = (
        "<|start|>user<|message|>Hi<|end|><|start|>assistant<|channel|>analysis<|message|>Hm.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Ho<|return|>"
    )
    assert recognise([{"text": text}]).convert({"text": text}).messages[1:] == [
        {"role": "assistant", "content": "Ho", "reasoning_content": "Hm."}
    ]


def test_the_recipe_decides_what_marks_a_turn() -> None:
    row = {"log": "### Human: a ### Assistant: b </s>", "other": "USER: x ASSISTANT: y"}
    chosen = recognise([row], Mapping("markup", {"text": "other"}, layout="vicuna"))
    assert [message["content"] for message in chosen.convert(row).messages] == ["x", "y"]
    own = Mapping(
        "transcript", {"text": "log"}, speakers={"Human": "user", "Assistant": "assistant"}
    )
    assert [message["content"] for message in recognise([row], own).convert(row).messages] == [
        "a",
        "b",
    ]
    with pytest.raises(LuthierError, match=r"Known: .*vicuna"):
        recognise([row], Mapping(layout="vicuna2"))
    with pytest.raises(LuthierError, match=r"marked up as ### headers.*\n.*format = \"markup\""):
        recognise([row], Mapping("transcript", {"text": "log"}))


PROMPTS = [
    ("### Human: Hi\n### Assistant:", " Ho"),
    ("<s>[INST] Hi [/INST]", "Ho</s>"),
    (
        "Below is an instruction that describes a task.\n\n### Instruction:\nHi\n\n### Response:",
        "Ho",
    ),
    ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "Ho<|im_end|>"),
    ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "Ho"),
    ("<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n", "Ho"),
    ("USER: Hi ASSISTANT:", " Ho</s>"),
    ("\n\nHuman: Hi\n\nAssistant:", " Ho"),
    ("Q: Hi\nA:", " Ho"),
]


@pytest.mark.parametrize(("prompt", "answer"), PROMPTS)
def test_a_marked_up_prompt_goes_on_with_its_answer(prompt: str, answer: str) -> None:
    """The marks would be trained as the user's own words else, inside those of the model's
    template."""
    for row in (
        {"prompt": prompt, "completion": answer},
        {"prompt": prompt, "chosen": answer, "rejected": "no"},
    ):
        messages = recognise([row]).convert(row).messages
        assert messages == [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Ho"},
        ]


@pytest.mark.parametrize(
    "prompt",
    [
        "What does ### Human: mean?",
        "Explain [INST] and [/INST] to me",
        "Fill in the answer:",
        "**User:** and **Assistant:**",
        "Note: mind the A:",
    ],
)
def test_a_prompt_about_marks_stays_as_it_is(prompt: str) -> None:
    row = {"prompt": prompt, "completion": "Well."}
    assert recognise([row]).convert(row).messages[0] == {"role": "user", "content": prompt}


NO_TALK = [
    "Subject: Delivery\nFrom: shop\nTo: buyer\n\nYour parcel.",
    "Title: The lute\nAuthor: A. Mate\nDate: 1600\n\nStrings.\nNote: gut.\nNote: nylon.",
    "From: a\nTo: b\n\nFirst.\n\nFrom: b\nTo: a\n\nSecond.",
    "Ingredients: water, flour\nTime: an hour\n\nMix both.",
    "A text with a colon: nothing more.\nAnd another: here.",
    "He wrote `### Human:` on the wall and left.",
]


@pytest.mark.parametrize("text", NO_TALK)
def test_header_lines_and_colons_are_no_talk(text: str) -> None:
    with pytest.raises(LuthierError) as error:
        recognise([{"text": text}, {"text": text.upper().title()}])
    assert error.value.hint
    assert (", ".join(header_lines(text)[:4]) in str(error.value)) or not header_lines(text)


@pytest.mark.parametrize(
    "text",
    [
        "Anna: hi\nBo: ho\nAnna: well",
        "Human: hi\nAI: ho",
        "Q: who?\nA: me.",
        "[00:01] Ann: hi\n[00:02] Bo: ho",
        "User: hi\nFalcon: ho",
    ],
)
def test_speakers_come_back_or_are_roles_or_have_times(text: str) -> None:
    found = recognise([{"text": text}])
    assert [message["role"] for message in found.convert({"text": text}).messages][:2] == [
        "user",
        "assistant",
    ]
