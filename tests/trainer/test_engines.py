"""Which engine a recipe gets, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs.luthier_error import LuthierError
from trainer.plan.engines import choose, flat
from trainer.recipe import Lora, Recipe, Tokens, Train

LLAMA = {"model_type": "llama"}
PHI = {"model_type": "phi3"}
BOTH = {"trl", "unsloth"}
NOWHERE = Path("/nowhere")  # a base whose tokenizer has none of the tokens


def recipe(**values: Any) -> Recipe:
    return msgspec.structs.replace(Recipe(data=["x.jsonl"]), **values)


@pytest.mark.parametrize(
    ("asked", "config", "device", "packages", "engine", "word"),
    [
        (recipe(), LLAMA, "gpu", BOTH, "unsloth", "Llama"),
        (recipe(), {"model_type": "qwen3"}, "gpu", BOTH, "unsloth", "Qwen 3"),
        (recipe(), LLAMA, "cpu", BOTH, "trl", "no NVIDIA GPU"),
        (recipe(), LLAMA, "gpu", {"trl"}, "trl", "not installed"),
        (recipe(), PHI, "gpu", BOTH, "trl", "phi3"),
        (recipe(), {}, "gpu", BOTH, "trl", "this architecture"),
        (recipe(lora=Lora(dora=True)), LLAMA, "gpu", BOTH, "trl", "DoRA"),
        (recipe(lora=Lora(targets=["q_proj", "lm_head"])), LLAMA, "gpu", BOTH, "trl", "lm_head"),
        (recipe(tokens=Tokens(add=["<|im_start|>"])), LLAMA, "gpu", BOTH, "trl", "tokens"),
        (recipe(train=Train(method="full")), LLAMA, "gpu", BOTH, "trl", "adapters"),
        (recipe(train=Train(base_bits=8)), LLAMA, "gpu", BOTH, "trl", "8-bit"),
        (
            recipe(train=Train(attention="flex")),
            LLAMA,
            "gpu",
            BOTH,
            "trl",
            "uses its own attention",
        ),
        (
            recipe(lora=Lora(rslora=True, dropout=0.1), train=Train(base_bits=4, neftune_alpha=5)),
            LLAMA,
            "gpu",
            BOTH,
            "unsloth",
            "Llama",
        ),
        (recipe(engine="trl"), LLAMA, "gpu", BOTH, "trl", "names it"),
        (recipe(engine="unsloth"), LLAMA, "cpu", BOTH, "unsloth", "names it"),
        (recipe(engine="unsloth"), PHI, "gpu", BOTH, "unsloth", "names it"),
    ],
)
def test_the_choice(
    asked: Recipe, config: dict[str, Any], device: str, packages: set[str], engine: str, word: str
) -> None:
    chosen, why = choose(asked, NOWHERE, config, device, packages)
    assert chosen == engine
    assert word in why


@pytest.mark.parametrize(
    ("asked", "packages", "words"),
    [
        (recipe(), {"trl"}, "not installed"),
        (recipe(train=Train(method="full")), BOTH, "trains only adapters"),
        (recipe(tokens=Tokens(add=["<x>"])), BOTH, "cannot train new tokens"),
        (recipe(lora=Lora(dora=True)), BOTH, "DoRA"),
        (recipe(lora=Lora(targets=["embed_tokens"])), BOTH, "trains embed_tokens whole"),
    ],
)
def test_asked_by_name_and_impossible(asked: Recipe, packages: set[str], words: str) -> None:
    with pytest.raises(LuthierError, match=words) as error:
        choose(msgspec.structs.replace(asked, engine="unsloth"), NOWHERE, LLAMA, "gpu", packages)
    assert error.value.hint


def test_the_layout() -> None:
    assert flat(recipe(), LLAMA, "trl")[0]
    assert flat(recipe(), LLAMA, "unsloth")[0]
    assert flat(recipe(), PHI, "trl")[0]
    assert not flat(recipe(), PHI, "unsloth")[0]
    assert flat(recipe(), {"model_type": "mamba"}, "trl") == (
        False,
        (
            "padded batches: it is not proved that TRL keeps conversations apart in flat batches of"
            " mamba"
        ),
    )
    assert not flat(recipe(train=Train(padding_free=False)), LLAMA, "trl")[0]
    assert "NEFTune" in flat(recipe(train=Train(neftune_alpha=5)), LLAMA, "trl")[1]
    assert flat(recipe(train=Train(base_bits=8)), LLAMA, "trl")[0]
    assert not flat(recipe(train=Train(base_bits=8)), LLAMA, "unsloth")[0]
    with pytest.raises(LuthierError, match="of mamba"):
        flat(recipe(train=Train(padding_free=True)), {"model_type": "mamba"}, "trl")
