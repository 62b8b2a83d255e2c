"""Which of transformers' attention implementations a model has. Heavy."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoConfig, AutoModelForCausalLM

_ANY = "eager"


def implementation(directory: Path, name: str) -> str:
    """torch's ("sdpa") where the model's class has it, else the one that each class has: gpt-oss'
    sinks are not in torch's. Other names stay as they are."""
    if name != "sdpa":
        return name
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    mapping = AutoModelForCausalLM._model_mapping
    if type(config) not in mapping:
        return name
    return name if getattr(mapping[type(config)], "_supports_sdpa", True) else _ANY
