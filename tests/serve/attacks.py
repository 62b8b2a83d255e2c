"""What somebody without a key would try. Shared by the fast tier, which asks the fake vLLM, and the
real one."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator

from serve.servers import Server

METHODS = (
    "GET",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "HEAD",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "get",
    "BREW",
)
WRONG = "Authorization: Bearer wrong-key-wrong-key-wrong"
REFUSED = frozenset({401, 404})
# uvicorn's own answers to what is no proper request: no application has seen it.
BROKEN = frozenset({400, 405, 413, 414, 431, 501})


def tricks(path: str) -> list[str]:
    """Spellings that a router, or a proxy before it, might take for `path`."""
    inner = path.strip("/")
    encoded = inner.replace("/", "%2f")
    return [
        f"//{inner}",
        f"/./{inner}",
        f"/health/../{inner}",
        f"/health/%2e%2e/{inner}",
        f"/{encoded}",
        f"/%2f{inner}",
        f"/{inner}/",
        f"/{inner}%00",
        f"/{inner};a=b",
        f"/{inner}?key=x",
        f"/{inner}#x",
        f"/{inner.upper()}",
        f"\\{inner}",
        f"/%{ord(inner[:1] or '/'):02x}{inner[1:]}",
        f"http://127.0.0.1/{inner}",
        f"http://user:pass@127.0.0.1/{inner}",
    ]


def headers() -> Iterator[tuple[str, list[str]]]:
    """Name and header lines of requests that carry no good key."""
    yield "no key", []
    yield "a wrong key", [WRONG]
    yield "two keys", [WRONG, "Authorization: Bearer other-key-other-key"]
    yield "another scheme", ["Authorization: Basic dXNlcjpwYXNz"]
    yield "an empty key", ["Authorization: Bearer "]
    yield "vLLM's own ways", ["X-Api-Key: wrong", "Api-Key: wrong", "Cookie: key=wrong"]
    yield (
        "as if from a proxy",
        [
            "X-Forwarded-For: 127.0.0.1",
            "X-Original-URL: /health",
            "X-Rewrite-URL: /health",
            "X-HTTP-Method-Override: GET",
        ],
    )
    yield (
        "another host",
        [
            "Host: evil.example",
            "Origin: http://evil.example",
            "Access-Control-Request-Method: POST",
        ],
    )


def oversized() -> Iterator[tuple[str, list[str]]]:
    yield "a long header", [f"X-Long: {'a' * 100_000}"]
    yield "a long key", [f"Authorization: Bearer {'k' * 60_000}"]
    yield "many headers", [f"X-Many-{number}: {number}" for number in range(2_000)]
    yield "no text", ["Authorization: Bearer \x80\xff"]


def ask(
    server: Server, method: str, path: str, lines: Iterable[str] = (), body: bytes = b"{}"
) -> tuple[int, bytes]:
    """Status and body of one request, sent byte for byte as it stands. Status 0: the connection was
    closed without an answer."""
    sized = (
        []
        if method in ("GET", "HEAD", "OPTIONS")
        else [f"Content-Length: {len(body)}", "Content-Type: application/json"]
    )
    named = (
        [] if any(line.lower().startswith("host:") for line in lines) else [f"Host: {server.host}"]
    )
    head = "\r\n".join(
        [f"{method} {path} HTTP/1.1", *named, "Connection: close", *sized, *lines, "", ""]
    )
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has refused already
            connection.sendall(head.encode("latin-1") + (body if sized else b""))
        return _answer(connection)


def _answer(connection: socket.socket) -> tuple[int, bytes]:
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while block := connection.recv(65_536):
            received += block
    head, _, body = received.partition(b"\r\n\r\n")
    first = head.split(b" ", 2)
    return (int(first[1]) if len(first) > 1 and first[1].isdigit() else 0), body


def opened(server: Server, routes: Iterable[tuple[str, str]]) -> list[str]:
    """Everything among these attacks that was answered otherwise than by a refusal. `routes` are
    the server's own: method and path."""
    found: list[str] = []

    def attempt(
        what: str, method: str, path: str, lines: list[str], allowed: frozenset[int]
    ) -> None:
        status, body = ask(server, method, path, lines)
        if status not in allowed or (
            status == 401 and method not in ("HEAD", "CONNECT") and b"API key" not in body
        ):
            found.append(f"{what}: {method} {path!r} -> {status} {body[:80]!r}")

    paths = sorted({path for _, path in routes})
    for method, path in routes:
        for what, lines in headers():
            attempt(what, method, path, lines, REFUSED)
    for path in paths:
        for method in METHODS:
            attempt("an odd method", method, path, [WRONG], REFUSED | BROKEN)
        for trick in tricks(path):
            for method in ("GET", "POST"):
                attempt("another spelling", method, trick, [], REFUSED | BROKEN)
    for path in paths[:3]:
        for what, lines in oversized():
            attempt(what, "POST", path, lines, REFUSED | BROKEN | {0})
    return found
