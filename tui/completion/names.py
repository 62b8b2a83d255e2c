"""The names that a command may mean, read live from the home and the current folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from jobs.home import jobs_directory, models_directory
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.spec import slug
from tui.completion.name_parameter import NameKind

_MOST_JOBS = 200
_MOST_FILES = 500
_TIME_LENGTH = len("20261122-1530")  # what stands before the name in an id


class Suggestion(NamedTuple):
    name: str
    help: str = ""


def suggestions(kind: NameKind, beginning: str) -> list[Suggestion]:
    """What there is of a kind whose name begins so, as far as the home can be read: a tab is no
    moment for an error."""
    fitting: list[Suggestion] = []
    with suppress(OSError, LuthierError, ValueError):
        for suggestion in _READERS[kind](beginning):
            # a word with a hyphen in front would be taken for an option
            if suggestion.name.startswith(beginning) and not suggestion.name.startswith("-"):
                fitting.append(suggestion)
    return fitting


def _jobs(beginning: str, *kinds: str) -> Iterator[Job]:
    """The newest readable jobs of these kinds whose id, or the name in it, begins so."""
    with suppress(FileNotFoundError):
        ids = sorted((entry.name for entry in os.scandir(jobs_directory())), reverse=True)
        if beginning:
            part = f"-{slug(beginning)}"
            ids = [
                job_id
                for job_id in ids
                if job_id.startswith(beginning) or part in job_id[_TIME_LENGTH:]
            ]
        for job in (Job(jobs_directory() / job_id) for job_id in ids[:_MOST_JOBS]):
            if job.readable() and (not kinds or job.spec.kind in kinds):
                yield job


def _names_of(jobs: Iterator[Job], beginning: str) -> Iterator[Suggestion]:
    """A job by its name if it is the newest that has it, else by its short id; by the whole id
    where that is what was begun."""
    names: set[str] = set()
    for job in jobs:
        name = job.spec.name
        is_newest = name not in names and not name.startswith("-")
        names.add(name)
        when = time.strftime("%-d %b %H:%M", time.localtime(job.created))
        is_begun_id = beginning[:1].isdigit() and job.id.startswith(beginning)
        short = name if is_newest else job.short_id
        yield Suggestion(job.id if is_begun_id else short, f"{job.spec.kind}, {when}")


def _run_names(beginning: str) -> Iterator[Suggestion]:
    name, at, _ = beginning.rpartition("@")
    return _checkpoints(name) if at else _names_of(_jobs(beginning, "run"), beginning)


def _checkpoints(run_name: str) -> Iterator[Suggestion]:
    """The checkpoints of a run: RUN@STEP, the newest first."""
    from models.run_folder import RunFolder

    for job in _jobs(run_name, "run"):
        if run_name in (job.spec.name, job.id, job.short_id):
            steps = RunFolder(job.directory).complete_checkpoints()
            yield from (Suggestion(f"{run_name}@{step}") for step, _ in reversed(steps))
            return


def _job_names(beginning: str) -> Iterator[Suggestion]:
    return _names_of(_jobs(beginning), beginning)


def _living_job_names(beginning: str) -> Iterator[Suggestion]:
    jobs = (job for job in _jobs(beginning) if job.supervisor() is not None)
    return _names_of(jobs, beginning)


def _server_names(beginning: str) -> Iterator[Suggestion]:
    jobs = (job for job in _jobs(beginning, "server") if job.supervisor() is not None)
    return _names_of(jobs, beginning)


def _served_models(beginning: str) -> Iterator[Suggestion]:
    from serve.servers import read_server

    for job in _jobs("", "server"):
        if job.supervisor() is not None and (server := read_server(job)) is not None:
            yield from (Suggestion(model.id, model.kind) for model in server.models)
            return


def _models(beginning: str) -> Iterator[Suggestion]:
    from models.builtin import BUILTIN
    from models.model_directory import is_model_directory
    from models.run_folder import RunFolder

    yield Suggestion(BUILTIN, "the small chat model that comes with Luthier")
    with suppress(FileNotFoundError):
        for path in sorted(models_directory().iterdir()):
            if path.name != BUILTIN and not path.name.startswith(".") and is_model_directory(path):
                yield Suggestion(path.name)
    for job in _jobs(beginning.partition("/")[0], "run"):
        folder = RunFolder(job.directory)
        for path in (folder.model, folder.merged):
            if path.is_dir():
                yield Suggestion(f"{job.id}/{path.name}", "made by a run")


def _import_sources(beginning: str) -> Iterator[Suggestion]:
    from models.builtin import BUILTIN

    yield Suggestion(BUILTIN, "the small chat model that comes with Luthier")
    yield Suggestion("hub:", "a model on the hub: hub:OWNER/NAME")


def _export_forms(beginning: str) -> Iterator[Suggestion]:
    from models.export.formats import ALL

    yield from (Suggestion(str(form), form.family) for form in ALL)


def _presets(beginning: str) -> Iterator[Suggestion]:
    from trainer.presets import presets

    for preset in presets():
        yield Suggestion(preset.name, preset.purpose)


def _sweeps(beginning: str) -> Iterator[Suggestion]:
    from models.runs import Run

    ids: set[str] = set()
    for job in _jobs("", "run"):
        sweep = Run(job).sweep
        if sweep is not None and sweep.id not in ids:
            ids.add(sweep.id)
            yield Suggestion(sweep.id, f"{sweep.of} runs")


def _endpoints(beginning: str) -> Iterator[Suggestion]:
    from models.endpoints import hosted_endpoints

    for endpoint in hosted_endpoints():
        yield Suggestion(endpoint.name, endpoint.url)


def _chats(beginning: str) -> Iterator[Suggestion]:
    from serve.chats.search import chats

    for chat in chats(limit=_MOST_JOBS):
        yield Suggestion(chat.id, chat.title)


def _recipe_files(beginning: str) -> Iterator[Suggestion]:
    return files(beginning, (".toml",))


def _data_files(beginning: str) -> Iterator[Suggestion]:
    from trainer.data_endings import DATA_ENDINGS

    return files(beginning, (*DATA_ENDINGS, ".json"))


def files(beginning: str, endings: tuple[str, ...] = ("",)) -> Iterator[Suggestion]:
    """Files with these endings and folders, in the folder that is named so far. The shell knows
    whose home ~ is: there it completes by itself."""
    name = beginning.rpartition("/")[2]
    shown_folder = beginning[: len(beginning) - len(name)]
    if beginning.startswith("~"):
        return
    entries = sorted(os.scandir(shown_folder or "."), key=lambda entry: entry.name)
    fitting = [
        entry
        for entry in entries
        if entry.name.startswith(name) and (name or not entry.name.startswith("."))
    ]
    for entry in fitting[:_MOST_FILES]:
        path = f"{shown_folder}{entry.name}"
        safe = f"./{path}" if path.startswith("-") else path
        if entry.is_dir():
            yield Suggestion(f"{safe}/")
        elif entry.name.lower().endswith(endings):
            yield Suggestion(safe)


_READERS: dict[NameKind, Callable[[str], Iterator[Suggestion]]] = {
    "run": _run_names,
    "job": _job_names,
    "living job": _living_job_names,
    "server": _server_names,
    "served model": _served_models,
    "model": _models,
    "preset": _presets,
    "sweep": _sweeps,
    "endpoint": _endpoints,
    "chat": _chats,
    "recipe file": _recipe_files,
    "data file": _data_files,
    "import source": _import_sources,
    "export form": _export_forms,
}
