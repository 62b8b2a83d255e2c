"""A model from the hub: only the files that are needed, in parts that a later attempt goes on with,
each proved by its hash.

The client's own downloads begin a file anew in each process (huggingface_hub 1.33 gives its parts
random names), so the parts are kept here; the transfer itself, with its redirects and ranges, is
the client's http_get.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import ModelInfo, hf_hub_url
from huggingface_hub.file_download import http_get

from jobs.luthier_error import LuthierError
from models import hub
from models.card import Card
from models.imports import files
from models.imports.progress import ByteProgress, Stopped
from models.imports.source import Hub

_AT_ONCE = 4  # files
_SPARE = 64 << 20
_BLOCK = 4 << 20


@dataclass(frozen=True)
class RemoteFile:
    """`sha256` is of files in large storage, `git_sha1` (of the content under git's header) of the
    others."""

    name: str
    size: int
    sha256: str = ""
    git_sha1: str = ""

    @property
    def identity(self) -> str:
        return (self.sha256 or self.git_sha1 or "unknown")[:16]


@dataclass(frozen=True)
class Repository:
    """A repository at one commit."""

    source: Hub
    commit: str
    licence: str
    files: dict[str, RemoteFile]


def look_up(source: Hub, wait: Callable[[float], None]) -> Repository:
    """What the repository holds at its revision's commit."""
    client = hub.api()
    try:
        info = hub.again(
            lambda: client.model_info(
                source.repository, revision=source.revision or None, files_metadata=True
            ),
            wait,
        )
    except hub.HUB_ERRORS as error:
        raise hub.in_words(error, source.repository) from error
    remote_files = {}
    for sibling in info.siblings or []:
        sha256 = sibling.lfs.sha256 if sibling.lfs is not None else ""
        size = sibling.lfs.size if sibling.lfs is not None else sibling.size
        remote_files[sibling.rfilename] = RemoteFile(
            sibling.rfilename, int(size or 0), sha256, "" if sha256 else str(sibling.blob_id or "")
        )
    return Repository(source, str(info.sha), _licence(info), remote_files)


def download(repository: Repository, folder: Path, trust: bool, progress: ByteProgress) -> Card:
    """Fetch what is needed into `folder`, going on with what lies there. LuthierError in words;
    Stopped when asked to stop."""
    fetch = _Fetch(repository, folder, progress)
    names = set(repository.files)
    index = files.needs_index(names)
    progress.begin("reading the index", 0)
    text = (
        fetch.one(repository.files[index]).read_text(encoding="utf-8")
        if index is not None
        else None
    )
    names_to_fetch = files.companions(names)
    if "config.json" not in names and "adapter_config.json" not in names:
        hint = "Luthier imports chat models and adapters in the format of transformers."
        raise LuthierError(
            "Not a model",
            f"{repository.source} has neither config.json nor adapter_config.json.",
            hint,
        )
    pickled = (
        files.pickled_weights(names)
        if trust and not any(name.endswith(".safetensors") for name in names)
        else []
    )
    names_to_fetch += pickled or files.weights(names, text, str(repository.source))
    names_to_fetch += files.code(names) if trust else []
    fetch.all([repository.files[name] for name in dict.fromkeys(names_to_fetch)])
    warnings = [
        f"{name}: the model's own code, imported because you trust {repository.source.repository}"
        for name in names_to_fetch
        if name.endswith(".py")
    ]
    if files.code(names) and not trust:
        warnings.append(
            "The repository contains code, which Luthier did not import: it uses transformers'"
            " own class for this model."
        )
    return Card(
        title=repository.source.repository,
        source=str(repository.source),
        license=repository.licence,
        commit=repository.commit,
        warnings=warnings,
    )


def fetch(
    repository: Repository, names: Iterable[str], folder: Path, progress: ByteProgress
) -> None:
    """These files of it, each proved by its hash, continuing with what is in the folder."""
    _Fetch(repository, folder, progress).all([repository.files[name] for name in names])


class _Fetch:
    """Fetches files of one repository. A part is named after the hash of the file it will be, so
    that no two files are ever mixed."""

    def __init__(self, repository: Repository, folder: Path, progress: ByteProgress) -> None:
        self._repository = repository
        self._folder = folder
        self._progress = progress
        self._failed = threading.Event()
        self._headers = hub.headers()

    def all(self, remote_files: list[RemoteFile]) -> None:
        """All of them, four at a time, after a look at the disk."""
        there = sum(self._there(file) for file in remote_files)
        total = sum(file.size for file in remote_files)
        free = shutil.disk_usage(self._folder).free
        if free < total - there + _SPARE:
            message = (
                f"{self._repository.source} needs another {(total - there) / 1e9:.1f} GB, but"
                f" {self._folder.parent} has only {free / 1e9:.1f} GB free."
            )
            raise LuthierError(
                "Not enough disk space",
                message,
                "Free some space, or move LUTHIER_HOME to a larger disk.",
            )
        self._progress.begin("downloading", total, there)
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            tasks = [
                pool.submit(self._try, file)
                for file in sorted(remote_files, key=lambda file: -file.size)
            ]
        errors = [error for task in tasks if (error := task.exception()) is not None]
        if errors:
            raise next((error for error in errors if not isinstance(error, Stopped)), errors[0])

    def one(self, file: RemoteFile) -> Path:
        """A file of the folder, fetched if it is not there yet, its hash proved."""
        target, part = self._folder / file.name, self._part(file)
        if target.is_file():  # it has its name only once it was proved
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        for old in part.parent.glob(f".{target.name}.*.part"):
            if old != part:
                old.unlink()
        if file.size == 0:
            part.touch()
        for attempt in (1, 2):
            self._transfer(file, part)
            if _matches(part, file):
                part.rename(target)
                return target
            part.unlink()
            self._progress.add(-file.size)
            print(
                f"{file.name} arrived damaged.{' Downloading it again.' if attempt == 1 else ''}",
                flush=True,
            )
        raise LuthierError(
            "A file arrived damaged",
            f"{file.name} of {self._repository.source} had the wrong hash, twice.",
            "Is there a proxy on the way?",
        )

    def _try(self, file: RemoteFile) -> None:
        try:
            self.one(file)
        except BaseException:
            self._failed.set()
            raise

    def _transfer(self, file: RemoteFile, part: Path) -> None:
        """Bytes until there are as many as there should be."""
        url = hf_hub_url(
            self._repository.source.repository,
            file.name,
            revision=self._repository.commit,
            endpoint=hub.endpoint(),
        )
        before = self._there(file)

        def went_on() -> bool:
            nonlocal before
            now = self._there(file)
            before, grown = now, now > before
            return grown

        def attempt() -> None:
            there = self._there(file)
            if there > file.size:
                part.unlink()
                self._progress.add(-there)
                there = 0
            with _Part(part, self._arrived) as sink:
                http_get(
                    url, sink, resume_size=there, headers=self._headers, expected_size=file.size
                )

        if before == file.size and part.is_file():
            return
        try:
            hub.again(attempt, self._progress.wait, went_on)
        except hub.HUB_ERRORS as error:
            raise hub.in_words(error, self._repository.source.repository) from error

    def _arrived(self, count: int) -> None:
        if self._failed.is_set():
            raise Stopped
        self._progress.add(count)

    def _there(self, file: RemoteFile) -> int:
        for path in (self._folder / file.name, self._part(file)):
            with suppress(OSError):
                return path.stat().st_size
        return 0

    def _part(self, file: RemoteFile) -> Path:
        target = self._folder / file.name
        return target.with_name(f".{target.name}.{file.identity}.part")


class _Part(io.FileIO):
    """A part at its end; tells how many bytes are added to it, or taken from it where the server
    begins anew."""

    def __init__(self, path: Path, arrived: Callable[[int], None]) -> None:
        super().__init__(path, "r+" if path.exists() else "w+")
        self.seek(0, io.SEEK_END)
        self._arrived = arrived

    def write(self, data: bytes) -> int:  # type: ignore[override]
        view = memoryview(data)
        while view:
            view = view[super().write(view) :]
        self._arrived(len(data))
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        before = self.seek(0, io.SEEK_CUR)
        end = self.seek(0, io.SEEK_END)
        self.seek(before)
        left = super().truncate(size)
        self._arrived(left - end)
        return left


def _matches(path: Path, file: RemoteFile) -> bool:
    if path.stat().st_size != file.size:
        return False
    if not file.sha256 and not file.git_sha1:
        return True
    hasher = (
        hashlib.sha256()
        if file.sha256
        else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    )
    with path.open("rb") as opened:
        while block := opened.read(_BLOCK):
            hasher.update(block)
    return hasher.hexdigest() == (file.sha256 or file.git_sha1)


def _licence(info: ModelInfo) -> str:
    card = info.card_data
    licence_name = (card.get("license_name") or card.get("license")) if card is not None else None
    return str(licence_name or "")
