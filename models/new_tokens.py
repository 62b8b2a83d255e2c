"""The model that a training with new tokens began from: the base with a row more in its embeddings
for each of them. Heavy: for workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from models.folder import ModelFolder
from models.merge.config_files import INDEX, copy_companions, set_vocabulary_size, write_stops
from models.merge.embeddings import is_input, is_output
from models.weights import tensor_shapes, weight_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def new_tokens(base: Path, result: Path) -> list[int]:
    """The tokens that a run has given to its base, by what it left (an adapter or a model): those
    that it trained rows for."""
    trained = ModelFolder(result)
    if trained.is_adapter:
        listed = trained.adapter_config.get("trainable_token_indices") or []
        return sorted(next(iter(listed.values())) if isinstance(listed, dict) else listed)
    before, after = ModelFolder(base).vocabulary_size, trained.vocabulary_size
    return list(range(before or 0, after or 0))


def add_rows(model: PreTrainedModel, tokens: list[int]) -> None:
    """Have both embeddings of a model begin new tokens at the mean of those that it knows. Rows of
    a padded vocabulary are taken first."""
    if max(tokens) >= model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(max(tokens) + 1, mean_resizing=False)
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            _begin(layer.weight, tokens)


def write_grown(
    base: Path, result: Path, tokens: list[int], stop_ids: list[int], folder: Path
) -> Path:
    """That model in a new folder, with the tokenizer of `result`. Weight files without an embedding
    are links to the base's."""
    folder.mkdir()
    copy_companions(base, result, folder)
    for path in weight_files(base):
        if tokens and any(_embedding(name, shape) for name, shape in tensor_shapes(path).items()):
            with safe_open(path, framework="pt") as file:
                names = file.keys()  # no mapping: it cannot be iterated
                tensors = {name: _grown(name, file.get_tensor(name), tokens) for name in names}
            save_file(tensors, folder / path.name, metadata={"format": "pt"})
        else:
            (folder / path.name).symlink_to(path)
    if (base / INDEX).is_file():
        (folder / INDEX).write_bytes((base / INDEX).read_bytes())
    model = ModelFolder(base)
    config = model.config
    if tokens:
        set_vocabulary_size(config, max(model.vocabulary_size or 0, max(tokens) + 1))
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    write_stops(folder, stop_ids)
    return folder


def _grown(name: str, tensor: torch.Tensor, tokens: list[int]) -> torch.Tensor:
    if not _embedding(name, list(tensor.shape)):
        return tensor
    rows = max(tensor.shape[0], max(tokens) + 1)
    grown = torch.cat([tensor, tensor.new_zeros((rows - tensor.shape[0], *tensor.shape[1:]))])
    _begin(grown, tokens)
    return grown


def _begin(weight: torch.Tensor, tokens: list[int]) -> None:
    weight[tokens] = weight[: min(tokens)].mean(0, dtype=torch.float32).to(weight.dtype)


def _embedding(name: str, shape: list[int]) -> bool:
    module = name.removesuffix(".weight")
    return len(shape) == 2 and (is_input(module) or is_output(module))
