"""0 wrong tokens: every template of the corpus, every shape, against a slow definition that shares
nothing with the implementation.

The definition works on tokens: what follows the tokens of the server's own prompt, up to and
including the first stop token, as transformers' `apply_chat_template` renders and tokenises both.
Combinations that cannot be masked are listed by name in refusals.py.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest

from models.conversations import Conversation
from models.mask import MaskError
from models.preflight import TemplateReport, probe_template
from models.samples import Sample, samples
from models.stored_sample import UNTRAINED
from tests.models.corpus import PARTS_ONLY, SHAPES, shape, stop_ids, templates, tokenizer_for
from tests.models.refusals import REFUSED, SCAFFOLDS

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("transformers")]

NEXT_CLOSES = {"glm4moe"}  # only the next message's header stops these


@functools.cache
def report_for(name: str, kind: str = "bytes") -> TemplateReport:
    tokenizer = tokenizer_for(name, kind)
    return probe_template(tokenizer, stop_ids(name, tokenizer), None)


class Definition:
    """What a server does, through transformers' own calls."""

    def __init__(
        self, name: str, tokenizer: Any, messages: list[dict[str, Any]], tools: Any
    ) -> None:
        self.name, self.tokenizer, self.tools = name, tokenizer, tools
        self.messages = [
            {key: value for key, value in message.items() if key != "weight"}
            for message in messages
        ]
        if name in PARTS_ONLY:
            self.messages = [
                {**message, "content": [{"type": "text", "text": message["content"]}]}
                for message in self.messages
            ]
        self.stops = stop_ids(name, tokenizer)

    def text(self, messages: list[dict[str, Any]], prompt: bool) -> str:
        rendered = self.tokenizer.apply_chat_template(
            messages, tools=self.tools, add_generation_prompt=prompt, tokenize=False
        )
        return str(rendered)

    def ids(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def turn(self, turn: int) -> tuple[list[int], list[int]]:
        """The tokens of the prompt, and those that the server has to generate for the turn."""
        prompt = self.text(self.messages[:turn], True)
        full = self.text(self.messages[: turn + 1], False)
        if self.name in NEXT_CLOSES:
            following = self.messages[turn + 1]["role"] if turn + 1 < len(self.messages) else "user"
            full += {"user": "<|user|>", "tool": "<|observation|>"}[following]
        if not full.startswith(prompt):
            prompt = next(
                prompt.removesuffix(end)
                for end in SCAFFOLDS[self.name]
                if full.startswith(prompt.removesuffix(end))
            )
        before = self.ids(prompt)
        whole = self.ids(full)
        after = whole[len(before) :]
        if whole[: len(before)] != before or self.tokenizer.decode(after) != full[len(prompt) :]:
            # a token would lie across the edge: generation cannot make it
            after = self.ids(full[len(prompt) :])
        stop = next(place for place, token in enumerate(after) if token in self.stops)
        return before, after[: stop + 1]


def runs(sample: Sample, stops: set[int]) -> list[tuple[int, int]]:
    """The stretches of trained tokens; one ends after each stop token, since some templates put
    nothing between two turns."""
    found, first = [], None
    for at, label in enumerate([*sample.labels, UNTRAINED]):
        if first is not None and (label == UNTRAINED or sample.labels[at - 1] in stops):
            found.append((first, at))
            first = None
        if first is None and label != UNTRAINED:
            first = at
    return found


def wrong_tokens(
    name: str, kind: str, messages: list[dict[str, Any]], tools: Any, found: list[Sample]
) -> list[str]:
    """What is not as the definition says, in words; empty if all is right."""
    tokenizer = tokenizer_for(name, kind)
    definition = Definition(name, tokenizer, messages, tools)
    wanted = [
        turn
        for turn, message in enumerate(messages)
        if message["role"] == "assistant" and message.get("weight", 1)
    ]
    faults = []
    if sorted(turn for sample in found for turn in sample.turns) != wanted:
        faults.append(f"turns {[sample.turns for sample in found]}, wanted {wanted}")
    for sample in found:
        stretches = runs(sample, definition.stops)
        if len(stretches) != len(sample.turns):
            return [*faults, f"{len(stretches)} trained stretches for the turns {sample.turns}"]
        for turn, (first, last) in zip(sample.turns, stretches, strict=True):
            before, trained = definition.turn(turn)
            if sample.input_ids[:first] != before:
                faults.append(
                    f"turn {turn}: context {tokenizer.decode(sample.input_ids[:first])!r}, wanted"
                    f" {tokenizer.decode(before)!r}"
                )
            if sample.input_ids[first:last] != trained or sample.labels[first:last] != trained:
                faults.append(
                    f"turn {turn}: {tokenizer.decode(sample.input_ids[first:last])!r}, wanted"
                    f" {tokenizer.decode(trained)!r}"
                )
    return faults


def check(name: str, kind: str, shape_name: str) -> str | None:
    """The code of the refusal, None if the shape was masked; fails at a wrong token."""
    messages, tools = shape(shape_name, name)
    conversation = Conversation(messages, shape_name, 0, tools)
    found = samples([conversation], tokenizer_for(name, kind), report_for(name, kind))
    masked = [sample for sample in found if isinstance(sample, Sample)]
    if len(masked) < len(found):
        (error,) = found
        assert isinstance(error, MaskError)
        assert error.file == shape_name and error.row == 0 and error.reason
        return error.code
    faults = wrong_tokens(name, kind, [dict(message) for message in messages], tools, masked)
    assert not faults, f"{name}, {shape_name} ({report_for(name, kind).strategy}): " + "\n".join(
        faults
    )
    return None


def expected_refusal(name: str, shape_name: str) -> str | None:
    if shape_name == "special-token text":
        return "special_token_text"
    if shape_name == "assistant first":
        return "no_prompt"
    return REFUSED.get(name, {}).get(shape_name)


def test_the_corpus_is_as_large_as_it_says() -> None:
    assert len(templates()) >= 40
    assert len(SHAPES) >= 14


@pytest.mark.parametrize("name", sorted(templates()))
def test_no_token_is_wrong(name: str) -> None:
    refused = {shape_name: check(name, "bytes", shape_name) for shape_name in SHAPES}
    assert refused == {shape_name: expected_refusal(name, shape_name) for shape_name in SHAPES}


METASPACE = [
    "llama2",
    "mistral_v1",
    "mistral_v7",
    "vicuna",
    "zephyr",
    "gemma",
    "gemma3",
    "gemma4",
    "phi3",
    "phi3_5",
    "alpaca",
]


@pytest.mark.parametrize("name", METASPACE)
def test_no_token_is_wrong_without_a_byte_level_tokenizer(name: str) -> None:
    for shape_name in SHAPES:
        assert check(name, "metaspace", shape_name) == expected_refusal(name, shape_name), (
            shape_name
        )
