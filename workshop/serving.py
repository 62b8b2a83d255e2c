"""From runs to what a server of them needs. Here, because neither trainer nor serve knows the
other."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from jobs.errors import LuthierError
from jobs.home import jobs_directory
from jobs.job import Job
from models.certificate import Standing, standing
from models.folder import ModelFolder
from serve import launch, servers
from serve.launch import NamedAdapter
from serve.servers import ServedModel, Server
from trainer.launch import adapter_directory


def base_of(run: Job) -> str:
    """The base model of a run, by the name its recipe has for it."""
    return str(run.spec.settings["model"])


def adapters_of(runs: list[Job]) -> tuple[str, list[NamedAdapter]]:
    """The base that these runs share, and their adapters, each served under its run's name (of two
    of a name: under the run's id).

    LuthierError if the bases differ or a run has no adapter.
    """
    bases = {str(run.spec.settings["model_directory"]) for run in runs}
    if len(bases) > 1:
        raise LuthierError(
            "More than one base model",
            f"The runs have {', '.join(sorted(bases))}.",
            "Serve them one base at a time.",
        )
    names = [run.spec.name for run in runs]
    adapters: list[NamedAdapter] = [
        (
            run.spec.name if names.count(run.spec.name) == 1 else run.id,
            adapter_directory(run),
            run.id,
        )
        for run in runs
    ]
    return base_of(runs[0]), adapters


def server_of(base: Path, host: str) -> Server | None:
    """A running server of this base model on this host."""
    return next(
        (
            server
            for server in servers.running_servers()
            if server.plan.base == base and server.host == host
        ),
        None,
    )


def add_adapters(server: Server, adapters: list[NamedAdapter]) -> list[str]:
    """Load adapters into a running server. Those that it has already are left alone, but one whose
    folder has another content by now makes way for it. One whose name another model has gets its
    run's id in the place of the name. The names that were added."""
    added: list[str] = []
    for name, path, run in adapters:
        content = ModelFolder(path).identity()
        served = [model.id for model in server.models if model.path.resolve() == path.resolve()]
        outdated = [one for one in served if server.contents.get(one, content) != content]
        if served and served != outdated:
            continue
        for one in outdated:
            launch.detach(server, one)
        taken = name in added or any(
            model.id == name and model.path.resolve() != path.resolve() for model in server.models
        )
        added.append(
            launch.attach(
                server, run + checkpoint_of(name) if taken and run is not None else name, path
            )
        )
    return added


def checkpoint_of(name: str) -> str:
    """What stands behind a run's name for a checkpoint: "@400", or nothing."""
    return "".join(name.partition("@")[1:])


def standings_of(models: Iterable[ServedModel]) -> dict[str, Standing]:
    """The certificates of the served models that runs have made, by the models' names."""
    return {
        model.id: standing(jobs_directory() / model.run)
        for model in models
        if model.run is not None
    }
