"""A parcel to the hub: large files first, each only if the hub lacks it; then one commit, so that
nobody ever sees half a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import CommitOperationAdd, HfApi

from jobs.luthier_error import LuthierError
from models import hub
from models.export.files import Parcel
from models.imports.progress import ByteProgress

_LARGE = 1 << 20  # bytes; smaller files go with the commit
_T = TypeVar("_T")


@dataclass(frozen=True)
class Pushed:
    """`commit` is its id; `url` the page of the repository."""

    repository: str
    url: str
    commit: str
    made: bool


def push(
    parcel: Parcel,
    repository: str,
    progress: ByteProgress,
    *,
    private: bool,
    branch: str = "",
    message: str = "",
) -> Pushed:
    """Make the repository if it is not there, upload, commit. LuthierError in words; Stopped
    between two files when asked to stop.

    Started again after a failure it skips what the hub has: whole files, and with Xet (where hf_xet
    is installed) the parts of one too.
    """
    client = hub.api()
    try:
        _check_login(client, progress.wait)
        was_created = _make(client, repository, private, progress.wait)
        if branch:
            hub.again(
                lambda: client.create_branch(repository, branch=branch, exist_ok=True),
                progress.wait,
            )
        additions = [CommitOperationAdd(name, part) for name, part in parcel.files.items()]
        progress.begin("uploading", parcel.size)
        for addition in sorted(additions, key=lambda addition: -addition.upload_info.size):
            if addition.upload_info.size >= _LARGE:
                _upload(client, repository, addition, branch, progress)
            progress.add(addition.upload_info.size)
        progress.begin("committing", 0)
        commit_message = message or f"{parcel.entry.title}, with Luthier"
        commit = partial(
            client.create_commit,
            repository,
            additions,
            commit_message=commit_message,
            revision=branch or None,
        )
        info = hub.again(lambda: _unwrapped(commit), progress.wait)
    except hub.HUB_ERRORS as error:
        raise hub.in_words(error, repository, "writing") from error
    return Pushed(repository, f"{hub.endpoint()}/{repository}", str(info.oid), was_created)


def _check_login(client: HfApi, wait: Callable[[float], None]) -> None:
    """Before anything else: a wrong token is told as such, and not as a repository that is not
    there."""
    who: dict[str, Any] = hub.again(client.whoami, wait)
    role = ((who.get("auth") or {}).get("accessToken") or {}).get("role")
    if role == "read":
        hint = (
            "Create one with write access at https://huggingface.co/settings/tokens, then `hf"
            " auth login`."
        )
        raise LuthierError(
            "The token has read access only", f"It belongs to {who.get('name', 'you')}.", hint
        )


def _make(client: HfApi, repository: str, private: bool, wait: Callable[[float], None]) -> bool:
    """Whether the repository had to be made."""
    if hub.again(lambda: client.repo_exists(repository), wait):
        return False
    hub.again(lambda: client.create_repo(repository, private=private, exist_ok=True), wait)
    return True


def _upload(
    client: HfApi,
    repository: str,
    addition: CommitOperationAdd,
    branch: str,
    progress: ByteProgress,
) -> None:
    if isinstance(addition.path_or_fileobj, str):
        print(
            f"{addition.path_in_repo}: {addition.upload_info.size:,} bytes of"
            f" {Path(addition.path_or_fileobj).name}",
            flush=True,
        )
    upload = partial(
        client.preupload_lfs_files,
        repository,
        [addition],
        revision=branch or None,
        free_memory=False,
    )
    hub.again(lambda: _unwrapped(upload), progress.wait)


def _unwrapped(call: Callable[[], _T]) -> _T:
    """The client wraps what goes wrong with one file's upload."""
    try:
        return call()
    except RuntimeError as error:
        if isinstance(error.__cause__, hub.HUB_ERRORS):
            raise error.__cause__ from error
        raise
