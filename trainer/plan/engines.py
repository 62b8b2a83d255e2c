"""Which engine trains a recipe on this machine, and how its batches are laid out, each with the
reason in words. Light."""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jobs.luthier_error import LuthierError
from models.installation import installation
from trainer.plan.methods import unsloth_cannot
from trainer.recipe import Recipe

# Architectures that Unsloth has kernels of its own for, padding-free attention among them. It loads
# others by a general way.
_UNSLOTH = {
    "llama": "Llama",
    "mistral": "Mistral",
    "gemma": "Gemma",
    "qwen2": "Qwen 2",
    "qwen3": "Qwen 3",
}
# Architectures whose attention in transformers keeps the conversations of a flat batch apart
# (tests/real/test_flat.py proves each).
FLAT = {
    *_UNSLOTH,
    "gemma2",
    "gemma3_text",
    "granite",
    "mixtral",
    "olmo2",
    "phi3",
    "qwen2_moe",
    "qwen3_moe",
    "smollm3",
    "starcoder2",
}


def installed() -> set[str]:
    """Which engines this interpreter has."""
    return {name for name in ("trl", "unsloth") if find_spec(name) is not None}


def choose(
    recipe: Recipe, directory: Path, config: dict[str, Any], device: str, packages: Collection[str]
) -> tuple[str, str]:
    """The engine, "unsloth" or "trl", and why. `directory` is the base model's, `config` its
    config.json, `device` "gpu" or "cpu", `packages` what is installed. LuthierError if the engine
    asked for cannot do what the recipe asks."""
    if recipe.engine == "trl":
        return "trl", "TRL, because the recipe names it"
    cannot = unsloth_cannot(recipe, directory)
    if recipe.engine == "unsloth":
        if "unsloth" not in packages:
            raise LuthierError(
                "Unsloth is not installed",
                'The recipe says engine = "unsloth".',
                f"Leave `engine` out, or install it: {installation().packages('gpu')}",
            )
        if cannot:
            raise LuthierError(
                "Unsloth cannot train this",
                f'engine = "unsloth", but Unsloth {cannot}.',
                'Use engine = "trl", which "auto" would choose.',
            )
        return "unsloth", "Unsloth, because the recipe names it"
    if device != "gpu":
        return "trl", "TRL, because there is no NVIDIA GPU"
    if "unsloth" not in packages:
        return "trl", "TRL, because Unsloth is not installed"
    architecture = str(config.get("model_type", ""))
    slower = cannot or _unsloth_gains_little(recipe, architecture)
    if slower:
        return "trl", f"TRL, because Unsloth {slower}"
    return (
        "unsloth",
        f"Unsloth, because it has kernels of its own for {_UNSLOTH[architecture]} on a GPU",
    )


def flat(recipe: Recipe, config: dict[str, Any], engine: str) -> tuple[bool, str]:
    """Whether the batches are padding-free, and why. LuthierError if that is asked for and would
    not be exact."""
    asked = recipe.train.padding_free
    if asked is False:
        return False, "padded batches, because the recipe says so"
    architecture = str(config.get("model_type", ""))
    name = "Unsloth" if engine == "unsloth" else "TRL"
    if recipe.objective.kind != "sft":
        return False, f"padded batches: TRL has no others for {recipe.objective.title}"
    if recipe.train.neftune_alpha:
        why = "NEFTune scales its noise by the length of a row, so the noise would differ"
    elif engine == "unsloth" and recipe.train.base_bits == 8:
        why = "it is not proved that Unsloth keeps conversations apart on an 8-bit base"
    elif architecture not in (_UNSLOTH if engine == "unsloth" else FLAT):
        why = (
            f"it is not proved that {name} keeps conversations apart in flat batches of"
            f" {architecture or 'this architecture'}"
        )
    else:
        return True, "padding-free batches: the same losses, without computing padding"
    if asked is True:
        raise LuthierError(
            "Padding-free would not be exact",
            f"{why[:1].upper()}{why[1:]}.",
            "Leave out train.padding_free.",
        )
    return False, f"padded batches: {why}"


def _unsloth_gains_little(recipe: Recipe, architecture: str) -> str:
    if architecture not in _UNSLOTH:
        return f"has no kernels of its own for {architecture or 'this architecture'}"
    if recipe.train.base_bits == 8:
        return "has no kernels of its own for an 8-bit base"
    return ""
