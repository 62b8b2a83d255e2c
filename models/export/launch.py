"""Start an export as a job: into a folder, to the hub, or as GGUF. What can be wrong is found
before it starts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from jobs.job import Job, submit
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from models.catalogue import find_entry
from models.export.files import What, pack
from models.export.gguf import plan_conversion
from models.imports.source import check_repository


@dataclass(frozen=True)
class ExportSettings:
    """Into the folder `out`, which there must not be yet, or with files of an earlier export if
    `replace`."""

    name: str
    model: str
    out: str
    what: What | None = None
    replace: bool = False


@dataclass(frozen=True)
class PushSettings:
    """To the hub's `repository`, on a branch ("" is the default one). A repository that is not
    there yet is made, private if said so."""

    name: str
    model: str
    repository: str
    what: What | None = None
    private: bool = True
    branch: str = ""
    message: str = ""


@dataclass(frozen=True)
class GgufSettings:
    model: str
    out: str
    command: list[str]


def start_export(name: str, out: Path, part: What | None = None, *, replace: bool = False) -> Job:
    parcel = pack(name, part)
    check_out(out, replace=replace)
    settings = ExportSettings(
        parcel.entry.name, str(parcel.entry.path), str(out.expanduser().absolute()), part, replace
    )
    return submit(
        Spec(
            "export",
            f"export-{parcel.entry.title}",
            "models.export_worker",
            asdict(settings),
            grace_seconds=10.0,
        )
    )


def start_push(
    name: str,
    repository: str,
    part: What | None = None,
    *,
    private: bool = True,
    branch: str = "",
    message: str = "",
) -> Job:
    check_repository(repository)
    parcel = pack(name, part)
    settings = PushSettings(
        parcel.entry.name, str(parcel.entry.path), repository, part, private, branch, message
    )
    return submit(
        Spec(
            "export",
            f"push-{parcel.entry.title}",
            "models.push_worker",
            asdict(settings),
            grace_seconds=10.0,
        )
    )


def start_gguf(name: str, out: Path, kind: str, part: What | None = None) -> Job:
    entry = find_entry(name, part or "")
    out = out.expanduser().absolute()
    if out.is_dir():
        out = out / f"{entry.title}-{kind}.gguf"
    if out.exists():
        raise LuthierError("Something is already there", f"{out} exists.", "Choose another --out.")
    conversion = plan_conversion(entry, out, kind)
    settings = GgufSettings(str(entry.path), str(out), conversion.command)
    return submit(
        Spec(
            "export",
            f"gguf-{entry.title}",
            "models.gguf_worker",
            asdict(settings),
            grace_seconds=10.0,
        )
    )


def check_out(out: Path, *, replace: bool) -> None:
    """LuthierError if there is something that the export would mix with."""
    out = out.expanduser()
    if out.is_file():
        raise LuthierError("A file is in the way", f"{out} is a file.", "Give a folder.")
    if out.is_dir() and any(out.iterdir()) and not replace:
        raise LuthierError(
            "Something is already there",
            f"{out} is not empty.",
            "Choose another --out, or add --force to replace its files.",
        )
