"""GGUF files that are broken on purpose, each in one way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy

WRONG_TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant]"


def rewritten(
    source: Path,
    out: Path,
    values: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Any] | None = None,
) -> Path:
    """A copy with other values of the header and other tensors (as 32 bits, rounded to the type
    that they had); None leaves out."""
    values, tensors = values or {}, tensors or {}
    reader = gguf.GGUFReader(str(source))
    writer = gguf.GGUFWriter(str(out), str(reader.fields["general.architecture"].contents()))
    for name, entry in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = values.get(name, entry.contents())
        if value is not None:
            kind = entry.types[0]
            within = entry.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, value, kind, sub_type=within)
    for tensor in reader.tensors:
        data = tensor.data
        if tensor.name in tensors:
            if tensors[tensor.name] is None:
                continue
            data = gguf.quants.quantize(tensors[tensor.name], tensor.tensor_type)
        shape = list(reversed(tensor.shape.tolist()))
        is_raw = data.dtype == numpy.uint8
        writer.add_tensor(
            tensor.name, data, None if is_raw else shape, raw_dtype=tensor.tensor_type
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def values_of(source: Path, name: str) -> Any:
    return gguf.GGUFReader(str(source)).fields[name].contents()


def tensor_of(source: Path, name: str) -> numpy.ndarray[Any, Any]:
    tensor = next(t for t in gguf.GGUFReader(str(source)).tensors if t.name == name)
    values: numpy.ndarray[Any, Any] = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    return values


def wrong_merges(source: Path, out: Path) -> Path:
    """The first hundred merges in another order."""
    merges = list(values_of(source, "tokenizer.ggml.merges"))
    changed = [*reversed(merges[:100]), *merges[100:]]
    return rewritten(source, out, {"tokenizer.ggml.merges": changed})


def no_merges(source: Path, out: Path) -> Path:
    """As llama.cpp's converter writes it that takes a tokenizer for one of SentencePiece."""
    changed = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.merges": None}
    return rewritten(source, out, changed)


def swapped_template(source: Path, out: Path) -> Path:
    return rewritten(source, out, {"tokenizer.chat_template": WRONG_TEMPLATE})


def missing_bos(source: Path, out: Path) -> Path:
    return rewritten(source, out, {"tokenizer.ggml.bos_token_id": None})


def other_stop(source: Path, out: Path) -> Path:
    """The end of a sequence is its beginning, as in the built-in model's own file."""
    bos = values_of(source, "tokenizer.ggml.bos_token_id")
    return rewritten(source, out, {"tokenizer.ggml.eos_token_id": bos})


def other_splitting(source: Path, out: Path) -> Path:
    return rewritten(source, out, {"tokenizer.ggml.pre": "llama-bpe"})


def scale_off(source: Path, out: Path, layer: int = 1, factor: float = 1.1) -> Path:
    """One tensor of a layer, by a factor."""
    name = f"blk.{layer}.ffn_down.weight"
    return rewritten(source, out, tensors={name: factor * tensor_of(source, name)})


def lost_head(source: Path, out: Path) -> Path:
    return rewritten(source, out, tensors={"output.weight": None})


BREAKS = {
    "wrong merges": (wrong_merges, "tokenizer, merges"),
    "no merges": (no_merges, "tokenizer, merges"),
    "swapped template": (swapped_template, "chat template"),
    "missing bos": (missing_bos, "special tokens"),
    "another end of a sequence": (other_stop, "special tokens"),
    "another splitting": (other_splitting, "tokenizer, splitting"),
    "one layer's scale off by a tenth": (scale_off, "weights"),
}
"""Of any model; a lost head is of one that has a head of its own."""
