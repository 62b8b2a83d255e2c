"""What a model was made of, as it may be shown to others: recipe, data, figures, certificate,
hashes; no path of this machine."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jobs import foreign_json
from jobs.events import Event, Follower
from jobs.foreign_json import Damaged
from jobs.job import Job
from jobs.luthier_error import LuthierError
from models import certificate, chapters, foreign, provenance
from models.catalogue import Entry, Kind, repository_of_base
from models.certificate import Certificate
from models.chapters import Chapter
from models.events import Eval, of_kind
from models.folder import ModelFolder
from models.hashing import file_hash
from models.hub_names import HUB
from models.merge import receipt
from models.run_folder import RunFolder

RECORD_FILE = "luthier.json"
CHOSEN_BY_PLAN = (
    "micro_batch",
    "gradient_checkpointing",
    "optimizer",
    "attention",
    "padding_free",
    "base_bits",
    "float8",
)
"""The keys of a recipe's `train` whose "auto" a plan settles, as the machine has it."""
# An absolute path of two parts or more, but not the inside of an address or of "owner/name".
_PATH = re.compile(r"(?<![\w:/.~-])(?:~|[A-Za-z]:)?(?:/[^\s/'\"`,;:()\[\]]+){2,}/?")


@dataclass(frozen=True)
class Part:
    """Conversations as they were prepared: the file's hash, and how many samples it has."""

    name: str
    samples: int
    hash: str


@dataclass(frozen=True)
class Record:
    """`base` is the base model's name, `repository` the hub's name of it ("" if unknown),
    `dequantised` the GGUF file that its weights here are out of. `losses` are (step, held-out
    loss)."""

    title: str
    kind: Kind
    base: str = ""
    repository: str = ""
    licence: str = ""
    dequantised: str = ""
    run: str = ""
    made: float = 0.0
    recipe: dict[str, Any] = field(default_factory=dict)
    datasets: list[str] = field(default_factory=list)
    data: list[Part] = field(default_factory=list)
    data_figures: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    losses: list[tuple[int, float]] = field(default_factory=list)
    certificate: Certificate | None = None
    chapters: list[Chapter] | None = None
    """The certificate's further chapters that speak of it as it is now; None without a run."""
    hashes: dict[str, Any] = field(default_factory=dict)
    merge: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    fingerprint: dict[str, Any] = field(default_factory=dict)
    """What the weights depend on beside recipe and base: the data files by name with size and hash,
    the versions of the libraries, the devices, the number type, the threads, and what the plan
    chose."""

    def to_json(self) -> dict[str, Any]:
        """Everything, with names in the place of paths."""
        record = {**vars(self), "data": [vars(part) for part in self.data]}
        if self.certificate is not None:
            certificate_fields = self.certificate.to_json()
            del certificate_fields["files"]
            record["certificate"] = certificate_fields
        record["chapters"] = [
            {name: getattr(chapter, name) for name in ("kind", "verdict", "summary", "made")}
            for chapter in self.chapters or []
        ]
        return {
            key: value
            for key, value in without_paths(record).items()
            if value or key in ("title", "kind")
        }


@dataclass(frozen=True)
class _Named:
    """A chapter, as the record names it."""

    kind: str


def read_record(folder: Path) -> Record:
    """The record in an export's folder. LuthierError if it is missing or damaged."""
    path = folder / RECORD_FILE
    try:
        values = foreign_json.read_object(path)
        recorded_kinds = {
            foreign.convert(entry, _Named, path).kind for entry in values.pop("chapters", [])
        }
        record = foreign.convert(values, Record, path)
    except FileNotFoundError:
        raise LuthierError(
            "Not an export of Luthier",
            f"{folder} has no {RECORD_FILE}, in which an export says what it was made of.",
            "`luthier models export NAME --out FOLDER` makes one.",
        ) from None
    except Damaged as error:
        raise LuthierError(
            "Unreadable record",
            f"{path} is damaged: {error.reason}.",
            "Export the model again, or get another copy of the folder.",
        ) from error
    if record.run:  # the chapters themselves are files beside it
        of_run = [chapter for chapter in chapters.read_all(folder) if not chapter.subject]
        record = replace(
            record, chapters=[chapter for chapter in of_run if chapter.kind in recorded_kinds]
        )
    return record


def record_of(entry: Entry, run: Job | None) -> Record:
    """What is known of a model; of its run, if it has one."""
    base, repository = entry.base, repository_of_base(entry)
    merge_receipt = (
        receipt.read(entry.path) if (entry.path / receipt.RECEIPT_FILE).is_file() else None
    )
    merge = _merge(merge_receipt) if merge_receipt is not None else {}
    versions = {
        "luthier": own_version(),
        **(merge_receipt.versions if merge_receipt is not None else {}),
    }
    plain = Record(
        title=entry.title,
        kind=entry.kind,
        base=base,
        repository=repository,
        licence=entry.licence,
        dequantised=_gguf_of(entry.base_path) if entry.base_path is not None else "",
        run=entry.run,
        merge=merge,
        versions=versions,
    )
    if run is None:
        return plain
    events = _events(run)
    recipe = _recipe(run)
    hashes = provenance.read(run.directory)
    return replace(
        plain,
        made=run.created,
        recipe=without_paths(recipe),
        datasets=datasets(recipe),
        data=_parts(RunFolder(run.directory)),
        data_figures={
            key: value
            for key, value in _last(events, "data").items()
            if isinstance(value, int | float) and key not in ("t", "cached")
        },
        result={
            key: value
            for key, value in _last(events, "result").items()
            if isinstance(value, int | float) and key != "t"
        },
        losses=[
            (evaluation.step, evaluation.loss)
            for evaluation in of_kind(events, Eval)
            if isinstance(evaluation.loss, float)
        ],
        certificate=_certificate(entry, run),
        chapters=_chapters(entry, run),
        hashes={"base": hashes.base, "template": hashes.template, "adapter": hashes.adapter}
        if hashes is not None
        else {},
        fingerprint=_fingerprint(RunFolder(run.directory), run.spec.settings),
    )


