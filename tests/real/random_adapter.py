"""A LoRA adapter in PEFT's layout with random weights, written without torch."""

from __future__ import annotations

import json
import random
import struct
from array import array
from pathlib import Path


def write_random_adapter(
    directory: Path,
    base: Path,
    rank: int = 8,
    seed: int = 1,
    width: int | None = None,
    strength: float = 0.1,
) -> Path:
    """An adapter on q_proj and v_proj of every layer of a Llama-like model; strong enough to change
    every answer.

    `width` makes it one of another model: the number of inputs it expects. With `strength` 0 it
    changes nothing.
    """
    config = json.loads((base / "config.json").read_text())
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    outputs = {"q_proj": hidden, "v_proj": hidden * config["num_key_value_heads"] // heads}
    dice = random.Random(seed)
    tensors: dict[str, tuple[tuple[int, int], float]] = {}
    for layer in range(config["num_hidden_layers"]):
        for module, output in outputs.items():
            name = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            tensors[f"{name}.lora_A.weight"] = ((rank, width or hidden), 0.1)
            tensors[f"{name}.lora_B.weight"] = ((output, rank), strength)
    header: dict[str, object] = {}
    numbers = array("f")
    for name, ((rows, columns), deviation) in tensors.items():
        start = 4 * len(numbers)
        numbers.extend(dice.gauss(0.0, deviation) for _ in range(rows * columns))
        header[name] = {
            "dtype": "F32",
            "shape": [rows, columns],
            "data_offsets": [start, 4 * len(numbers)],
        }
    text = json.dumps(header).encode()
    directory.mkdir(parents=True)
    (directory / "adapter_model.safetensors").write_bytes(
        struct.pack("<Q", len(text)) + text + numbers.tobytes()
    )
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(outputs),
    }
    (directory / "adapter_config.json").write_text(json.dumps(settings))
    return directory
