"""Start an export as a job: into a folder, to the hub, or in
another form (GGUF, compressed-tensors). What can be wrong is found
before it starts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from jobs.files import expanded
from jobs.home import jobs_directory
from jobs.job import Job, submit
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from models.catalogue import Entry, find_entry
from models.export.commands import commands_for
from models.export.files import What, pack
from models.export.formats import Form, form_named
from models.export.gguf import adapter_commands
from models.imports.source import check_repository
from models.run_folder import RunFolder

_CONVERSION = "models.conversion_worker"


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
class ConversionSettings:
    """The model of this name, in the folder `model`, as `form` into `out`. An adapter (`what`) is
    written to go beside its base. `samples` are the run's conversations, "" if there are none."""

    name: str
    model: str
    out: str
    form: str
    what: What | None = None
    samples: str = ""

    @property
    def entry(self) -> Entry:
        """LuthierError if the model is gone."""
        return find_entry(self.name, self.what or "")

    def commands(self, out: Path) -> list[list[str]]:
        """What writes `out`. LuthierError if something for it is missing."""
        form = form_named(self.form)
        if self.what == "adapter":
            return adapter_commands(self.entry, out, form.kind)
        samples = Path(self.samples) if self.samples else None
        return commands_for(Path(self.model), out, form, samples)


def written_by(export: Job) -> tuple[Path, Path] | None:
    """The folder of the model that an export was made of, and what it has written; None where that
    is on the hub, or is an adapter as GGUF, which is no model of its own."""
    source, out = (export.spec.settings.get(key) for key in ("model", "out"))
    is_adapter = export.spec.module == _CONVERSION and export.spec.settings.get("what") == "adapter"
    if is_adapter or not isinstance(source, str) or not isinstance(out, str):
        return None
    return Path(source), Path(out)


def start_export(name: str, out: Path, part: What | None = None, *, replace: bool = False) -> Job:
    parcel = pack(name, part)
    check_out(out, replace=replace)
    settings = ExportSettings(
        parcel.entry.name, str(parcel.entry.path), str(expanded(out).absolute()), part, replace
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


def start_conversion(name: str, out: Path, form: Form, part: What | None = None) -> Job:
    """Of a run the merged model, or its adapter if `part` says so (as GGUF alone)."""
    entry = _converted_entry(name, part)
    if entry.kind == "tuned" and form.family != "gguf":
        raise LuthierError(
            "An adapter is not quantised",
            f"{entry.title} is an adapter, and {form} is a form of whole models.",
            f"`luthier merge {entry.run or entry.title}`, then export the merged model.",
        )
    out = expanded(out).absolute()
    if out.is_dir() and form.family == "gguf":
        out = out / f"{entry.title}-{form.kind}.gguf"
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise LuthierError("Something is already there", f"{out} exists.", "Choose another --out.")
    samples = RunFolder(jobs_directory() / entry.run).train_samples if entry.run else None
    settings = ConversionSettings(
        entry.name,
        str(entry.path),
        str(out),
        str(form),
        what="adapter" if entry.kind == "tuned" else None,
        samples=str(samples) if samples is not None and samples.is_file() else "",
    )
    settings.commands(out)
    return submit(
        Spec(
            "export",
            f"{form.kind.replace('_', '-')}-{entry.title}",
            _CONVERSION,
            asdict(settings),
            grace_seconds=10.0,
        )
    )


def _converted_entry(name: str, part: What | None) -> Entry:
    """The model that is converted. LuthierError if a run is not merged yet, or not prepared."""
    entry = find_entry(name, part or "")
    if entry.kind == "tuned" and part is None:
        entry = find_entry(name, "merged")
    if not entry.ready:
        raise LuthierError(
            "Not ready", f"{entry.name} is not prepared.", f"`luthier models import {entry.name}`"
        )
    return entry


def check_out(out: Path, *, replace: bool) -> None:
    """LuthierError if there is something that the export would mix with."""
    out = expanded(out)
    if out.is_file():
        raise LuthierError("A file is in the way", f"{out} is a file.", "Give a folder.")
    if out.is_dir() and any(out.iterdir()) and not replace:
        raise LuthierError(
            "Something is already there",
            f"{out} is not empty.",
            "Choose another --out, or add --force to replace its files.",
        )
