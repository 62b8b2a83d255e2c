"""Which methods go together, with which engine and on which device: found out from the recipe and
the model's headers. Light."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from jobs.luthier_error import LuthierError
from models.folder import ModelFolder
from models.merge.embeddings import is_output
from models.transformers_models import why_not_loaded
from models.vllm_models import refused_layers, why_no_adapters
from trainer.plan.compute import Compute
from trainer.plan.lora_targets import ALL_LINEAR, check_targets, is_target, linear_layers
from trainer.recipe import Recipe

FLOAT8_CAPABILITY = (8, 9)  # Ada's; Hopper's is 9.0
_INSTALL = {
    "bitsandbytes": "pip install bitsandbytes",
    "flash_attn": "pip install flash-attn --no-build-isolation",
}


def unsloth_cannot(recipe: Recipe, directory: Path) -> str:
    """What of the recipe is not done with Unsloth on this base model, as a verb and the rest; "" if
    all is."""
    if recipe.train.method == "full":
        return "trains only adapters in Luthier"
    if recipe.objective.kind != "sft":
        return f"has not been proved for {recipe.objective.title} here"
    if recipe.start_from:
        return "starts only from fresh adapters in Luthier"
    if new_tokens(recipe, directory):
        return "cannot train new tokens alone"
    if recipe.lora.dora:
        return "does not support DoRA in its fast layers"
    if recipe.lora.experts:
        return "names experts in its own way, which Luthier cannot merge"
    if recipe.train.attention in ("flex", "flash"):
        return "uses its own attention"
    embeddings = {"embed_tokens", "lm_head"} & (
        {*recipe.lora.targets} if isinstance(recipe.lora.targets, list) else set()
    )
    if not embeddings:
        return ""
    return f"trains {' and '.join(sorted(embeddings))} whole rather than by LoRA"


def cannot_shard(recipe: Recipe, directory: Path) -> str:
    """Why the model cannot be shared out over GPUs (FSDP2) as the recipe has it, as a clause; "" if
    it can."""
    train = recipe.train
    if recipe.engine == "unsloth" or train.gradient_checkpointing == "unsloth":
        return "Unsloth does not shard, and the recipe names it"
    if train.base_bits in (4, 8):
        return "it cannot shard weights that bitsandbytes packs into 4 or 8 bits"
    if train.float8 is True:
        return "it cannot shard float8 weights"
    if "bit" in train.optimizer:
        return "bitsandbytes' optimizers do not support shards"
    if train.method == "full" and train.base_bits == 16:
        return "it keeps trained weights in 32 bits, but the recipe says 16"
    if recipe.lora.dora:
        return "it would compute DoRA's magnitudes in 16 bits"
    if new_tokens(recipe, directory) and not any(map(is_output, linear_layers(directory))):
        return "torch cannot shard new rows of an embedding that is also the head"
    if ModelFolder(directory).mixes_experts:
        return "it has not been proved for mixtures of experts"
    return ""


def base_bits(recipe: Recipe) -> int:
    """What a weight of the base takes where nothing speaks for fewer bits: 32 where it is trained
    itself, since an update of less than 1/256 of a weight is lost in bfloat16."""
    bits = recipe.train.base_bits
    if bits != "auto":
        return bits
    return 32 if recipe.train.method == "full" else 16


def float8(
    recipe: Recipe, compute: Compute, capability: tuple[int, int] | None
) -> tuple[bool, ...]:
    """Whether the products with the frozen weights may be computed in float8
    (trainer.kernels.float8): (True,) if they must, (False,) if they cannot, both if it is open.
    `compute` has the bits and shards that were decided on, `capability` is the GPU's, None on a
    CPU. LuthierError if float8 is asked for and cannot be."""
    asked = recipe.train.float8
    cannot = "" if asked is False else _cannot_float8(recipe, compute, capability)
    if asked is True:
        if cannot:
            raise LuthierError(
                "float8 is not possible",
                f"train.float8 = true, but {cannot}.",
                "Leave out train.float8.",
            )
        return (True,)
    if asked is False or cannot or capability is None:
        return (False,)
    return (False, True)


def _cannot_float8(recipe: Recipe, compute: Compute, capability: tuple[int, int] | None) -> str:
    """As a clause."""
    if recipe.train.method == "full":
        return "every weight is trained, and none is frozen"
    if compute.base_bits != 16:
        return f"the base is in {compute.base_bits} bits"
    if recipe.lora.dora:
        return "DoRA needs the norms of the weights"
    if recipe.objective.kind != "sft":
        return f"it has not been proved for {recipe.objective.title}"
    if compute.shards > 1:
        return "FSDP2 cannot shard such weights"
    if capability == (0, 0):
        return "nvidia-smi does not report the compute capability of this GPU"
    if capability is not None and capability < FLOAT8_CAPABILITY:
        return (
            f"this GPU has compute capability {capability[0]}.{capability[1]}, and float8 needs 8.9"
        )
    return ""


def new_tokens(recipe: Recipe, directory: Path) -> list[str]:
    """What of the tokens that the recipe wants the base model's tokenizer does not have."""
    if not recipe.tokens.wanted:
        return []
    # none of another kind of tokenizer, which the worker reads
    tokenizer = ModelFolder(directory).token_ids
    return [token for token in recipe.tokens.wanted if token not in tokenizer]


