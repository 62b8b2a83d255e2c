"""AWQ and GPTQ by llm-compressor's own recipes: `PYTHON -I llmcompressor_script.py MODEL OUT KIND
SAMPLES`.

It runs in an interpreter that has llmcompressor and not Luthier, so it imports nothing of
Luthier's.
"""

import itertools
import json
import shutil
import sys
from pathlib import Path
from typing import Any

_CONVERSATIONS, _LONGEST = 128, 2048  # what the recipes' authors calibrate with
_GROUPS = (128, 64, 32)
_HEAD = "lm_head"
_TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "chat_template*", "vocab*", "merges*")


def main(folder: str, out: str, kind: str, samples: str) -> None:
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.awq import AWQModifier
    from llmcompressor.modifiers.gptq import GPTQModifier
    from transformers import AutoModelForCausalLM

    if not torch.accelerator.is_available():  # AWQ pins memory for one, and fails without
        torch.Tensor.pin_memory = lambda tensor, *_: tensor
    with Path(samples).open(encoding="utf-8") as lines:
        rows = [
            json.loads(line)["input_ids"][:_LONGEST]
            for line in itertools.islice(lines, _CONVERSATIONS)
        ]
    data = Dataset.from_list([{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in rows])
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, local_files_only=True, use_safetensors=True
    )
    modifier, scheme = {"awq": (AWQModifier, "W4A16_ASYM"), "gptq": (GPTQModifier, "W4A16")}[kind]
    groups = {"group_0": _fitting(scheme, model)}
    oneshot(
        model=model,
        dataset=data,
        recipe=[modifier(config_groups=groups, ignore=[_HEAD])],
        max_seq_length=_LONGEST,
        num_calibration_samples=len(rows),
    )
    model.save_pretrained(out, save_compressed=True)
    for pattern in _TOKENIZER_FILES:
        for path in Path(folder).glob(pattern):
            if path.is_file():
                shutil.copy(path, out)


def _fitting(name: str, model: Any) -> Any:
    """The preset, with the largest usual group of weights that divides all of this model's."""
    from compressed_tensors.quantization import preset_name_to_scheme

    scheme = preset_name_to_scheme(name, ["Linear"])
    widths = [
        module.in_features
        for path, module in model.named_modules()
        if hasattr(module, "in_features") and not path.endswith(_HEAD)
    ]
    sizes = [size for size in _GROUPS if all(width % size == 0 for width in widths)]
    if not sizes:
        sys.exit(f"The model's matrices are not of whole groups of {_GROUPS[-1]} weights.")
    scheme.weights.group_size = sizes[0]
    return scheme


if __name__ == "__main__":
    main(*sys.argv[1:])
