"""Input and output embeddings: which tensors they are, and whether one tensor can still be both
after training.

A tied model has one tensor for both. Training may part them: LoRA on one of the two, or one of them
saved as a whole. PEFT's own merge then changes the shared tensor and so the other side too; Luthier
writes both and says so in the config, which is what was trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.merge.adapter_tensors import ModuleParts, refusal
from models.merge.tensor_recipes import Lora, Make
from models.weights import TensorEntry

_INPUTS = ("embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings")
_OUTPUTS = ("lm_head", "embed_out", "output")


@dataclass(frozen=True)
class Embeddings:
    """The names of the modules. `tied`: one tensor is both; `output_in_base`: the base's weights
    have the output's name too."""

    input: str
    output: str
    tied: bool
    output_in_base: bool


def is_input(module: str) -> bool:
    return module.rpartition(".")[2] in _INPUTS


def is_output(module: str) -> bool:
    return module.rpartition(".")[2] in _OUTPUTS


def find_embeddings(
    config: dict[str, Any], tensors: dict[str, TensorEntry], modules: dict[str, ModuleParts]
) -> Embeddings | None:
    """The embeddings of a base model if the adapter touches one of them, else None. LuthierError if
    it does and they are not found."""
    touched = [module for module in modules if is_input(module) or is_output(module)]
    if not touched:
        return None
    inputs = sorted(
        (
            name.removesuffix(".weight")
            for name in tensors
            if name.endswith(".weight") and is_input(name[:-7])
        ),
        key=len,
    )
    outputs = sorted(
        (
            name.removesuffix(".weight")
            for name in tensors
            if name.endswith(".weight") and is_output(name[:-7])
        ),
        key=len,
    )
    if not inputs:
        raise refusal(
            modules[touched[0]].any_entry().name,
            "the base has no input embedding of a known name",
            "Luthier cannot merge it yet.",
        )
    flag = tie_flag(config)
    tied_name = next(
        (module for module in touched if is_output(module)),
        "embed_out" if inputs[0].endswith("embed_in") else "lm_head",
    )
    if outputs:
        tied = flag is True and tensors[f"{inputs[0]}.weight"].same_bytes(
            tensors[f"{outputs[0]}.weight"]
        )
        return Embeddings(inputs[0], outputs[0], tied, output_in_base=True)
    if flag is False:
        raise refusal(
            f"{tied_name}.weight",
            "the base's config says that it has its own, but its weights do not contain it",
            "Copy the model again.",
        )
    return Embeddings(inputs[0], tied_name, tied=True, output_in_base=False)


def tie_flag(config: dict[str, Any]) -> bool | None:
    """What a model's config says of tying, None if nothing."""
    text = config.get("text_config")
    flag = config.get(
        "tie_word_embeddings", text.get("tie_word_embeddings") if isinstance(text, dict) else None
    )
    return flag if isinstance(flag, bool) else None


def tied_source(parts: ModuleParts | None, saved: bool, base: TensorEntry) -> TensorEntry:
    """The tensor that both sides of a tied model began from: the base's, or what a resize before
    training made of it.

    `saved`: the input embedding was trained as a whole, so that its "weight" is no longer what the
    output began from.
    """
    if parts is None:
        return base
    return parts.frozen.get("weight") or (base if saved else parts.saved.get("weight", base))


def same(first: Make, other: Make) -> bool:
    """Whether the two sides of a tied model are still equal, so that one tensor can go on being
    both."""
    if (first.lora is None) != (other.lora is None) or (first.rows is None) != (other.rows is None):
        return False
    if (
        first.rows
        and other.rows
        and not (
            first.rows.indices == other.rows.indices
            and first.rows.values.same_bytes(other.rows.values)
        )
    ):
        return False
    if first.lora and other.lora and not _same_change(first.lora, other.lora):
        return False
    return first.source.same_bytes(other.source)


def _same_change(embedding: Lora, head: Lora) -> bool:
    """Whether an embedding's LoRA is the head's, seen from the other side: what PEFT's
    ensure_weight_tying makes."""
    if (
        embedding.magnitude
        or head.magnitude
        or embedding.scale != head.scale
        or embedding.transposed == head.transposed
    ):
        return False
    return _transposed(embedding.b) == _plain(head.a) and _transposed(embedding.a) == _plain(head.b)


def _plain(entry: TensorEntry) -> bytes:
    with entry.file.open("rb") as file:
        file.seek(entry.offset)
        return file.read(entry.size)


def _transposed(entry: TensorEntry) -> bytes:
    """The bytes of a matrix with rows and columns exchanged."""
    rows, columns = entry.shape
    numbers = memoryview(_plain(entry)).cast("I" if entry.dtype == "F32" else "H")
    assert len(numbers) == rows * columns
    return b"".join(numbers[column::columns].tobytes() for column in range(columns))
