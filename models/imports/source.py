"""What an import is made from: a folder, a GGUF file, or a repository of the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from jobs.files import expanded
from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean_file
from models.hub_names import HUB, hub_name
from models.registry import valid_name

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_REVISION = re.compile(r"[\w][\w./-]{0,199}")


@dataclass(frozen=True)
class Folder:
    path: Path

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True)
class Gguf:
    path: Path

    @property
    def name(self) -> str:
        return self.path.stem


@dataclass(frozen=True)
class Hub:
    """`revision` is a branch, a tag or a commit; "" for the default branch."""

    repository: str
    revision: str = ""

    @property
    def name(self) -> str:
        return self.repository.partition("/")[2]

    def __str__(self) -> str:
        return f"{HUB}{self.repository}{f'@{self.revision}' if self.revision else ''}"


Source = Folder | Gguf | Hub


def parse_source(text: str) -> Source:
    """A folder, a .gguf file, or "hub:owner/name[@revision]". LuthierError if it is none of these,
    or is not there."""
    if text.startswith(HUB):
        repository, _, revision = text.removeprefix(HUB).partition("@")
        check_repository(repository)
        if revision and (not _REVISION.fullmatch(revision) or ".." in revision):
            raise LuthierError(
                "Not a revision",
                f"{revision!r} is not a branch, tag or commit.",
                "For example: hub:owner/name@main",
            )
        return Hub(repository, revision)
    path = expanded(text).absolute()
    if path.is_dir():
        return Folder(path)
    if path.is_file():
        with path.open("rb") as file:
            if file.read(4) == b"GGUF":
                return Gguf(path)
        raise LuthierError(
            "Not a model",
            f"{path} is neither a folder nor a GGUF file.",
            "Give the folder that holds config.json.",
        )
    repository = hub_name(text)
    if repository:
        raise LuthierError(
            "No such model",
            f"{text} is not on this machine.",
            f"If you mean the model on the hub, write {HUB}{repository}.",
        )
    raise LuthierError(
        "No such model",
        f"{path} does not exist.",
        f"{did_you_mean_file(path)}Give a folder, a GGUF file or hub:owner/name.",
    )


def check_repository(name: str) -> str:
    """`name` if it can name a repository of the hub. LuthierError if not."""
    if not _REPOSITORY.fullmatch(name) or ".." in name or "--" in name:
        raise LuthierError(
            "Not a repository's name",
            f"{name!r} is not of the form owner/name.",
            "For example: HuggingFaceTB/SmolLM2-135M-Instruct",
        )
    return name


def name_for(source: Source, name: str | None) -> str:
    """What the import will be called: as asked for, else after its source with odd characters made
    hyphens."""
    if name is not None:
        return valid_name(name)
    return valid_name(re.sub(r"[^A-Za-z0-9._-]+", "-", source.name).strip("-._")[:80])
