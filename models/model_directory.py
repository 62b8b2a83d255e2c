"""Which folders are models. Light: a shell that completes their names waits for it."""

from __future__ import annotations

from pathlib import Path


def is_model_directory(directory: Path) -> bool:
    """Whether it has what every model has: a config and safetensors weights."""
    return (directory / "config.json").is_file() and any(directory.glob("*.safetensors"))


def has_config(directory: Path) -> bool:
    """Whether there is a model at all: the built-in one may not be prepared yet."""
    return (directory / "config.json").is_file()
