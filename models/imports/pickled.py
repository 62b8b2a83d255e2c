"""Pickled weights of a repository that the user trusts by name, made safetensors. torch reads them
with weights_only: no code runs."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoModelForCausalLM


def to_safetensors(folder: Path) -> None:
    """Write the model anew in place of its pickled files, tied weights once."""
    model = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype="auto", use_safetensors=False, weights_only=True, local_files_only=True
    )
    for path in folder.glob("pytorch_model*.bin*"):
        path.unlink()
    model.save_pretrained(str(folder))
