"""All models at hand in one list: base models, tuned ones (adapters, of runs or imported), those
that runs trained as a whole, and merged ones; and who needs them."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from jobs.files import folder_bytes
from jobs.home import jobs_directory, models_directory
from jobs.job import Ambiguous, Job, age_key, all_jobs, find
from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean
from jobs.uses import users_of
from models import certificate, provenance, registry
from models.adapters import read_adapter
from models.builtin import BUILTIN
from models.card import Card
from models.description import TemplateLabel, licence, short_hash, template_label
from models.folder import ModelFolder
from models.merge import receipt
from models.model_directory import is_model_directory
from models.run_folder import MERGED_FOLDER, MODEL_FOLDER, RunFolder
from models.runs import Run
from models.standing import NO_CERTIFICATE, Standing, standing
from models.weights import tensor_shapes

Kind = Literal["base", "tuned", "full", "merged"]


@dataclass(frozen=True)
class Entry:
    """A model. `name` is what commands take: the model's name, for a run's adapter the run's id,
    "RUN/model" and "RUN/merged" for models.

    `parameters` counts weights (an adapter's own), `bytes` is the size on disk, `context_length` in
    tokens, None where unknown. `origin` is a sentence for a person, `repository` the hub's name of
    what it is. `base` is the base model's name, `base_path` its folder (None if it is not here),
    `rank` the adapter's. `link`: the folder itself lies elsewhere. `damage` says what of its files
    cannot be read.
    """

    name: str
    title: str
    kind: Kind
    path: Path
    ready: bool
    architecture: str
    parameters: int | None
    bytes: int
    context_length: int | None
    template: TemplateLabel | None
    licence: str
    origin: str
    note: str = ""
    base: str = ""
    base_path: Path | None = None
    rank: int | None = None
    run: str = ""
    repository: str = ""
    link: bool = False
    standing: Standing = NO_CERTIFICATE
    warnings: tuple[str, ...] = ()
    damage: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            **{
                key: value
                for key, value in vars(self).items()
                if key not in ("template", "standing", "warnings")
            },
            "path": str(self.path),
            "base_path": None if self.base_path is None else str(self.base_path),
            "template": None
            if self.template is None
            else {"family": self.template.family, "hash": self.template.hash},
            "certificate": None if self.standing.verdict is None else vars(self.standing),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Use:
    """Something that needs a model."""

    kind: str
    """The kind of its job, or "merged" for a model made of it."""
    name: str
    id: str
    alive: bool = False
    """Whether it runs now."""

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}{', running' if self.alive else ''})"


def list_entries(jobs: Sequence[Job] | None = None) -> list[Entry]:
    """Base models (the built-in one first), then tuned ones (the newest first, then imported ones
    by name), full and merged ones. The runs are looked for in `jobs`, by default all jobs."""
    runs = _runs_of(jobs)
    bases = registry.list_models(runs)
    models = [_of_model(model) for model in bases]
    tuned = [entry for job in runs if (entry := _of_run(job)) is not None]
    return [
        *(entry for entry in models if entry.kind == "base"),
        *tuned,
        *_imported_adapters(bases),
        *(entry for entry in models if entry.kind == "full"),
        *(entry for entry in models if entry.kind == "merged"),
    ]


def _runs_of(jobs: Sequence[Job] | None) -> list[Job]:
    """The runs among these jobs, or all, newest first."""
    if jobs is None:
        return all_jobs("run")
    return sorted((job for job in jobs if job.spec.kind == "run"), key=age_key, reverse=True)


def find_entry(name: str, part: Literal["", "adapter", "merged"] = "") -> Entry:
    """The model of that name, or of that run: what it left, or with `part` "merged" its merged
    model. LuthierError if there is none."""
    entries = list_entries()
    exact = next((entry for entry in entries if entry.name == name), None)
    if exact is None or part:
        run = exact.run if exact is not None else _run_named(name)
        if run:
            kinds: tuple[Kind, ...] = ("merged",) if part == "merged" else ("tuned", "full")
            of_run = next(
                (entry for entry in entries if entry.run == run and entry.kind in kinds), None
            )
            if of_run is not None:
                return of_run
            if part == "merged":
                raise LuthierError(
                    "Not merged yet",
                    f"{run} has no merged model.",
                    f"`luthier merge {run}` makes one.",
                )
    if exact is not None:
        return exact
    names = [*(entry.name for entry in entries), *(job.spec.name for job in all_jobs("run"))]
    raise LuthierError(
        "No such model",
        f"There is no model named {name!r}, and no run with that name has an adapter.",
        f"{did_you_mean(name, names)}`luthier models` lists them.",
    )


def uses(
    entry: Entry,
    jobs: Sequence[Job] | None = None,
    entries: Sequence[Entry] | None = None,
    is_alive: Callable[[Job], bool] = Job.alive,
) -> list[Use]:
    """What needs this model: runs that were trained on it, merged models made of it, and whatever
    runs with it now. `jobs` and `entries` are all there are; they are read if not given."""
    jobs = all_jobs() if jobs is None else jobs
    entries = list_entries(jobs) if entries is None else entries
    places = {str(entry.path), str(entry.path.resolve())}
    uses_of_entry = []
    for job in users_of(entry.path, jobs):
        if job.id == entry.run:
            continue
        alive = is_alive(job)
        if alive or job.spec.kind == "run":
            uses_of_entry.append(Use(job.spec.kind, job.spec.name, job.id, alive))
    if entry.run:
        run = next((job for job in jobs if job.id == entry.run), None)
        if run is not None and is_alive(run):
            uses_of_entry.append(Use("run", run.spec.name, run.id, alive=True))
    for other in entries:
        is_merged = other.kind == "merged" and other.path != entry.path
        merge_receipt = _receipt(other.path) if is_merged else None
        if merge_receipt is not None and not places.isdisjoint(
            (merge_receipt.base.directory, merge_receipt.adapter.directory)
        ):
            uses_of_entry.append(Use("merged", other.title, other.name))
    return uses_of_entry


def remove(entry: Entry) -> None:
    """Delete a model; of a linked one only the link. LuthierError if something runs with it, or if
    it is a run's own adapter."""
    if entry.kind in ("tuned", "full") and entry.run:
        raise LuthierError(
            "It belongs to a run",
            f"{entry.run} made {entry.title}.",
            f"`luthier remove {entry.run}` deletes both.",
        )
    running = [use for use in uses(entry) if use.alive]
    if running:
        message = f"{entry.name} is used by {', '.join(str(use) for use in running)}."
        raise LuthierError("In use", message, f"Run `luthier stop {running[0].id}` first.")
    if entry.link:
        entry.path.unlink(missing_ok=True)
        return
    doomed = entry.path.with_name(f".removing-{entry.path.name}")
    try:
        entry.path.rename(doomed)  # of several who remove it, one gets it
    except FileNotFoundError:
        raise LuthierError(
            "Already removed",
            f"Another process has just removed {entry.name}.",
            "`luthier models` lists the models that are left.",
        ) from None
    shutil.rmtree(doomed)


def repository_of_base(entry: Entry) -> str:
    """The hub's name of what an adapter or a merged model was made of; "" where that is not
    known."""
    if entry.base_path is not None and entry.base_path.is_dir():
        return ModelFolder(entry.base_path).shown_card.repository
    return (
        entry.base
        if entry.base.count("/") == 1 and not entry.base.startswith((".", "/", "~"))
        else ""
    )


# How each kind is read


def _of_model(model: registry.Model) -> Entry:
    card, receipt_of_merge = ModelFolder(model.path).shown_card, _receipt(model.path)
    entry = Entry(
        name=model.name,
        title=model.name,
        kind="base",
        path=model.path,
        ready=model.ready,
        architecture=model.architecture,
        parameters=model.parameters,
        bytes=model.bytes,
        context_length=model.context_length,
        template=_template(model.path),
        licence=_licence(model.path),
        origin=_origin(model, card),
        note=model.note,
        repository=card.repository,
        link=model.path.is_symlink(),
        warnings=tuple(card.warnings),
        damage=model.damage,
    )
    if card.run and model.path.name == MODEL_FOLDER:
        return _of_full_run(entry, card)
    if receipt_of_merge is None:
        return entry
    base, run = Path(receipt_of_merge.base.directory), receipt_of_merge.run or ""
    base_name = registry.display_name(base)
    return replace(
        entry,
        kind="merged",
        title=_title(model.name),
        base=base_name,
        base_path=base if base.is_dir() else None,
        run=run,
        origin=f"merged from {base_name} + {run or Path(receipt_of_merge.adapter.directory).name}",
        standing=_merged_standing(run, model.path),
    )


def _of_full_run(entry: Entry, card: Card) -> Entry:
    """A model that a run has trained as a whole."""
    base = Path(card.base)
    return replace(
        entry,
        kind="full",
        title=_title(entry.name),
        base=registry.display_name(base),
        base_path=base if base.is_dir() else None,
        run=card.run,
        origin=f"run {card.run}",
        standing=_merged_standing(card.run, entry.path),
    )


def _of_run(job: Job) -> Entry | None:
    """The adapter of a run; None while there is none."""
    folder = RunFolder(job.directory)
    if not folder.has_adapter:
        return None
    directory = folder.adapter
    try:
        entry = _of_adapter(directory, job.id)
    except LuthierError as error:
        return replace(
            _damaged(directory, job.id, error),
            title=job.spec.name,
            run=job.id,
            origin=f"run {job.id}",
        )
    run = Run(job)
    name = run.base_name if run.names_its_base else entry.base
    base = run.base if run.names_its_base else models_directory() / name
    try:
        recorded = provenance.read(job.directory)
    except LuthierError as error:
        recorded, entry = None, replace(entry, damage=error.message)
    return replace(
        _with_base(entry, name, base, recorded.template if recorded else ""),
        title=job.spec.name,
        run=job.id,
        origin=f"run {job.id}",
        standing=standing(job.directory),
    )


def _imported_adapters(models: Sequence[registry.Model]) -> Iterator[Entry]:
    """`models` are those that may be their bases."""
    if not models_directory().is_dir():
        return
    bases = {ModelFolder(model.path).shown_card.repository: model for model in models}
    for directory in sorted(models_directory().iterdir()):
        folder = ModelFolder(directory)
        if directory.name.startswith(".") or not folder.is_adapter:
            continue
        try:
            entry = _of_adapter(directory, directory.name)
        except LuthierError as error:
            yield replace(_damaged(directory, directory.name, error), link=directory.is_symlink())
            continue
        card = folder.shown_card
        base = bases.get(entry.base)
        entry = _with_base(
            entry, base.name if base else entry.base, base.path if base else Path(entry.base), ""
        )
        yield replace(
            entry,
            origin=f"imported from {card.source or directory.resolve()}",
            repository=card.repository,
            link=directory.is_symlink(),
            licence=_licence(directory) or entry.licence,
            warnings=tuple(card.warnings),
            damage=folder.card_damage,
        )


def _damaged(directory: Path, name: str, error: LuthierError) -> Entry:
    """An adapter that cannot be read: a row all the same."""
    damage = f"damaged: {error.message}"
    return Entry(
        name,
        name,
        "tuned",
        directory,
        False,
        "LoRA",
        None,
        folder_bytes(directory),
        None,
        None,
        "",
        "",
        damage=damage,
    )


def _of_adapter(directory: Path, name: str) -> Entry:
    adapter = read_adapter(directory)
    return Entry(
        name=name,
        title=name,
        kind="tuned",
        path=directory,
        ready=True,
        architecture="LoRA",
        parameters=_adapter_parameters(directory / "adapter_model.safetensors", _stamp(directory)),
        bytes=sum(path.stat().st_size for path in directory.iterdir() if path.is_file()),
        context_length=None,
        template=_template(directory),
        licence="",
        origin="",
        base=adapter.base,
        rank=adapter.rank,
    )


def _with_base(entry: Entry, name: str, base: Path, recorded_template: str) -> Entry:
    """What an adapter has from its base model. The template is the one it was trained with,
    whatever the base has by now."""
    here = is_model_directory(base)
    template = entry.template or (_template(base) if here else None)
    if recorded_template and (template is None or template.hash != short_hash(recorded_template)):
        template = TemplateLabel(
            "own" if template is None else f"not {template.family}", short_hash(recorded_template)
        )
    length = registry.describe(name, base).context_length if here else None
    return replace(
        entry,
        base=name,
        base_path=base if here else None,
        context_length=length,
        template=template,
        licence=_licence(base) if here else "",
    )


def _origin(model: registry.Model, card: Card) -> str:
    if model.name == BUILTIN:
        title = card.title or model.note.partition(",")[0]
        return f"built in{f' ({title})' if title else ''}"
    if model.path.is_symlink():
        return f"a link to {model.path.resolve()}"
    if card.source:
        return f"imported from {card.source}{f' at {card.commit[:8]}' if card.commit else ''}"
    return "put there by hand"


def _merged_standing(run: str, path: Path) -> Standing:
    """The run's certificate, if it speaks of this model."""
    if not run:
        return NO_CERTIFICATE
    directory = jobs_directory() / run
    try:
        of_run = certificate.read(directory)
    except LuthierError:
        return standing(directory)
    return (
        standing(directory)
        if of_run is not None and of_run.merged and Path(of_run.merged) == path
        else NO_CERTIFICATE
    )


def _title(name: str) -> str:
    """A model in its run's folder is called as the run is."""
    run, _, part = name.partition("/")
    if part not in (MERGED_FOLDER, MODEL_FOLDER):
        return name
    try:
        return Job(jobs_directory() / run).spec.name
    except LuthierError:
        return run


def _run_named(name: str) -> str:
    try:
        return find(name, "run").id
    except Ambiguous:
        raise
    except LuthierError:
        return ""


# What is read of files is kept until they change: the app lists the models every two seconds.


def _stamp(directory: Path) -> tuple[tuple[str, int, int], ...]:
    try:
        files = [(path.name, path.stat()) for path in directory.iterdir() if path.is_file()]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in files))


def _template(directory: Path) -> TemplateLabel | None:
    return _template_at(directory, _stamp(directory))


@lru_cache(maxsize=256)
def _template_at(directory: Path, stamp: object) -> TemplateLabel | None:
    return template_label(directory)


def _licence(directory: Path) -> str:
    return _licence_at(directory, _stamp(directory))


@lru_cache(maxsize=256)
def _licence_at(directory: Path, stamp: object) -> str:
    return licence(directory)


@lru_cache(maxsize=256)
def _adapter_parameters(path: Path, stamp: object) -> int | None:
    try:
        return sum(math.prod(shape) for shape in tensor_shapes(path).values())
    except LuthierError:
        return None


def _receipt(directory: Path) -> receipt.Receipt | None:
    if not (directory / receipt.RECEIPT_FILE).is_file():
        return None
    return _receipt_at(directory, _stamp(directory))


@lru_cache(maxsize=64)
def _receipt_at(directory: Path, stamp: object) -> receipt.Receipt | None:
    try:
        return receipt.read(directory)
    except LuthierError:
        return None
