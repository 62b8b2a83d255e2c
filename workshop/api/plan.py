"""What the API's job is told: where it listens, and what it takes. Light."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from models import foreign
from serve.servers import base_url

LARGEST_FILE = 512_000_000
"""Bytes of one uploaded file, unless it is told another limit: OpenAI's own."""
READY = "ready"


@dataclass(frozen=True)
class ApiPlan:
    """Everything that the API's job needs to know. It holds no keys."""

    host: str
    port: int
    largest_file: int = LARGEST_FILE
    """Bytes of one uploaded file at most."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Models by the names that programs have for them: "gpt-4o-mini" is "builtin", say."""

    starts_servers: bool = True
    """Whether a chat with a model that nobody serves starts its server."""

    @property
    def base_url(self) -> str:
        """What a program's client takes as its base URL."""
        return f"{base_url(self.host, self.port)}/v1"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ApiPlan:
        return foreign.convert(values, cls, "the API's settings")
