"""Every door of a running server, tried without a key: the real guard before a vLLM without a
model, over real sockets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from serve.guard import CLIENT_ROUTES
from serve.key_files import client_key, control_key
from tests.serve.attacks import ask, opened
from tests.serve.test_life import Starter, start

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(90)]
__all__ = ["start"]


def test_nothing_is_answered_without_a_key(start: Starter) -> None:
    server = start()
    routes = [
        *(
            ("GET", path)
            for path in (
                "/health",
                "/metrics",
                "/v1/models",
                "/docs",
                "/openapi.json",
                "/luthier/server",
                "/",
            )
        ),
        *(
            ("POST", path)
            for path in (
                "/v1/chat/completions",
                "/v1/load_lora_adapter",
                "/fake/crash",
                "/luthier/drain",
                "/luthier/pin",
            )
        ),
    ]
    assert opened(server, routes) == []
    assert (
        server.job.alive()
        and ask(server, "GET", "/health", [f"Authorization: Bearer {client_key()}"])[0] == 200
    )


def test_the_client_key_opens_its_list_and_no_other_spelling_of_more(start: Starter) -> None:
    server = start()
    key = [f"Authorization: Bearer {client_key()}"]
    for path in (
        "/v1/load_lora_adapter",
        "/fake/crash",
        "/luthier/drain",
        "/luthier/pin",
        "/luthier/unpin",
        "/docs",
    ):
        for spelled in (
            path,
            f"/{path}",
            f"/health/..{path}",
            path.replace("/", "/%2e/", 1),
            f"{path}/",
            path.upper(),
        ):
            assert ask(server, "POST", spelled, key)[0] == (403 if spelled == path else 404), (
                spelled
            )
    assert {
        ask(server, method, path, key)[0]
        for method, path in CLIENT_ROUTES
        if path in ("/health", "/metrics", "/v1/models")
    } == {200}
    assert (
        ask(server, "POST", "/luthier/nowhere", [f"Authorization: Bearer {control_key()}"])[0]
        == 404
    )


def test_keys_are_nowhere_but_in_their_files(start: Starter) -> None:
    server = start(log_content=True)
    for key in (client_key(), control_key(), "sk-a-key-of-somebody-elses"):
        for lines in (
            [],
            [f"Authorization: Bearer {client_key()}"],
            [f"Authorization: Bearer {control_key()}"],
        ):
            ask(server, "GET", f"/v1/models?key={key}", lines)
            ask(server, "GET", f"/is_not?api_key={key}", [*lines, f"X-Api-Key: {key}"])
        for own in (client_key(), control_key()):
            ask(server, "GET", f"/{own}/v1/models", [f"Authorization: Bearer {control_key()}"])
            ask(
                server,
                "POST",
                "/v1/chat/completions",
                [f"Authorization: Bearer {key}"],
                json.dumps({"model": own}).encode(),
            )
    # what is logged is the route alone
    assert server.job.log_path.read_text().count("GET /is_not HTTP") == 9
    secrets = (client_key().encode(), control_key().encode(), b"sk-a-key")
    for path in server.job.directory.iterdir():
        assert not any(key in path.read_bytes() for key in secrets), path
    assert {
        path.stat().st_mode & 0o777
        for path in (Path(server.job.directory.parents[1]) / "keys").iterdir()
    } == {0o600}