def consequences(recipe: Recipe, directory: Path) -> list[str]:
    """What the method means for serving, in words."""
    if recipe.train.method == "full":
        return [
            "Every weight is trained, so the result is a whole model, which is served on its own"
            " and not beside its base."
        ]
    whole = refused_layers(directory, _changed_layers(recipe, directory))
    kinds = [
        name
        for name, is_used in (
            ("new tokens", bool(new_tokens(recipe, directory))),
            ("DoRA", recipe.lora.dora),
            ("LoRA on experts", recipe.lora.experts),
            (f"LoRA on {', '.join(whole)}, which it has in parts", bool(whole)),
        )
        if is_used
    ]
    if hindrance := why_no_adapters(directory):
        return [f"{hindrance}, so Luthier merges the adapter before serving."]
    if not kinds:
        return []
    return [
        f"vLLM cannot load an adapter with {' and '.join(kinds)}, so Luthier merges it before"
        " serving."
    ]


def _changed_layers(recipe: Recipe, directory: Path) -> Iterator[str]:
    """The own names of the layers that LoRA changes; read once somebody asks, for a model that is
    not prepared yet has no weights."""
    for layer in linear_layers(directory):
        if is_target(name := layer.rpartition(".")[2], recipe.lora.targets):
            yield name


def check(recipe: Recipe, directory: Path, engine: str, device: str) -> None:
    """LuthierError for what cannot be trained as the recipe says. `engine` and `device` ("cpu" or
    "gpu") are those that were decided on, `directory` is the base model's."""
    if hindrance := why_not_loaded(directory):
        raise LuthierError(
            "transformers does not support this model",
            f"{directory}/config.json: {hindrance}.",
            "Choose another base model, or install a newer transformers.",
        )
    if recipe.train.method == "full":
        _check_full(recipe)
    if engine == "trl" and recipe.train.gradient_checkpointing == "unsloth":
        message = (
            'train.gradient_checkpointing = "unsloth" needs the engine Unsloth, but this run'
            " uses TRL."
        )
        raise LuthierError(
            "Not with this engine", message, 'Choose "standard", or leave out the key.'
        )
    if device == "cpu" and recipe.train.attention in ("flex", "flash"):
        message = f'train.attention = "{recipe.train.attention}" needs GPU kernels.'
        raise LuthierError(
            "This attention needs a GPU", message, 'Leave out the key, or choose "sdpa".'
        )
    check_installed(recipe.train.base_bits, recipe.train.optimizer, recipe.train.attention)
    if recipe.train.method == "lora":
        check_targets(recipe.lora.targets, directory)
    if recipe.train.method == "lora" and recipe.lora.experts:
        _check_experts(recipe, directory)


def _check_experts(recipe: Recipe, directory: Path) -> None:
    if not ModelFolder(directory).mixes_experts:
        raise LuthierError(
            "Not a mixture of experts",
            f"lora.experts is true, but the model in {directory} has no experts.",
            "Leave out lora.experts.",
        )
    beside = [key for key in ("dropout", "dora") if getattr(recipe.lora, key)]
    if beside:
        raise LuthierError(
            "Not supported on experts",
            f"PEFT cannot combine LoRA on experts with lora.{beside[0]}.",
            f"Leave out lora.{beside[0]} or lora.experts.",
        )


def check_installed(base_bits: int | str, optimizer: str, attention: str) -> None:
    """LuthierError if one of these needs a package that this interpreter has not. transformers
    would fetch a kernel from the hub in the place of flash-attn."""
    needs = [("bitsandbytes", f"train.base_bits = {base_bits}")] if base_bits in (8, 4) else []
    needs += [("bitsandbytes", f'train.optimizer = "{optimizer}"')] if "bit" in optimizer else []
    needs += [("flash_attn", 'train.attention = "flash"')] if attention == "flash" else []
    for package, setting in needs:
        if importlib.util.find_spec(package) is None:
            message = f"{setting} needs {package}, which is not installed here."
            raise LuthierError(
                "A package is missing", message, f"`{_INSTALL[package]}` installs it."
            )


def _check_full(recipe: Recipe) -> None:
    bits, lora = recipe.train.base_bits, recipe.lora
    if bits in (8, 4):
        message = (
            f"train.base_bits = {bits} keeps the base weights in {bits} bits, which cannot be"
            " trained themselves."
        )
        raise LuthierError(
            "Full fine-tuning needs 16 bits",
            message,
            'Leave out base_bits, or choose method = "lora".',
        )
    without_effect = {
        "rslora": lora.rslora,
        "dora": lora.dora,
        "experts": lora.experts,
        "plus_ratio": bool(lora.plus_ratio),
        "targets": lora.targets != ALL_LINEAR,
    }
    if keys := [key for key, value in without_effect.items() if value]:
        message = f'train.method = "full" trains every weight, so lora.{keys[0]} has no effect.'
        raise LuthierError(
            "Full fine-tuning has no LoRA",
            message,
            f'Leave out lora.{keys[0]}, or choose method = "lora".',
        )
