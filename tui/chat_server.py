"""The server that the chat screen talks to: where it is and which models it has."""

from __future__ import annotations

from dataclasses import dataclass

from serve.client import Endpoint
from serve.servers import running_servers


@dataclass(frozen=True)
class ChatServer:
    """`models` are the names to ask for, the base model first; `tuned` are those that a run made."""

    endpoint: Endpoint
    models: tuple[str, ...]
    tuned: frozenset[str] = frozenset()

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
        return ChatServer(server.endpoint, (*bases.values(), *tuned), frozenset(tuned))
    return None
