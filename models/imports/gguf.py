"""A model from a GGUF file: its weights dequantised to bfloat16 by transformers, its special tokens
set right.

GGUF files are often wrong about the token that ends an answer or the one that pads: what the file
says is held against its own chat template, and whatever is odd becomes a warning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from jobs.luthier_error import LuthierError
from models.bounds import bounded
from models.card import Card
from models.gguf_file import GgufFile
from models.imports.copying import check_space
from models.imports.gguf_reading import parse_once
from models.imports.progress import ByteProgress

_PADDING = ("<|finetune_right_pad_id|>", "<pad>", "<|pad|>", "[PAD]", "<|endoftext|>", "<unk>")
_MARK = "Qword"
_BYTES_PER_WEIGHT = 2  # bfloat16
_IDS = ("bos_token_id", "eos_token_id", "eot_token_id", "padding_token_id", "unknown_token_id")


@dataclass
class Contents:
    """What the file's header says. `ids` are token ids by their GGUF names; `quantised` the types
    of the matrices, the commonest first."""

    name: str
    architecture: str
    licence: str
    parameters: int
    context_length: int | None
    tokens: int
    template: str
    ids: dict[str, int]
    quantised: list[str]
    warnings: list[str] = field(default_factory=list)


def read_contents(path: Path) -> Contents:
    """The header of a GGUF file, checked for what cannot be. LuthierError if it is damaged, or one
    of several parts."""
    file = GgufFile(path)
    values = file.values
    types: dict[str, int] = {}
    for tensor in file.tensors.values():
        types[tensor.tensor_type.name] = types.get(tensor.tensor_type.name, 0) + int(
            tensor.n_elements
        )
    architecture = str(values.get("general.architecture", "?"))
    tokens = values.get("tokenizer.ggml.tokens", [])
    contents = Contents(
        name=str(values.get("general.name") or path.stem),
        architecture=architecture,
        licence=str(values.get("general.license") or ""),
        parameters=sum(types.values()),
        context_length=_number(values.get(f"{architecture}.context_length")),
        tokens=len(tokens),
        template=file.template,
        ids={
            name: int(values[f"tokenizer.ggml.{name}"])
            for name in _IDS
            if f"tokenizer.ggml.{name}" in values
        },
        quantised=[
            name
            for name, _ in sorted(types.items(), key=lambda item: -item[1])
            if name not in ("F32", "F16", "BF16")
        ],
    )
    _check_contents(contents)
    return contents


def convert(path: Path, folder: Path, progress: ByteProgress) -> Card:
    """Dequantise the file into a model directory. LuthierError for what transformers cannot read;
    Stopped when asked to stop."""
    contents = read_contents(path)
    check_space(folder, contents.parameters * _BYTES_PER_WEIGHT)
    _check_memory(contents)
    progress.begin("dequantising the weights", 0)
    parse_once()
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
        model = AutoModelForCausalLM.from_pretrained(
            str(path.parent),
            gguf_file=path.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
        )
    except (ValueError, NotImplementedError, KeyError) as error:
        message = (
            f"transformers cannot read {path.name} (architecture {contents.architecture}):"
            f" {_first_line(error)}"
        )
        raise LuthierError(
            "GGUF file that transformers cannot read",
            message,
            "Import the original model instead, from the hub or a folder.",
        ) from error
    progress.check()
    _check_weights(model, contents, path)
    set_special_tokens(tokenizer, model, contents)
    progress.begin("writing the model", 0)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    if contents.quantised:
        contents.warnings.append(
            f"Its weights were rounded to {contents.quantised[0]}: they are close to the original"
            " model's, but not equal."
        )
    return Card(
        title=contents.name, source=str(path), license=contents.licence, warnings=contents.warnings
    )


def set_special_tokens(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, contents: Contents
) -> None:
    """Have tokenizer, config and generation config agree on the tokens that begin, end and pad;
    adds to `contents.warnings`."""
    ids, warnings = contents.ids, contents.warnings
    for name, attribute in (("bos_token_id", "bos_token"), ("eos_token_id", "eos_token")):
        if name in ids:
            setattr(tokenizer, attribute, tokenizer.convert_ids_to_tokens(ids[name]))
    stops = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    opens, ends = _turn_marks(tokenizer, warnings)
    if ends is not None and ends not in stops:
        stated_end = "none" if not stops else repr(tokenizer.convert_ids_to_tokens(stops[0]))
        warnings.append(
            f"It lists {stated_end} as the token that ends an answer, but its chat template ends"
            f" answers with {tokenizer.convert_ids_to_tokens(ends)!r}."
        )
        stops = [ends, *(stop for stop in stops if stop != opens)]
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(ends)
    if "eot_token_id" in ids and ids["eot_token_id"] not in (*stops, opens):
        stops.append(ids["eot_token_id"])
    if not stops:
        warnings.append(
            "It lists no token that ends an answer, so answers run on until they are cut off."
        )
    pad = _padding(tokenizer, ids.get("padding_token_id"), stops, warnings)
    if pad is not None:
        tokenizer.pad_token = pad
    # it would strip spaces before punctuation: a WordPiece rule
    tokenizer.clean_up_tokenization_spaces = False
    tokenizer.model_max_length = contents.context_length or tokenizer.model_max_length
    for config in (model.config, model.generation_config):
        config.bos_token_id = tokenizer.bos_token_id
        config.eos_token_id = stops if len(stops) > 1 else next(iter(stops), None)
        config.pad_token_id = tokenizer.pad_token_id


def _turn_marks(
    tokenizer: PreTrainedTokenizerBase, warnings: list[str]
) -> tuple[int | None, int | None]:
    """The special tokens that open the first turn and that end an answer, as the chat template
    writes them."""
    if not tokenizer.chat_template:
        return None, None
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": _MARK}]
    try:
        with bounded():
            text = str(tokenizer.apply_chat_template(messages, tokenize=False))
    except Exception as error:  # noqa: BLE001 - a template is a program of somebody else's, and may raise anything
        warnings.append(f"Its chat template fails: {_first_line(error)}")
        return None, None
    special = set(tokenizer.all_special_ids) | {
        int(number) for number, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    before, _, after = text.rpartition(_MARK)
    first = [
        token for token in tokenizer.encode(before, add_special_tokens=False) if token in special
    ]
    last = [
        token for token in tokenizer.encode(after, add_special_tokens=False) if token in special
    ]
    if not last:
        warnings.append("Its chat template ends an answer with no special token.")
    return (first[0] if first else None), (last[0] if last else None)


def _padding(
    tokenizer: PreTrainedTokenizerBase,
    stated_padding: int | None,
    stops: list[int],
    warnings: list[str],
) -> str | None:
    """A token to pad with that ends no answer: one that does would be left out of the loss, and
    never be learnt."""
    if stated_padding is not None and stated_padding not in stops:
        return str(tokenizer.convert_ids_to_tokens(stated_padding))
    vocabulary = tokenizer.get_vocab()
    padding = next(
        (token for token in _PADDING if token in vocabulary and vocabulary[token] not in stops),
        None,
    )
    if stated_padding is not None:
        consequence = f"{padding!r} is used" if padding else "training needs another one"
        warnings.append(
            f"It pads with {tokenizer.convert_ids_to_tokens(stated_padding)!r}, which also ends"
            " answers:"
            f" {consequence}."
        )
    elif padding is None:
        warnings.append("It lists no padding token.")
    return padding


def _check_contents(contents: Contents) -> None:
    if not contents.tokens:
        raise LuthierError(
            "No tokenizer",
            "The GGUF file contains no tokens.",
            "Use a file that was made from a complete model.",
        )
    wrong = next(
        (name for name, number in contents.ids.items() if not 0 <= number < contents.tokens), None
    )
    if wrong is not None:
        message = f"Its {wrong} is {contents.ids[wrong]}, and it has {contents.tokens} tokens."
        raise LuthierError(
            "A token that does not exist",
            message,
            "Use another file of this model, or repair this one with gguf-set-metadata.",
        )
    if not contents.template:
        contents.warnings.append(
            "It has no chat template, so you can neither train it on conversations nor chat with"
            " it as it is."
        )


def _check_weights(model: PreTrainedModel, contents: Contents, path: Path) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    if rows < contents.tokens:
        message = f"{path.name} has {contents.tokens} tokens but only {rows} embeddings."
        raise LuthierError(
            "The tokenizer is larger than the model", message, "Use another file of this model."
        )
    broken = next(
        (
            name
            for name, weight in model.named_parameters()
            if not bool(torch.isfinite(weight).all())
        ),
        None,
    )
    if broken is not None:
        raise LuthierError(
            "Damaged weights",
            f"{broken} in {path.name} contains values that are not numbers.",
            "Download it again.",
        )


def _check_memory(contents: Contents) -> None:
    """LuthierError before the machine begins to swap: the whole model is in memory for a while."""
    needed = contents.parameters * _BYTES_PER_WEIGHT
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        return
    if free < needed:
        message = (
            f"Dequantising takes {needed / 1e9:.1f} GB of memory, but only {free / 1e9:.1f} GB are"
            " free."
        )
        raise LuthierError(
            "Not enough memory",
            message,
            "Import the original model instead, from the hub or a folder.",
        )


def _number(value: Any) -> int | None:
    return int(value) if isinstance(value, int) and value > 0 else None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0].rstrip(".") + "."
