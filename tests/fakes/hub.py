"""A stand-in for the Hugging Face hub: data set repositories of given files, served as the real one serves them to `datasets` through
HF_ENDPOINT. It answers with the hub's own error codes, and can cut a file off in the middle of a download."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"

# The files of each repository, by "owner/name" and then by path.
Repositories = dict[str, dict[str, bytes]]


class HubServer(ThreadingHTTPServer):
    """`requests` are the lines of all requests so far. No more than `cut_after` bytes of any file named in `cut` are ever sent."""

    daemon_threads = True

    def __init__(self, repositories: Repositories) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.requests: list[str] = []
        self.cut: set[str] = set()
        self.cut_after = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def hub(repositories: Repositories) -> Iterator[HubServer]:
    with HubServer(repositories) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *args: Any) -> None:
        self.server.requests.append(self.requestline)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[:2] != ["api", "datasets"] or parts[4] != "paths-info":
            return self._error("EntryNotFound")
        repository = self.server.repositories.get("/".join(parts[2:4]))
        if repository is None:
            return self._error("RepoNotFound")
        wanted = json.loads(body)["paths"] if body[:1] == b"{" else parse_qs(body.decode())["paths"]
        return self._json([found for path in wanted if (found := _info(repository, path.strip("/")))])

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        parts = unquote(url.path).strip("/").split("/")
        if parts[:2] == ["api", "datasets"]:
            return self._api("/".join(parts[2:4]), parts[4:], parse_qs(url.query))
        if parts[0] == "datasets" and parts[3:4] == ["resolve"]:
            return self._file("/".join(parts[1:3]), "/".join(parts[5:]))
        return self._error("EntryNotFound")

    def _api(self, name: str, what: list[str], query: dict[str, list[str]]) -> None:
        repository = self.server.repositories.get(name)
        if repository is None:
            return self._error("RepoNotFound")
        if what[:1] == ["tree"]:
            folder = "/".join(what[2:])
            entries = _tree(repository, folder, recursive=query.get("recursive", ["false"])[0].lower() in ("true", "1"))
            return self._json(entries) if entries or not folder else self._error("EntryNotFound")
        if not what or what[0] == "revision":
            siblings = [{"rfilename": path} for path in repository]
            return self._json({"id": name, "sha": COMMIT, "private": False, "gated": False, "siblings": siblings, "tags": []})
        return self._error("EntryNotFound")

    def _file(self, name: str, path: str) -> None:
        repository = self.server.repositories.get(name)
        if repository is None:
            return self._error("RepoNotFound")
        if path not in repository:
            return self._error("EntryNotFound")
        data = repository[path]
        first, last = 0, len(data) - 1
        if asked := self.headers.get("Range"):
            begin, _, end = asked.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(int(end or last), last)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{_oid(data)}"')
        self.end_headers()
        if self.command == "HEAD":
            return
        body = data[first : last + 1]
        if path in self.server.cut:
            body = body[: max(0, self.server.cut_after - first)]
            self.close_connection = True
        self.wfile.write(body)

    def _json(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, code: str) -> None:
        status = 401 if code == "RepoNotFound" else 404  # the hub tells strangers of private and of missing ones in the same words
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _info(repository: dict[str, bytes], path: str) -> dict[str, Any] | None:
    if path in repository:
        return {"type": "file", "path": path, "size": len(repository[path]), "oid": _oid(repository[path])}
    if any(name.startswith(f"{path}/") for name in repository):
        return {"type": "directory", "path": path, "size": 0, "oid": _oid(path.encode())}
    return None


def _tree(repository: dict[str, bytes], folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    prefix = f"{folder}/" if folder else ""
    below = [path.removeprefix(prefix) for path in repository if path.startswith(prefix)]
    paths = {f"{prefix}{'/'.join(parts[:depth])}" for parts in (path.split("/") for path in below) for depth in range(1, len(parts) + 1)}
    found = sorted(path for path in paths if recursive or "/" not in path.removeprefix(prefix))
    return [info for path in found if (info := _info(repository, path))]
