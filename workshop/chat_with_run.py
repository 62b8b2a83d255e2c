"""From a run to somebody to talk to: a server of its base model that has its adapter, started or
found; or the adapters of two runs that were compared."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from jobs.job import Job
from jobs.luthier_error import LuthierError
from models.registry import resolve
from models.runs import Run
from serve import launch
from serve.plan import BASE
from serve.planning import NamedAdapter
from serve.servers import Server
from workshop.served_runs import adapters_of, own_model
from workshop.servers import LOCALHOST, add_adapters, living_job


def server_job(run: Run, *beside: Run) -> Job:
    """The server of the run's base model, living or just started; a starting one is not ready
    yet. `beside` are further runs with an adapter of this base."""
    model = own_model(run)
    if model is not None:
        return _living_or_new(resolve(model.name).resolve(), model.name, [])
    base, adapters = adapters_of([run, *beside])
    return _living_or_new(run.base.resolve(), base, adapters)


def check_side_by_side(run: Run, against: Run | None) -> None:
    """LuthierError if no one server has both models of a comparison: the run's, and that of the run
    `against` or, where that is None, the base."""
    runs = [run] if against is None else [against, run]
    for each in runs:
        if not each.job.directory.is_dir():
            raise LuthierError(
                "The run was removed",
                f"{each.id} is not there any more, so its model cannot be asked.",
                "The report keeps the answers of both models.",
            )
    for each in runs:
        if own_model(each) is not None:
            raise LuthierError(
                "No server has both models",
                f"{each.id} is served as a model of its own, not as an adapter, so the model that"
                " it was compared with needs another server.",
                "The report has the answers of both. To chat with one of them alone, press a on the"
                " screen of its run.",
            )


def system_prompt_of(runs: Iterable[Run]) -> str:
    """What a chat with these runs begins with: the system prompt that all their data has, because
    their models were trained with it; "" if there is none, or not one alone."""
    prompts = {run.system_prompt for run in runs}
    return prompts.pop() if len(prompts) == 1 else ""


def _living_or_new(directory: Path, base: str, adapters: list[NamedAdapter]) -> Job:
    living = living_job(directory, LOCALHOST)
    if living is not None:
        return living
    try:
        return launch.serve(base, adapters)
    except LuthierError:
        living = living_job(directory, LOCALHOST)  # its certificate was quicker
        if living is None:
            raise
        return living


def have_it_serve(server: Server, run: Run) -> str:
    """The name under which a ready server has the run's model, its adapter loaded now if it had
    not."""
    if own_model(run) is not None:
        return BASE
    _, (adapter,) = adapters_of([run])
    return have_adapter_served(server, adapter, otherwise=run.id)


def have_adapter_served(server: Server, adapter: NamedAdapter, otherwise: str) -> str:
    """The name under which a ready server has an adapter, loaded now if it had not: its own, or
    `otherwise` where another model of the server has that."""
    name, path, run_id = adapter
    taken = {model.id for model in server.models if model.path.resolve() != path.resolve()}
    added = add_adapters(server, [(otherwise if name in taken else name, path, run_id)])
    if added:
        return added[0]
    return next(model.id for model in server.models if model.path.resolve() == path.resolve())
