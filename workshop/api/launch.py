"""Starting the fine-tuning API as a job, and finding the one that runs. Light."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.job import Job, all_jobs, submit
from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean
from jobs.spec import Spec
from jobs.state import Running
from models import registry
from models.installation import check_libraries
from serve.key_files import client_key, control_key
from serve.planning import living_servers
from serve.ports import choose_port, choosing
from workshop.api.plan import LARGEST_FILE, READY, ApiPlan

LAST_PORT_FILE = "api-port"
"""In the home: where the API listened last, and will again, so that programs keep their address."""
_STOP_SECONDS = 15.0


@dataclass(frozen=True)
class Api:
    """The API's job and what it was told."""

    job: Job
    plan: ApiPlan

    @property
    def base_url(self) -> str:
        return self.plan.base_url

    @property
    def answers(self) -> bool:
        return isinstance(self.job.state(), Running)


def living_api() -> Api | None:
    """The API that runs or starts in this home: there is one at most."""
    job = next((job for job in all_jobs("api") if job.alive()), None)
    return None if job is None else Api(job, ApiPlan.from_json(job.spec.settings))


def start_api(
    host: str = "127.0.0.1",
    port: int | None = None,
    largest_file: int = LARGEST_FILE,
    aliases: dict[str, str] | None = None,
    *,
    starts_servers: bool = True,
) -> Api:
    """Start the API. LuthierError if one lives in this home, or if it cannot listen there."""
    aliases = aliases or {}
    for name, model in aliases.items():
        _check_alias(name, model)
    check_libraries("run the API")
    client_key(), control_key()
    with choosing():
        living = living_api()
        if living is not None:
            raise LuthierError(
                "The API runs already",
                f"{living.job.id} answers at {living.base_url}.",
                "`luthier api stop` ends it.",
            )
        promised = {plan.port for _, plan in living_servers()}
        chosen_port = choose_port(host, port, promised, LAST_PORT_FILE)
        plan = ApiPlan(host, chosen_port, largest_file, aliases, starts_servers)
        spec = Spec(
            kind="api",
            name="api",
            module="workshop.api.worker",
            settings=plan.to_json(),
            ready_phase=READY,
            preempts="never",
            starts_jobs=True,
            grace_seconds=_STOP_SECONDS,
        )
        return Api(submit(spec), plan)


def _check_alias(name: str, model: str) -> None:
    names = [base.name for base in registry.list_models()]
    if name in names:
        raise LuthierError(
            "A model has that name",
            f"{name!r} is a model here, and cannot stand for another one.",
            "Choose another alias.",
        )
    if model not in names:
        raise LuthierError(
            "No such model",
            f"The alias {name!r} stands for {model!r}, which is not here.",
            f"{did_you_mean(model, names)}There are: {', '.join(names)}.",
        )
