"""LoRA's target modules: the layers of the base model that an adapter changes, by what a recipe's
`lora.targets` says. Light."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jobs.luthier_error import LuthierError
from models.merge.embeddings import is_input, is_output
from models.weights import tensor_shapes, weight_files

ALL_LINEAR = "all-linear"
"""Every linear layer but the head: the recipe's default, and PEFT's word for it."""

_UNSLOTH_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# How much of the base model stands in the message about targets that match nothing.
_LISTED = 12


def unsloth_targets(targets: str | list[str]) -> list[str]:
    """A recipe's `lora.targets` as Unsloth wants them: names, never "all-linear"."""
    return _UNSLOTH_LINEAR if isinstance(targets, str) else list(targets)


def is_target(name: str, targets: str | Sequence[str]) -> bool:
    """Whether LoRA is put on the matrices of this name. A target that names a layer
    ("layers.1.mlp.up_proj") counts in every layer: rather too much."""
    return isinstance(targets, str) or any(target.rpartition(".")[2] == name for target in targets)


def check_targets(targets: str | list[str], directory: Path) -> None:
    """LuthierError if one of the layers that LoRA is to change is none of the model's."""
    if isinstance(targets, str):
        return
    layers = linear_layers(directory)
    if not targets:
        raise LuthierError(
            "Nothing to train",
            "lora.targets is an empty list.",
            f"{_listed(layers)} Leave out lora.targets to train all of them.",
        )
    for target in targets:
        if not any(f".{layer}".endswith(f".{target}") for layer in layers):
            message = f"lora.targets: {target!r} is not a linear layer of the model in {directory}."
            raise LuthierError("No such layer", message, _listed(layers))


def linear_layers(directory: Path) -> list[str]:
    """The full names of the model's linear layers, from the headers of its weights."""
    shapes = {}
    for path in weight_files(directory):
        shapes.update(tensor_shapes(path))
    modules = [
        name.removesuffix(".weight")
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2
    ]
    return sorted(module for module in modules if not is_input(module))


def _listed(layers: list[str]) -> str:
    names = sorted({layer.rpartition(".")[2] for layer in layers if not is_output(layer)})
    ellipsis = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"Its linear layers are {', '.join(names[:_LISTED])}{ellipsis}."
