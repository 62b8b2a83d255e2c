"""Write a model's folder as a GGUF file with the gguf package: `python -P -m
models.export.gguf_writer FOLDER OUT KIND`.

For the plain dense architectures and the byte-pair tokenizers whose splitting llama.cpp names; the
rest is refused, and llama.cpp's own converter does it. One tensor is in memory at a time.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy
from gguf import GGMLQuantizationType as Type
from safetensors import safe_open

from jobs import foreign_json
from jobs.luthier_error import LuthierError
from models.export.tokenizer_splitting import splitting
from models.folder import ModelFolder
from models.weights import weight_files

_ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
}
_FILE_TYPES = {
    "f32": (Type.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (Type.F16, gguf.LlamaFileType.MOSTLY_F16),
    "bf16": (Type.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    "q8_0": (Type.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (Type.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
    "q4_1": (Type.Q4_1, gguf.LlamaFileType.MOSTLY_Q4_1),
    "q5_0": (Type.Q5_0, gguf.LlamaFileType.MOSTLY_Q5_0),
    "q5_1": (Type.Q5_1, gguf.LlamaFileType.MOSTLY_Q5_1),
}
_EMBEDDINGS = ("token_embd.weight", "output.weight")
_PERMUTED = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}
_ROPE_FACTORS = "rope_freqs.weight"
_RMS_NORM_EPS = 1e-6  # what transformers takes, in all of these architectures, if a config has none


@dataclass(frozen=True)
class _Tensor:
    """A tensor as it will stand in the file: its name, its shape, its type there."""

    name: str
    source: str
    file: Path
    shape: tuple[int, ...]
    type: Type


def write(folder: Path, out: Path, kind: str) -> None:
    """LuthierError for a model that this cannot write as it is."""
    model = ModelFolder(folder)
    config = model.text_config
    weights_type, file_type = _FILE_TYPES[kind]
    architecture = _ARCHITECTURES[str(config["model_type"])]
    tensors = list(planned_tensors(folder, weights_type))
    factors = _rope_factors(config)
    writer = gguf.GGUFWriter(str(out), gguf.MODEL_ARCH_NAMES[architecture])
    _write_sizes(writer, config, str(model.shown_card.title or folder.name))
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _write_tokenizer(writer, folder, int(config["vocab_size"]))
    if factors is not None:
        writer.add_tensor_info(_ROPE_FACTORS, factors.shape, factors.dtype, factors.nbytes)
    for tensor in tensors:
        size = math.prod(gguf.quant_shape_to_byte_shape(tensor.shape, tensor.type))
        writer.add_tensor_info(
            tensor.name, tensor.shape, numpy.dtype(numpy.float32), size, tensor.type
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors)
    for tensor in tensors:
        values = trained_values(tensor.file, tensor.source, tensor.name, config)
        writer.write_tensor_data(gguf.quants.quantize(values, tensor.type))
    writer.close()


def planned_tensors(folder: Path, weights_type: Type) -> Iterator[_Tensor]:
    """Each tensor of a model, by the name and in the type that it has in a GGUF file. LuthierError
    for one that the architecture has no name for."""
    config = ModelFolder(folder).text_config
    names = gguf.get_tensor_name_map(
        _ARCHITECTURES[str(config["model_type"])], int(config["num_hidden_layers"])
    )
    tied = bool(config.get("tie_word_embeddings"))
    for file in weight_files(folder):
        with safe_open(str(file), framework="pt") as weights:
            for source in sorted(weights.keys()):
                if source.endswith("rotary_emb.inv_freq") or (tied and source == "lm_head.weight"):
                    continue
                name = names.get_name(source, try_suffixes=(".weight", ".bias"))
                if name is None:
                    raise LuthierError(
                        "A tensor without a name in GGUF",
                        f"{folder.name} has {source}, which GGUF files of its architecture lack.",
                        "Export it with llama.cpp's convert_hf_to_gguf.py.",
                    )
                shape = tuple(weights.get_slice(source).get_shape())
                yield _Tensor(name, source, file, shape, _type_of(name, shape, weights_type))


def _type_of(name: str, shape: Sequence[int], weights_type: Type) -> Type:
    """Vectors keep their precision, as llama.cpp has it; so do the embeddings, more or less, where
    the weights have fewer than eight bits."""
    if len(shape) == 1:
        return Type.F32
    if weights_type in (Type.F32, Type.F16, Type.BF16):
        return weights_type
    if shape[-1] % gguf.GGML_QUANT_SIZES[weights_type][0]:
        return Type.F16
    return Type.Q8_0 if name in _EMBEDDINGS else weights_type


def trained_values(
    file: Path, source: str, name: str, config: dict[str, Any]
) -> numpy.ndarray[Any, Any]:
    """A tensor in 32 bits, its rows in the order that GGUF has them."""
    with safe_open(str(file), framework="pt") as weights:
        values: numpy.ndarray[Any, Any] = weights.get_tensor(source).float().numpy()
    part = name.split(".")[-2]
    if _ARCHITECTURES[str(config["model_type"])] != gguf.MODEL_ARCH.LLAMA or part not in _PERMUTED:
        return values
    # llama.cpp turns neighbouring pairs of a head, transformers its two halves
    heads = int(config.get(_PERMUTED[part]) or config["num_attention_heads"])
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    in_pairs: numpy.ndarray[Any, Any] = halves.swapaxes(1, 2).reshape(values.shape)
    return in_pairs.copy()


def _write_sizes(writer: gguf.GGUFWriter, config: dict[str, Any], title: str) -> None:
    heads = int(config["num_attention_heads"])
    head = int(config.get("head_dim") or config["hidden_size"] // heads)
    writer.add_type("model")
    writer.add_name(title)
    writer.add_context_length(int(config["max_position_embeddings"]))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(heads)
    writer.add_head_count_kv(int(config.get("num_key_value_heads") or heads))
    writer.add_layer_norm_rms_eps(float(config.get("rms_norm_eps", _RMS_NORM_EPS)))
    writer.add_rope_freq_base(float(_rope(config).get("rope_theta", 10_000.0)))
    writer.add_rope_dimension_count(head)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_vocab_size(int(config["vocab_size"]))


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """How positions are turned, by either of the names that configs have for it."""
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return {"rope_theta": config.get("rope_theta", 10_000.0), **scaling}


def _rope_factors(config: dict[str, Any]) -> numpy.ndarray[Any, Any] | None:
    """What divides each frequency, by transformers' own function; None for plain positions."""
    rope = _rope(config)
    kind = str(rope.get("rope_type") or rope.get("type") or "default")
    if kind == "default":
        return None
    if kind != "llama3":
        raise LuthierError(
            "Positions that this cannot write",
            f"The model scales its positions by {kind!r}.",
            "Export it with llama.cpp's convert_hf_to_gguf.py.",
        )
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    settings = AutoConfig.for_model(**config)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](settings, device="cpu")
    head = 2 * len(scaled)
    plain = 1.0 / float(rope["rope_theta"]) ** (numpy.arange(0, head, 2) / head)
    factors: numpy.ndarray[Any, Any] = (plain / scaled.numpy()).astype(numpy.float32)
    return factors


def _write_tokenizer(writer: gguf.GGUFWriter, folder: Path, rows: int) -> None:
    """Tokens, merges, the tokens of a meaning of their own and the chat template."""
    from tokenizers import Tokenizer

    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitting(foreign_json.read_object(folder / "tokenizer.json")))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    added = tokenizer.get_added_tokens_decoder()
    texts = {number: text for text, number in tokenizer.get_vocab(with_added_tokens=True).items()}
    tokens, types = [], []
    for number in range(rows):
        tokens.append(texts.get(number, f"[PAD{number}]"))
        if number not in texts:
            types.append(gguf.TokenType.UNUSED)
        elif number not in added:
            types.append(gguf.TokenType.NORMAL)
        elif added[number].special:
            types.append(gguf.TokenType.CONTROL)
        else:
            types.append(gguf.TokenType.USER_DEFINED)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    gguf.SpecialVocab(folder, load_merges=True, n_vocab=rows).add_to_gguf(writer, quiet=True)


if __name__ == "__main__":
    try:
        write(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    except LuthierError as refusal:
        sys.exit(f"{refusal.message} {refusal.hint}")
