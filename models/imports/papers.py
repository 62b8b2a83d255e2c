"""What it takes to train a model of the hub again: its papers and, if it is one, the adapter. Not
light: for workers."""

from __future__ import annotations

from pathlib import Path

from jobs.luthier_error import LuthierError
from models.export.model_record import RECORD_FILE
from models.imports.hub import fetch, look_up
from models.imports.progress import ByteProgress
from models.imports.source import Hub

_PAPERS = (".json", ".toml", ".md", ".jinja", ".sig")
_ADAPTER = "adapter_model.safetensors"


def fetch_papers(source: Hub, folder: Path, progress: ByteProgress) -> None:
    """Into the folder, continuing with what is there. LuthierError in words, as when the hub is
    switched off, or if the repository is not an export of Luthier."""
    repository = look_up(source, progress.wait)
    if RECORD_FILE not in repository.files:
        raise LuthierError(
            "Not an export of Luthier",
            f"{source} has no {RECORD_FILE}, so it does not say how it was made.",
            "Only models that Luthier has pushed can be reproduced.",
        )
    names = [name for name in repository.files if name.endswith(_PAPERS) or name == _ADAPTER]
    folder.mkdir(exist_ok=True)
    fetch(repository, names, folder, progress)
