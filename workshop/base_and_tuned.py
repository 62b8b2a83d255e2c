"""A run's base and tuned model, to be asked the same questions: both of one server, or, where the
tuned one is a model of its own, of one server after the other."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from models.folder import ModelFolder
from models.runs import Run
from serve.client import Endpoint
from serve.plan import BASE
from serve.planning import NamedAdapter
from serve.servers import Server
from workshop.asking_job import AskingJob
from workshop.served_runs import adapters_of, own_model

SideName = Literal["base", "tuned", "beside"]
SIDES: tuple[SideName, ...] = ("base", "tuned")


@dataclass(frozen=True)
class Side:
    """A model of an endpoint. `identity` says which weights it stands for."""

    endpoint: Endpoint
    model: str
    identity: str


class BaseAndTuned:
    """Lends what is asked next. Ask everything of the base first: then no server starts twice.
    `beside` is another run's adapter, which stands beside the tuned one."""

    def __init__(self, job: AskingJob, run: Run, beside: Run | None = None) -> None:
        self._job, self._run = job, run
        self._adapter_runs = [run] if beside is None else [run, beside]
        self._own = own_model(run)
        self._lent = ExitStack()
        self._lent_model = ""
        self._current: Server | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lent.__exit__(kind, error, trace)

    @property
    def folders(self) -> list[Path]:
        """Where the weights of both lie."""
        return [self._run.base, self._run.adapter() if self._own is None else self._own.path]

    def side(self, name: SideName) -> Side:
        base = str(self._run.base.resolve())
        if self._own is not None:
            if name == "base":
                return Side(self._have(self._run.base_name, None).endpoint, BASE, base)
            server = self._have(self._own.name, None)
            return Side(server.endpoint, BASE, str(self._own.path))
        _, adapters = adapters_of(self._adapter_runs)
        server = self._have(self._run.base_name, adapters)
        if name == "base":
            return Side(server.endpoint, BASE, base)
        path = adapters[0 if name == "tuned" else 1][1].resolve()
        model = next(model.id for model in server.models if model.path.resolve() == path)
        return Side(server.endpoint, model, ModelFolder(path).identity())

    def _have(self, model: str, adapters: list[NamedAdapter] | None) -> Server:
        """The server of this model, which may have been lent for the other side already."""
        if self._current is None or self._lent_model != model:
            self._lent.close()
            self._current = self._lent.enter_context(self._job.lend(model, adapters or []))
            self._lent_model = model
        return self._current
