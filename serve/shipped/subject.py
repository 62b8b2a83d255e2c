"""What is certified as shipped. Light."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jobs.files import expanded
from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean_file
from models.folder import ModelFolder
from serve.endpoint_address import hosted_at, own_server_at

_FILES = (".gguf", ".safetensors", ".bin", ".pt")
Kind = Literal["gguf", "compressed-tensors", "folder", "server"]


@dataclass(frozen=True)
class Subject:
    """A file or folder by its path, or a server by its address or its name in config.toml."""

    kind: Kind
    name: str
    """The path or the address: what the chapter is about."""

    @property
    def path(self) -> Path:
        return Path(self.name)


def subject_named(text: str) -> Subject:
    """LuthierError if there is nothing of that name that can be certified."""
    path = expanded(text).absolute()
    is_word = "/" not in text and path.suffix.lower() not in _FILES
    if "://" in text or (is_word and not path.exists()):
        if own_server_at(text) is None:
            hosted_at(text, "a server that gives prompt log-probabilities")
        return Subject("server", text.rstrip("/"))
    if path.is_file() and path.suffix.lower() == ".gguf":
        return Subject("gguf", str(path))
    if path.is_dir():
        return Subject(_kind_of_folder(path), str(path))
    if path.is_file():
        raise LuthierError(
            "Not a model",
            f"{path.name} is neither a GGUF file nor a model's folder.",
            "Give a file.gguf, the folder that has config.json, or a server's address.",
        )
    raise LuthierError(
        "Nothing there", f"{path} does not exist.", did_you_mean_file(path) or "Check the path."
    )


def _kind_of_folder(path: Path) -> Kind:
    model = ModelFolder(path)
    if model.is_adapter:
        raise LuthierError(
            "An adapter, not a model",
            f"{path} is an adapter, which the run's own certificate covers.",
            "`luthier certify RUN` certifies the run's adapter and its merged model.",
        )
    quantisation = model.config.get("quantization_config")
    if quantisation is None:
        return "folder"
    method = quantisation.get("quant_method")
    if method != "compressed-tensors":
        raise LuthierError(
            "A quantisation that cannot be certified",
            f"{path.name} is quantised by {method}, which Luthier cannot do to the base model.",
            "Serve it, and certify the server: --shipped http://localhost:8000/v1",
        )
    return "compressed-tensors"
