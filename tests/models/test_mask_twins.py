"""A second oracle: trl's twins of stock templates, in which `{% generation %}` markers say what it
trains.

Where a twin renders a conversation as the original does, both masks must be the same but for the
tokens listed here, token by token. What trl trains on top is either never generated (whitespace and
tokens after the stop token) or already in the server's prompt (headers, the opening of a thinking
block). Four twins put a thinking block into every turn, so that only some shapes can be compared.
"""

from __future__ import annotations

from typing import Any

import pytest

from models.conversations import Conversation
from models.samples import Sample, samples
from models.stored_sample import UNTRAINED
from tests.models.corpus import PARTS_ONLY, SHAPES, marked_twins, shape, tokenizer_for
from tests.models.test_mask_evidence import report_for

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("transformers")]

_AFTER_STOP = {"\n"}
_ASSISTANT = {"<｜Assistant｜>"}
_END = {"<|endoftext|>"}
_HEADER = {"<|start|>", "a", "ss", "istan", "t"}
_THINKING = {"<think>", "</think>", "\n", "\n\n"}
TRL_TRAINS_TOO: dict[str, set[str]] = {
    **dict.fromkeys(
        (
            "gemma",
            "gemma3",
            "diffusion_gemma",
            "idefics3",
            "lfm2",
            "qwen2_5",
            "qwen2_5_vl",
            "qwen3",
        ),
        _AFTER_STOP,
    ),
    **dict.fromkeys(("qwen3_instruct_2507", "qwen3_vl"), _AFTER_STOP),
    **dict.fromkeys(("deepseek_r1_distill", "deepseekv3"), _ASSISTANT),
    **dict.fromkeys(("gptoss", "muse_glimmer"), _HEADER),
    **dict.fromkeys(
        ("nemotron_3_5_lightning", "nemotron_3_nano", "nemotron_3_super", "nemotron_3_ultra"),
        _THINKING,
    ),
    **dict.fromkeys(("qwen3_5_nothink", "qwen3_5_think", "qwen3_6", "qwen3_8"), _THINKING),
    **dict.fromkeys(("phi3", "phi3_5"), _END),
    "llava_next": {" "},
}
# After a tool's result, Gemma's prompt has no header: the server has to generate it, and to stop
# where a tool is to answer. trl also loses the last bytes of an answer that ends in an emoji.
LUTHIER_TRAINS_TOO: dict[str, set[str]] = {
    "diffusion_gemma": {"<|tool_response>", "<|turn>", "mo", "de", "l", "\n", "\ufffd"}
}


def differences(name: str, shape_name: str) -> tuple[set[str], set[str]] | None:
    """The tokens that only trl trains, and those that only Luthier does; None where the two cannot
    be compared."""
    tokenizer = tokenizer_for(name)
    messages, tools = shape(shape_name, name)
    found = samples([Conversation(messages, shape_name, 0, tools)], tokenizer, report_for(name))
    if len(found) != 1 or not isinstance(found[0], Sample):
        return None
    own = found[0]
    given: list[dict[str, Any]] = messages
    if name in PARTS_ONLY:
        given = [
            {**message, "content": [{"type": "text", "text": message["content"]}]}
            for message in messages
        ]
    options = {
        "tokenize": True,
        "return_dict": True,
        "return_assistant_tokens_mask": True,
        "chat_template": marked_twins()[name],
    }
    theirs = tokenizer.apply_chat_template(given, tools=tools, **options)
    if theirs["input_ids"] != own.input_ids:
        return None
    triples = list(zip(own.input_ids, own.labels, theirs["assistant_masks"], strict=True))
    only_trl = {
        tokenizer.decode([token]) for token, label, mask in triples if mask and label == UNTRAINED
    }
    only_own = {
        tokenizer.decode([token])
        for token, label, mask in triples
        if not mask and label != UNTRAINED
    }
    return only_trl, only_own


@pytest.mark.parametrize("name", sorted(marked_twins()))
def test_trls_own_mask_differs_by_the_listed_tokens_only(name: str) -> None:
    weighted = {"weights", "assistant first, untrained"}  # trl knows no weights
    found = [
        pair
        for shape_name in SHAPES
        if shape_name not in weighted and (pair := differences(name, shape_name)) is not None
    ]
    assert found, "nothing could be compared"
    assert set().union(*(only_trl for only_trl, _ in found)) <= TRL_TRAINS_TOO.get(name, set())
    assert set().union(*(only_own for _, only_own in found)) <= LUTHIER_TRAINS_TOO.get(name, set())
