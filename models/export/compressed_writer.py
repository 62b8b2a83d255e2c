"""Write a model's folder as compressed-tensors: `python -P -m models.export.compressed_writer
FOLDER OUT SCHEME_OR_CONFIG`.

Each weight is rounded to the nearest value that its scheme has, with the library's own functions
and no data. The scheme is one of the library's presets ("FP8_DYNAMIC"), or the folder of another
model whose quantization_config is followed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import (
    QuantizationConfig,
    QuantizationScheme,
    QuantizationStrategy,
    apply_quantization_config,
    preset_name_to_scheme,
)
from compressed_tensors.quantization.utils import calculate_qparams, is_module_quantized
from transformers import AutoModelForCausalLM

from jobs.luthier_error import LuthierError
from models.folder import ModelFolder

_HEAD = "lm_head"  # a tied one is the embedding, too


def write(folder: Path, out: Path, scheme: str) -> None:
    """LuthierError for a scheme that rounding to the nearest cannot make."""
    model = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=torch.bfloat16, local_files_only=True, use_safetensors=True
    )
    config = _config(scheme)
    apply_quantization_config(model, config)
    with torch.no_grad():
        for module in model.modules():
            if is_module_quantized(module):
                _set_scales(module)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(str(out))
    compressor.update_config(str(out))
    for path in ModelFolder(folder).tokenizer_files:
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, out / path.name)


def _config(scheme: str) -> QuantizationConfig:
    if Path(scheme).is_dir():
        stored = dict(ModelFolder(Path(scheme)).config["quantization_config"])
        stored.pop("quant_method", None)
        stored["quantization_status"] = "initialized"
        return QuantizationConfig.model_validate(stored)
    preset: QuantizationScheme = preset_name_to_scheme(scheme, ["Linear"])
    return QuantizationConfig(config_groups={"group_0": preset}, ignore=[_HEAD])


def _set_scales(module: Any) -> None:
    """From the smallest and the largest weight that share a scale."""
    arguments = module.quantization_scheme.weights
    weight = module.weight.float()
    match arguments.strategy:
        case QuantizationStrategy.CHANNEL:
            parts = weight
        case QuantizationStrategy.GROUP:
            parts = weight.unflatten(-1, (-1, arguments.group_size))
        case QuantizationStrategy.TENSOR:
            parts = weight.flatten()
        case _:
            raise LuthierError(
                "A scheme that this cannot write",
                f"Its weights share scales by {arguments.strategy.value}.",
                "Export it with llm-compressor.",
            )
    keep = arguments.strategy == QuantizationStrategy.CHANNEL
    lows, highs = parts.amin(-1, keepdim=keep), parts.amax(-1, keepdim=keep)
    scale, zero_point = calculate_qparams(lows, highs, arguments)
    module.weight_scale.data.copy_(scale.reshape(module.weight_scale.shape))
    if getattr(module, "weight_zero_point", None) is not None:
        module.weight_zero_point.data.copy_(zero_point.reshape(module.weight_zero_point.shape))


if __name__ == "__main__":
    try:
        write(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    except LuthierError as refusal:
        sys.exit(f"{refusal.message} {refusal.hint}")
