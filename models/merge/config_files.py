"""What lies beside a merged model's weights: config, tokenizer, chat template, generation config,
licence."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jobs.files import write_json
from jobs.luthier_error import LuthierError
from models.folder import CONFIG_FILE, GENERATION_CONFIG_FILE, ModelFolder
from models.merge.plan import MergePlan
from models.merge.tensor_recipes import Piece

INDEX = "model.safetensors.index.json"
_WEIGHTS = {
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".gguf",
    ".h5",
    ".msgpack",
    ".onnx",
    ".ot",
    ".npz",
}
# Files of the base that would say something untrue of the merged model, or that are made anew.
_NOT_COPIED = {
    "README.md",
    "card.json",
    "merge.json",
    "certificate.json",
    "adapter_config.json",
    INDEX,
    "pytorch_model.bin.index.json",
}


def copy_companions(base: Path, trained: Path, folder: Path) -> None:
    """Copy what belongs to the model: the base's files, and tokenizer and chat template of what was
    trained, the folder `own`, where it brings its own."""
    for path in sorted(base.iterdir()):
        if path.name.startswith(".") or path.name in _NOT_COPIED or path.suffix in _WEIGHTS:
            continue
        if path.is_file():
            shutil.copyfile(path, folder / path.name)
        elif path.name == "additional_chat_templates":
            shutil.copytree(path, folder / path.name)
    if ModelFolder(trained).has_tokenizer:
        for old in ModelFolder(folder).tokenizer_files:
            (shutil.rmtree if old.is_dir() else Path.unlink)(old)
        for path in ModelFolder(trained).tokenizer_files:
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, folder / path.name)
    elif (trained / "chat_template.jinja").is_file():
        shutil.copyfile(trained / "chat_template.jinja", folder / "chat_template.jinja")


def write_config(plan: MergePlan, folder: Path) -> None:
    """The base's config with what the merge changed: tying, the size of the vocabulary, the type of
    the weights."""
    config = copy.deepcopy(plan.config)
    places = _parts(config)
    if plan.tied is not None:
        for section in places:
            if section is config or "tie_word_embeddings" in section:
                section["tie_word_embeddings"] = plan.tied
    if plan.vocabulary is not None:
        set_vocabulary_size(config, plan.vocabulary)
    if plan.dtype is not None:
        for section in places:
            for key in ("dtype", "torch_dtype"):
                if key in section or (
                    key == "dtype" and section is config and "torch_dtype" not in section
                ):
                    section[key] = plan.dtype
    write_json(folder / "config.json", config)


def set_vocabulary_size(config: dict[str, Any], size: int) -> None:
    """Have a model's config name another number of embeddings wherever it names one."""
    parts = _parts(config)
    for part in parts:
        if "vocab_size" in part or len(parts) == 1:
            part["vocab_size"] = size


def _parts(config: dict[str, Any]) -> list[dict[str, Any]]:
    """A config, and within it that of the language model."""
    text = config.get("text_config")
    return [config, text] if isinstance(text, dict) else [config]


def write_index(plan: MergePlan, folder: Path) -> None:
    """The index of a model in several files."""
    if len(plan.files) > 1:
        where = {
            piece.name: name
            for name, pieces in plan.files.items()
            for piece in pieces
            if not piece.dropped
        }
        write_json(
            folder / INDEX,
            {
                "metadata": {"total_size": plan.written_bytes},
                "weight_map": dict(sorted(where.items())),
            },
        )


def write_stops(folder: Path, trained: Iterable[int]) -> list[int]:
    """Have the generation config name every token that ends an answer: those it has, and the
    trained ones. Returns them all."""
    path = folder / GENERATION_CONFIG_FILE
    model = ModelFolder(folder)
    generation, listed = dict(model.generation_config), model.generation_stops
    config = model.config if (folder / CONFIG_FILE).is_file() else {}
    stops = list(dict.fromkeys([*listed, *sorted(int(token) for token in trained)]))
    if (stops and stops != listed) or not path.is_file():
        for key in ("bos_token_id", "pad_token_id"):
            if key not in generation and config.get(key) is not None:
                generation[key] = config[key]
        # else transformers would replace it by what config.json says
        generation.pop("_from_model_config", None)
        if stops:
            generation["eos_token_id"] = stops if len(stops) > 1 else stops[0]
        write_json(path, generation)
    return stops


def check_vocabulary(plan: MergePlan, folder: Path) -> None:
    """LuthierError if the adapter brings a tokenizer with tokens that the merged model has no
    embedding for."""
    if not (plan.adapter.directory / "tokenizer.json").is_file():
        return
    ids = ModelFolder(folder).token_ids.values()
    rows = _embedding_rows(plan.pieces)
    if rows is not None and ids and max(ids) >= rows:
        raise LuthierError(
            "The tokenizer is larger than the model",
            f"The adapter's tokenizer has a token {max(ids)}, but the embedding has only {rows}"
            " rows.",
            "Save the adapter with its resized embedding: save_pretrained(...,"
            " save_embedding_layers=True).",
        )


def _embedding_rows(pieces: Iterable[Piece]) -> int | None:
    from models.merge.embeddings import is_input

    row_counts = (
        piece.shape[0]
        for piece in pieces
        if is_input(piece.name.removesuffix(".weight")) and len(piece.shape) == 2
    )
    return next(row_counts, None)