def public_chapter(chapter: Chapter) -> dict[str, Any]:
    """As it is given away. Its sentences and figures stay at home: they may quote the training
    data."""
    bare = [replace(check, sentence="") for check in chapter.checks]
    public = replace(chapter, checks=bare, figures={}, files=[])
    written: dict[str, Any] = without_paths({"verdict": chapter.verdict, **asdict(public)})
    return written


def without_paths(value: Any) -> Any:
    """The same with every absolute path cut down to its last part."""
    if isinstance(value, str):
        if value.startswith(("/", "~/")):  # a path may have spaces in it
            return value.rstrip("/").rpartition("/")[2]
        return _PATH.sub(lambda match: match[0].rstrip("/").rpartition("/")[2], value)
    if isinstance(value, dict):
        return {key: without_paths(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(part) for part in value]
    return value


def datasets(recipe: dict[str, Any]) -> list[str]:
    """The data sets of the hub that a recipe names: "hub:owner/name:split" is "owner/name"."""
    paths = [
        str(entry.get("path", "")) if isinstance(entry, dict) else str(entry)
        for entry in recipe.get("data", [])
    ]
    repositories = [
        "/".join(name.removeprefix(HUB).partition(":")[0].split("/")[:2])
        for name in paths
        if name.startswith(HUB)
    ]
    return list(dict.fromkeys(repositories))


def _recipe(run: Job) -> dict[str, Any]:
    try:
        return tomllib.loads(RunFolder(run.directory).recipe.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _parts(folder: RunFolder) -> list[Part]:
    parts = []
    for path in (folder.train_samples, folder.heldout_samples):
        if path.is_file():
            with path.open("rb") as file:
                sample_count = sum(1 for _ in file)
            parts.append(Part(path.name, sample_count, file_hash(path)))
    return parts


def _fingerprint(folder: RunFolder, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What of the run's fingerprint the record has not said otherwise."""
    try:
        recorded = foreign_json.read_object(folder.fingerprint)
        data = {Path(path).name: identity for path, identity in recorded["data"].items()}
    except (OSError, Damaged, KeyError, AttributeError):
        return {}
    kept = ("versions", "devices", "compute_dtype", "threads")
    plan_settings = {key: settings[key] for key in CHOSEN_BY_PLAN if key in settings}
    return {
        "data": data,
        **{key: recorded[key] for key in kept if key in recorded},
        "plan": plan_settings,
    }


def _certificate(entry: Entry, run: Job) -> Certificate | None:
    """The run's certificate, if it speaks of what is given away as it is now."""
    try:
        certificate_of_run = certificate.read(run.directory)
    except LuthierError:
        return None
    if certificate_of_run is None or certificate.touched_since(certificate_of_run.files):
        return None
    return (
        certificate_of_run
        if entry.kind == "tuned"
        or (certificate_of_run.merged and Path(certificate_of_run.merged) == entry.path)
        else None
    )


def _chapters(entry: Entry, run: Job) -> list[Chapter]:
    """Those of the run's own model, if that is what is given away."""
    if entry.kind == "merged" and _certificate(entry, run) is None:
        return []
    try:
        every = chapters.read_all(run.directory)
    except LuthierError:
        return []
    return [chapter for chapter in every if not chapter.outdated and not chapter.subject]


def _gguf_of(base: Path) -> str:
    """The name of the GGUF file that a base model's weights were dequantised from, "" if they were
    not."""
    source = ModelFolder(base).shown_card.source
    return (
        source.replace(",", " ").replace("/", " ").split()[-1]
        if source.lower().endswith(".gguf")
        else ""
    )


def _merge(merge_receipt: receipt.Receipt) -> dict[str, Any]:
    return {
        "into": merge_receipt.into,
        "dtype": merge_receipt.dtype,
        "tied": merge_receipt.tied,
        "stop_token_ids": merge_receipt.stop_token_ids,
        "changed": merge_receipt.changed,
        "copied": merge_receipt.copied,
        "largest_change": merge_receipt.largest_change,
        "files": merge_receipt.files,
        "base_files": merge_receipt.base.files,
        "adapter_files": merge_receipt.adapter.files,
    }


def _events(run: Job) -> list[Event]:
    follower, kept_events = Follower(run.events_path), []
    while events := follower.read():
        kept_events += [event for event in events if event["kind"] in ("data", "eval", "result")]
    return kept_events


def _last(events: list[Event], kind: str) -> Event:
    return next((event for event in reversed(events) if event["kind"] == kind), {})


def own_version() -> str:
    """Luthier's, as a record names it."""
    try:
        return version("luthier")
    except PackageNotFoundError:
        return "of a source folder"
