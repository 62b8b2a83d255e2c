"""The server that the chat screen talks to: where it is and which models it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.certificate import Standing
from serve.client import Endpoint
from serve.servers import running_servers
from tui.serving import standings_of


@dataclass(frozen=True)
class ChatServer:
    """`models` are the names to ask for, the base model first; `tuned` are those that a run made, `standings` their certificates."""

    endpoint: Endpoint
    models: tuple[str, ...]
    tuned: frozenset[str] = frozenset()
    standings: Mapping[str, Standing] = field(default_factory=dict)

    def default_models(self) -> tuple[str, str]:
        """The base model, and the first tuned one beside it."""
        base = self.models[0]
        return base, next((model for model in self.models if model in self.tuned), base)

    def model_after(self, model: str) -> str:
        if model not in self.models:
            return self.models[0]
        return self.models[(self.models.index(model) + 1) % len(self.models)]


def newest_server() -> ChatServer | None:
    """The newest of Luthier's servers that are ready; None when there is none."""
    for server in running_servers():
        bases = {model.path: model.id for model in reversed(server.models) if model.kind == "base"}  # one name each: the first
        tuned = [model.id for model in server.models if model.kind == "adapter"]
        return ChatServer(server.endpoint, (*bases.values(), *tuned), frozenset(tuned), standings_of(server.models))
    return None
