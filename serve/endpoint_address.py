"""An endpoint that a person names: by its address, or as config.toml calls it."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean
from models.endpoints import HostedEndpoint, address_parts, hosted_endpoints
from serve.client import Endpoint
from serve.servers import running_servers

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def hosted_at(
    where: str, purpose: str, key_variables: Sequence[str] = (), key_file: str = ""
) -> HostedEndpoint:
    """`where` is an address, or a name of config.toml. The key's variable is the first of those
    given that config.toml does not settle. LuthierError if `where` is neither."""
    if "://" not in where:
        endpoints = hosted_endpoints()
        configured = next((hosted for hosted in endpoints if hosted.name == where), None)
        if configured is None:
            meant = did_you_mean(where, [hosted.name for hosted in endpoints])
            raise LuthierError(
                "No such endpoint",
                f"config.toml has no endpoint named {where!r}.",
                f"{meant}`luthier endpoints add {where} URL` adds it.",
            )
        if not key_variables and not key_file:
            return configured
        where = configured.url
    parts = address_parts(where)
    is_web = parts.scheme in ("http", "https") and parts.hostname
    if not is_web or parts.username or parts.password:
        raise LuthierError(
            "Not an address",
            f"{where!r} is not an address for {purpose}.",
            "It looks like https://api.openai.com/v1, without a key.",
        )
    key_variable = next(iter(key_variables), "")
    return HostedEndpoint(purpose, where, "" if key_file else key_variable, key_file)


def own_server_at(where: str) -> Endpoint | None:
    """One of Luthier's own servers that run here, with its key."""
    if "://" not in where:
        return None
    parts = address_parts(where)
    return next(
        (
            server.endpoint
            for server in running_servers()
            if server.port == parts.port and parts.hostname in (server.host, *_LOOPBACK)
        ),
        None,
    )
