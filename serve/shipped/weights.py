"""A GGUF file's weights against the trained model's, tensor by tensor.

Rounding moves a tensor by what its type is coarse. How much that is for a tensor of this name is
measured on the base model, rounded in the same way: one scale that is off moves its tensor farther,
also where the probabilities of held-out turns hide it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from gguf import GGMLQuantizationType

from jobs.luthier_error import LuthierError
from models.certificate import Check
from models.export.gguf import OWN_ARCHITECTURES
from models.export.gguf_writer import planned_tensors, trained_values
from models.folder import ModelFolder
from models.gguf_file import GgufFile
from serve.certificate.agreement import at_most

GREEN, RED = 1.5, 2.0
_FINEST = 1e-3  # of a tensor's size: what 16 bits round by
_HEAD = "output.weight"


@dataclass(frozen=True)
class _Movement:
    """How far each tensor of a file is from a model's, in shares of the tensor's own size."""

    by_tensor: dict[str, float]
    missing: list[str]


def weight_checks(
    shipped: GgufFile, trained: Path | None, twin: GgufFile | None, base: Path
) -> list[Check]:
    """`trained` is the model that was exported, None where it is not here; `twin` the base in the
    same form. Nothing is said of an architecture whose names in GGUF are not known here."""
    if trained is None or not _is_known(trained):
        return []
    try:
        moved = _movement(shipped, trained)
        usual = _movement(twin, base).by_tensor if twin is not None and _is_known(base) else {}
    except LuthierError as error:
        return [Check("weights", "amber", f"{error.message} Luthier did not compare the weights.")]
    checks = [_head(moved)]
    missing = [tensor for tensor in moved.missing if tensor != _HEAD]
    if missing:
        lacks = f"{', '.join(missing[:3])}{f' and {len(missing) - 3} more' if missing[3:] else ''}"
        sentence = f"The file lacks {lacks}, or has it in another size."
        return [*checks, Check("weights", "red", sentence)]
    return [*checks, *tensor_checks(moved.by_tensor, usual)]


def _is_known(folder: Path) -> bool:
    return str(ModelFolder(folder).text_config.get("model_type")) in OWN_ARCHITECTURES


def _movement(file: GgufFile, folder: Path) -> _Movement:
    config = ModelFolder(folder).text_config
    by_tensor: dict[str, float] = {}
    missing = []
    for tensor in planned_tensors(folder, GGMLQuantizationType.F32):
        if tensor.name not in file.tensors:
            missing.append(tensor.name)
            continue
        values = trained_values(tensor.file, tensor.source, tensor.name, config)
        stored = file.tensor_values(tensor.name).reshape(-1)
        if stored.size != values.size:
            missing.append(tensor.name)
            continue
        size = _size(values)
        by_tensor[tensor.name] = _size(stored - values.reshape(-1)) / size if size else 0.0
    return _Movement(by_tensor, missing)


def _size(values: numpy.ndarray[Any, Any]) -> float:
    return float(numpy.linalg.norm(values.astype(numpy.float64, copy=False)))


def _head(moved: _Movement) -> Check:
    """A model with an output head of its own must ship it: llama.cpp takes the embedding in its
    place without a word."""
    lost = _HEAD in moved.missing
    if lost:
        sentence = (
            "The trained model has an output head of its own, which the file lacks: the program"
            " that runs it takes the embedding instead."
        )
    else:
        kind = "in the file" if _HEAD in moved.by_tensor else "the embedding, as in training"
        sentence = f"The output head is {kind}."
    return Check("output head", "red" if lost else "green", sentence, int(lost), 0, 0, "missing")


def tensor_checks(moved: Mapping[str, float], usual: Mapping[str, float]) -> list[Check]:
    """Each tensor's distance from the trained one beside what rounding does to the base's, both in
    shares of the tensor's size. Nothing where no tensor has both."""
    ratios = {
        tensor: share / max(usual[tensor], _FINEST)
        for tensor, share in moved.items()
        if tensor in usual
    }
    if not ratios:
        return []
    worst = max(ratios, key=lambda tensor: ratios[tensor])
    figure = ratios[worst]
    verdict = at_most(figure, GREEN, RED)
    far = f"{moved[worst]:.1%} away from the trained weights"
    sentence = (
        f"Each of {len(ratios)} tensors is as close to the trained weights as rounding leaves it."
        if verdict == "green"
        else f"{worst} is {far}, {figure:.1f} times what rounding the base's tensor makes: its"
        " values or its scale are others."
    )
    unit = "times the base's rounding"
    return [Check("weights", verdict, sentence, round(figure, 2), GREEN, RED, unit)]
