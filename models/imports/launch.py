"""Start an import as a job, and what unfinished ones have left."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from jobs import foreign_json
from jobs.foreign_json import Damaged
from jobs.home import models_directory
from jobs.job import Job, all_jobs, submit
from jobs.locks import holder
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from models.adapters import read_adapter
from models.builtin import BUILTIN
from models.imports.source import Folder, Gguf, Hub, Source, name_for, parse_source
from models.installation import check_libraries
from models.registry import resolve

MODULE = "models.import_worker"
LOCK = ".lock"
IDENTITY = ".import.json"
_SUFFIX = ".importing"


@dataclass(frozen=True)
class ImportSettings:
    """An import job's orders. `out` is the folder to be; `trust` says that this repository's code
    and pickles may be taken."""

    source: str
    name: str
    out: str
    trust: bool = False


def order_of(job: Job) -> ImportSettings:
    """What an import's job was started with."""
    return ImportSettings(**job.spec.settings)


@dataclass(frozen=True)
class Unfinished:
    """What an import has left, to be gone on with: `source` again, `bytes` there already."""

    name: str
    path: Path
    source: str
    bytes: int


def start_import(text: str, name: str | None = None, trust: str = "") -> Job:
    """Check what can be checked at once, and start the job. LuthierError for a name that is taken
    or a source that is not there."""
    source = parse_source(text)
    model_name = name_for(source, name)
    check_trust(source, trust)
    out = check_free(model_name)
    match source:
        case Folder(path=folder):
            _check_folder(folder)
        case Gguf():
            check_libraries("import GGUF files")
        case Hub():
            check_libraries("import from the hub")
    for job in all_jobs("import"):
        if order_of(job).out == str(out) and job.alive():
            raise LuthierError(
                "Already being imported",
                f"{job.id} imports {model_name} already.",
                f"`luthier log -f {job.id}` follows it.",
            )
    where = str(source) if isinstance(source, Hub) else str(source.path)
    settings = ImportSettings(where, model_name, str(out), bool(trust))
    return submit(Spec("import", model_name, MODULE, asdict(settings), grace_seconds=10.0))


def link(text: str, name: str | None = None) -> Path:
    """Make a model folder known by a name: a symbolic link, nothing is copied."""
    source = parse_source(text)
    if not isinstance(source, Folder):
        raise LuthierError(
            "Nothing to link", f"{text} is not a folder.", "Leave out --link to import it instead."
        )
    out = check_free(name_for(source, name))
    _check_folder(source.path)
    models_directory().mkdir(parents=True, exist_ok=True)
    out.symlink_to(source.path, target_is_directory=True)
    return out


def _check_folder(folder: Path) -> None:
    """LuthierError if it is neither a whole model nor an adapter."""
    if (folder / "adapter_config.json").is_file() and not (folder / "model.safetensors").is_file():
        read_adapter(folder)
    else:
        resolve(str(folder))


def check_free(name: str) -> Path:
    """The folder that a new model of this name gets. LuthierError if there is one."""
    out = models_directory() / name
    if name == BUILTIN:
        raise LuthierError(
            "The name is taken",
            f"{BUILTIN} is the name of the built-in model.",
            "Choose another name with --name.",
        )
    if out.exists() or out.is_symlink():
        hint = f"Choose another name with --name, or run `luthier models remove {name}` first."
        raise LuthierError("The name is taken", f"{out} already exists.", hint)
    return out


def check_trust(source: Source, trust: str) -> None:
    """Trust is said by name, so that no habit or script gives it to whatever comes."""
    if trust and not (isinstance(source, Hub) and source.repository == trust):
        message = f"--trust names {trust}, but that is not the repository to import."
        raise LuthierError(
            "--trust needs the repository's own name",
            message,
            "Write --trust owner/name with the repository that you import.",
        )


def partial_directory(out: Path) -> Path:
    """Where an import is made until it is whole."""
    return out.with_name(f".{out.name}{_SUFFIX}")


def unfinished() -> list[Unfinished]:
    """Imports that were stopped or failed half-way and left bytes to go on with. Those that run now
    are not among them."""
    unfinished_imports = []
    for path in sorted(models_directory().glob(f".*{_SUFFIX}")):
        if not (path / IDENTITY).is_file() or holder(path / LOCK) is not None:
            continue
        try:
            source = str(foreign_json.read_object(path / IDENTITY)["source"])
        except (OSError, Damaged, KeyError):
            source = "?"
        size = sum(part.stat().st_size for part in path.rglob("*") if part.is_file())
        unfinished_imports.append(Unfinished(path.name[1 : -len(_SUFFIX)], path, source, size))
    return unfinished_imports


def discard(left: Unfinished) -> None:
    """Delete what an import has left. LuthierError if it runs again."""
    if holder(left.path / LOCK) is not None:
        raise LuthierError(
            "Already being imported",
            f"{left.name} is being imported.",
            "`luthier runs --all` shows the job.",
        )
    shutil.rmtree(left.path)
