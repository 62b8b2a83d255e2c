"""What an adapter's file holds, sorted by the module it belongs to."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.luthier_error import LuthierError
from models.adapters import Adapter
from models.weights import TensorEntry, tensor_entries

FLOATS = ("F32", "BF16", "F16")
_PREFIX = "base_model.model."
# How PEFT ends the names of its tensors -> the part of a module they are. None: a frozen copy that
# says nothing.
_ENDINGS = (
    (".lora_A.weight", "lora_a"),
    (".lora_B.weight", "lora_b"),
    (".lora_B.bias", "lora_bias"),
    (".lora_embedding_A", "embedding_a"),
    (".lora_embedding_B", "embedding_b"),
    (".lora_magnitude_vector", "magnitude"),
    (".lora_magnitude_vector.weight", "magnitude"),
    (".token_adapter.trainable_tokens_delta", "rows"),
)
# Keys of adapter_config.json that do not change what its tensors mean, or that the plan heeds.
_UNDERSTOOD = {
    *(
        "alpha_pattern",
        "auto_mapping",
        "base_model_name_or_path",
        "bias",
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
    ),
    *(
        "exclude_modules",
        "fan_in_fan_out",
        "inference_mode",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
    ),
    *(
        "lora_alpha",
        "lora_bias",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "modules_to_save",
        "peft_type",
        "peft_version",
    ),
    *(
        "qalora_group_size",
        "r",
        "rank_pattern",
        "revision",
        "runtime_config",
        "target_modules",
        "target_parameters",
        "task_type",
        "trainable_token_indices",
    ),
    *("use_dora", "use_rslora", "velora_config"),
}
_PLAIN_INITIALISATIONS = ("true", "false", "gaussian", "orthogonal", "eva", "none")


@dataclass
class ModuleParts:
    """The tensors an adapter has for one module, `name` being the module's in the model.

    `saved` are parameters trained as a whole, `frozen` those that PEFT saved only because the
    module was wrapped or resized; both by parameter name ("weight", "bias").
    """

    name: str
    lora_a: TensorEntry | None = None
    lora_b: TensorEntry | None = None
    lora_bias: TensorEntry | None = None
    embedding_a: TensorEntry | None = None
    embedding_b: TensorEntry | None = None
    magnitude: TensorEntry | None = None
    rows: TensorEntry | None = None
    saved: dict[str, TensorEntry] = field(default_factory=dict)
    frozen: dict[str, TensorEntry] = field(default_factory=dict)

    def entries(self) -> Iterable[TensorEntry]:
        """All of them."""
        lora = (
            self.lora_a,
            self.lora_b,
            self.lora_bias,
            self.embedding_a,
            self.embedding_b,
            self.magnitude,
            self.rows,
        )
        return [
            entry
            for entry in (*lora, *self.saved.values(), *self.frozen.values())
            if entry is not None
        ]

    def any_entry(self) -> TensorEntry:
        return next(iter(self.entries()))


def adapter_parts(adapter: Adapter) -> dict[str, ModuleParts]:
    """The adapter's tensors by module. LuthierError, with the tensor's name, for what is no part of
    a LoRA adapter."""
    check_config(adapter.config, adapter.directory)
    modules: dict[str, ModuleParts] = {}
    for entry in tensor_entries(adapter.directory / "adapter_model.safetensors"):
        if not entry.name.startswith(_PREFIX):
            raise refusal(
                entry.name,
                f"its name does not begin with {_PREFIX!r}",
                "Save the adapter with PEFT's save_pretrained.",
            )
        if entry.dtype not in FLOATS:
            raise refusal(
                entry.name,
                f"it is {entry.dtype}, not one of {', '.join(FLOATS)}",
                "Save the adapter in one of those.",
            )
        _sort_in(modules, entry, entry.name.removeprefix(_PREFIX))
    if not modules:
        raise LuthierError(
            "Nothing to merge",
            f"{adapter.directory} contains no tensors.",
            "Give the folder that PEFT's save_pretrained wrote.",
        )
    for parts in modules.values():
        _check_pairs(parts)
    return modules


def _sort_in(modules: dict[str, ModuleParts], entry: TensorEntry, name: str) -> None:
    for ending, part in _ENDINGS:
        if name.endswith(ending):
            module = name.removesuffix(ending)
            setattr(modules.setdefault(module, ModuleParts(module)), part, entry)
            return
    if ".lora_" in name or ".token_adapter.trainable" in name:
        raise refusal(
            entry.name,
            "that is not the name of a part of a LoRA layer",
            "Luthier merges adapters as PEFT's save_pretrained writes them.",
        )
    module, _, parameter = name.rpartition(".")
    for wrapped in (".token_adapter.base_layer", ".base_layer", ".original_module"):
        if module.endswith(wrapped):
            module = module.removesuffix(wrapped)
            # bias="all" trains the bias inside the wrapped layer
            kind = "saved" if parameter == "bias" else "frozen"
            getattr(modules.setdefault(module, ModuleParts(module)), kind)[parameter] = entry
            return
    module = module.removesuffix(".modules_to_save")
    modules.setdefault(module, ModuleParts(module)).saved[parameter] = entry


def _check_pairs(parts: ModuleParts) -> None:
    for first, other, description in (
        (parts.lora_a, parts.lora_b, "lora_A and lora_B"),
        (parts.embedding_a, parts.embedding_b, "lora_embedding_A and lora_embedding_B"),
    ):
        if (first is None) != (other is None):
            raise refusal(
                (first or other or parts.any_entry()).name,
                f"{description} come in pairs, and the other one is missing",
                "The adapter is damaged.",
            )
    for entry in (parts.lora_a, parts.lora_b, parts.embedding_a, parts.embedding_b, parts.rows):
        if entry is not None and len(entry.shape) != 2:
            raise refusal(
                entry.name,
                f"it has the shape {list(entry.shape)}",
                "Luthier merges LoRA on linear layers and embeddings.",
            )
    needs_lora = next(
        (entry for entry in (parts.lora_bias, parts.magnitude) if entry is not None), None
    )
    if needs_lora is not None and parts.lora_a is None and parts.embedding_a is None:
        raise refusal(
            needs_lora.name, "it comes without lora_A and lora_B", "The adapter is damaged."
        )


def check_config(config: dict[str, Any], directory: Path) -> None:
    """LuthierError, with the option's name, if the config asks for what cannot be merged."""
    hint = (
        "Luthier merges only LoRA (on experts too), rsLoRA, DoRA, modules_to_save, biases and"
        " trained tokens."
    )
    unknown = sorted(key for key, value in config.items() if key not in _UNDERSTOOD and value)
    if unknown:
        raise LuthierError(
            "This adapter cannot be merged",
            f"{directory / 'adapter_config.json'} uses {', '.join(unknown)}.",
            hint,
        )
    initialisation = str(config.get("init_lora_weights", True)).lower()
    if initialisation not in _PLAIN_INITIALISATIONS:
        message = (
            f"Its init_lora_weights={initialisation!r} also changed the base model, and the"
            " adapter does not contain that change."
        )
        raise LuthierError(
            "This adapter cannot be merged",
            message,
            "Convert it with PEFT: save_pretrained(path_initial_model_for_weight_conversion=...).",
        )


def scaling(config: dict[str, Any], module: str, rank: int) -> float:
    """The factor before B@A for a module. LuthierError if the config speaks of another rank than
    the tensor has."""
    expected = int(_of_pattern(config.get("rank_pattern") or {}, module, config["r"]))
    if rank != expected:
        raise refusal(
            f"{module}.lora_A",
            f"its rank is {rank}, but adapter_config.json says {expected}",
            "The adapter is damaged.",
        )
    alpha = float(
        _of_pattern(config.get("alpha_pattern") or {}, module, config.get("lora_alpha", 8))
    )
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def _of_pattern(patterns: dict[str, Any], module: str, default: Any) -> Any:
    """The value of the first pattern that matches the end of the module's name, as PEFT's
    get_pattern_key finds it."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return patterns.get(module, default)


def refusal(tensor: str, reason: str, hint: str) -> LuthierError:
    return LuthierError("This cannot be merged", f"{tensor}: {reason}.", hint)
