"""Which base models there are, and what a name stands for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.files import NOTHING_THERE, expanded, is_folder, quoted_name, why_missing
from jobs.home import jobs_directory, models_directory
from jobs.job import Job, all_jobs, submit
from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean
from jobs.os_errors import in_words
from jobs.spec import JOB_ID, Spec
from models.builtin import BUILTIN, builtin_directory, gguf_file
from models.builtin_blueprint import blueprint_directory
from models.folder import ModelFolder
from models.hub_names import HUB, hub_name, hub_name_of_path, is_url
from models.installation import check_libraries
from models.model_directory import is_model_directory
from models.run_folder import MERGED_FOLDER, MODEL_FOLDER, RunFolder
from models.weights import tensor_shapes

_BUILTIN_WORKER = "models.builtin_worker"


@dataclass(frozen=True)
class Model:
    """A base model. `parameters` counts weights, `bytes` is its size on disk, `context_length` is
    in tokens; None where unknown. `damage` says what of its files cannot be read; where that is not
    only its card, it is not ready."""

    name: str
    path: Path
    ready: bool
    architecture: str
    parameters: int | None
    bytes: int
    context_length: int | None
    note: str
    damage: str = ""


def list_models(runs: Sequence[Job] | None = None) -> list[Model]:
    """The built-in model first, then what lies in the home's models folder, by name, then the
    models of `runs`, by default of all runs, newest first."""
    models = [
        (
            describe(BUILTIN, builtin_directory())
            if is_model_directory(builtin_directory())
            else _unprepared_builtin()
        )
    ]
    if models_directory().is_dir():
        for directory in sorted(models_directory().iterdir()):
            if (
                directory.name != BUILTIN
                and not directory.name.startswith(".")
                and is_model_directory(directory)
            ):
                models.append(describe(directory.name, directory))
    folders = [RunFolder(job.directory) for job in (all_jobs("run") if runs is None else runs)]
    run_models = [path for folder in folders for path in (folder.model, folder.merged)]
    return models + [
        describe(f"{path.parent.name}/{path.name}", path)
        for path in run_models
        if is_model_directory(path)
    ]


def resolve(name: str) -> Path:
    """The directory of a model named "builtin", of one in the home's models folder, of a run's
    ("RUN/merged", "RUN/model"), or at a path.

    LuthierError if there is none, or if it lacks a config, safetensors weights or a tokenizer.
    """
    if name == BUILTIN:
        if not is_model_directory(builtin_directory()):
            raise LuthierError(
                "The built-in model is not ready yet",
                "Luthier prepares it once; that takes about half a minute.",
                "Run `luthier models import builtin`.",
            )
        return builtin_directory()
    candidate = models_directory() / name
    run, _, part = name.partition("/")
    if JOB_ID.fullmatch(run) and part in (MERGED_FOLDER, MODEL_FOLDER):
        candidate = jobs_directory() / run / part
    elif "/" in name or name.startswith("."):
        candidate = expanded(name)
    directory = candidate.absolute() if is_folder(candidate) else expanded(name).absolute()
    if not is_folder(directory):
        raise _no_such_model(name, directory)
    if ModelFolder(directory).is_adapter and not (directory / "config.json").is_file():
        raise _adapter(directory)
    for pattern, missing in (
        ("config.json", "config.json"),
        ("*.safetensors", "weights (*.safetensors)"),
        ("tokenizer*.json", "tokenizer"),
    ):
        if not any(directory.glob(pattern)):
            hint = (
                "Name the folder of a whole model, with config, tokenizer and weights, as"
                " from_pretrained reads it. Weights must be safetensors: pickles can run code."
            )
            raise LuthierError("Incomplete model", f"{directory} has no {missing}.", hint)
    return directory


def planned_directory(name: str) -> Path:
    """Where a job will have the model: as `resolve`, and for the built-in model also before it is
    prepared. The job prepares it then, as its first phase."""
    if is_unprepared_builtin(name):
        gguf_file()
        return builtin_directory()
    return resolve(name)


def described_directory(name: str) -> Path:
    """The folder whose config and headers describe the model: its own, or the blueprint of the
    built-in model while that is not prepared."""
    return blueprint_directory() if is_unprepared_builtin(name) else resolve(name)


def is_unprepared_builtin(name: str) -> bool:
    """Whether a name or a folder is the built-in model, which is yet to be prepared."""
    is_builtin = name == BUILTIN or Path(name) == builtin_directory()
    return is_builtin and not is_model_directory(builtin_directory())


def _no_such_model(name: str, path: Path) -> LuthierError:
    """What a user has named instead of a model: a repository of the hub, an address, a file, a
    run."""
    title, names = "No such model", ", ".join(model.name for model in list_models())
    if (reason := why_missing(path)) not in ("", NOTHING_THERE):
        return LuthierError(
            title,
            f"{quoted_name(name)}: {reason}.",
            "Name a model of `luthier models`, or a folder.",
        )
    repository = hub_name(name) or ("" if is_url(name) else hub_name_of_path(path))
    if repository:
        local = repository.partition("/")[2]
        if is_model_directory(models_directory() / local):
            return LuthierError(
                title,
                f"{repository} is a model on the hub. On this machine its name is {local!r}.",
                f"Use that name: {local}",
            )
        message = (
            f"{repository} looks like a model on the hub. A run needs a model on this machine, and"
            " no folder has that name."
        )
        return LuthierError(
            title,
            message,
            f"Run `luthier models import {HUB}{repository}`, then use the name {local}.",
        )
    if is_url(name):
        return LuthierError(
            title,
            f"{name} is a web address; `model` takes a folder or the name of a model on this"
            " machine.",
            "Download it, then name its folder.",
        )
    if path.suffix.lower() == ".gguf" and path.is_file():
        return LuthierError(
            "A GGUF file, not a folder",
            f"{path} is a single file.",
            f"Run `luthier models import {path}` first: it turns the file into a model.",
        )
    if path.is_file():
        return LuthierError(
            "A file, not a model",
            f"{path} is a file.",
            f"A model is a folder with config.json, for example {path.parent}.",
        )
    if JOB_ID.fullmatch(name) and (jobs_directory() / name).is_dir():
        merged = f'for an adapter, `luthier merge {name}` makes "{name}/{MERGED_FOLDER}"'
        hint = f'If the run trained every weight, write "{name}/{MODEL_FOLDER}"; {merged}.'
        return LuthierError(title, f"{name} is a run, not a model.", hint)
    meant = did_you_mean(name, [model.name for model in list_models()])
    hint = (
        f"{meant}Write a folder or one of these names, or fetch another model with `luthier models"
        f" import {HUB}owner/name`."
    )
    return LuthierError(title, f"{name!r} is neither a folder nor one of: {names}.", hint)


def _adapter(directory: Path) -> LuthierError:
    try:
        base = ModelFolder(directory).adapter_config.get("base_model_name_or_path")
    except LuthierError:
        base = None
    of = f" of {base}" if base else ""
    hint = (
        "Name its base model instead, or merge the two first: `luthier merge --base BASE"
        f" --adapter {directory} --out FOLDER`. To serve it: `luthier serve --model BASE --adapter"
        f" NAME={directory}`."
    )
    return LuthierError(
        "An adapter, not a model",
        f"{directory} contains an adapter{of}, without the weights that it changes.",
        hint,
    )


def display_name(directory: Path) -> str:
    """A model's short name: its folder's; of a run's own model the run's with "-merged" or
    "-model"."""
    return (
        f"{directory.parent.name}-{directory.name}"
        if directory.parent.parent == jobs_directory()
        else directory.name
    )


def describe(name: str, directory: Path) -> Model:
    """What a model's own files say of it; only headers are read, no weights."""
    model = ModelFolder(directory)
    try:
        config = model.config
        parameters = sum(
            math.prod(shape)
            for path in directory.glob("*.safetensors")
            for shape in tensor_shapes(path).values()
        )
    except (LuthierError, OSError) as error:
        reason = error.message if isinstance(error, LuthierError) else in_words(error).message
        return Model(
            name, directory, False, "?", None, _size(directory), None, "", f"damaged: {reason}"
        )
    architecture = (config.get("architectures") or [config.get("model_type") or "?"])[0]
    return Model(
        name,
        directory,
        True,
        architecture,
        parameters,
        _size(directory),
        model.context_length,
        model.shown_card.title,
        model.card_damage,
    )


def prepare_builtin() -> Job | None:
    """The job that prepares the built-in model, a running one if there is one; None if the model is
    ready."""
    if is_model_directory(builtin_directory()):
        return None
    for job in all_jobs("prepare"):
        if job.alive():
            return job
    gguf_file()
    check_libraries("prepare the built-in model")
    return submit(Spec(kind="prepare", name=BUILTIN, module=_BUILTIN_WORKER, grace_seconds=10.0))


def _unprepared_builtin() -> Model:
    return Model(
        BUILTIN,
        builtin_directory(),
        False,
        "LlamaForCausalLM",
        None,
        0,
        None,
        "SmolLM2-135M-Instruct, not prepared yet",
    )


def _size(directory: Path) -> int:
    try:
        return sum(path.stat().st_size for path in directory.iterdir() if path.is_file())
    except OSError:
        return 0


def valid_name(name: str) -> str:
    """`name` if it can name a model's folder. LuthierError if it could lead elsewhere."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name):
        raise LuthierError(
            "Not a name",
            f"{name!r} cannot be the name of a model.",
            "Use letters, digits, dots, hyphens and underscores.",
        )
    return name
