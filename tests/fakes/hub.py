"""A stand-in for the Hugging Face hub: repositories of given files, data sets and models alike,
served as the real one serves them to `datasets` and `huggingface_hub` through HF_ENDPOINT; models
can be pushed to it too. It answers with the hub's own error codes, and can cut files off in the
middle, refuse tokens, gate repositories and have trouble."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml  # type: ignore[import-untyped]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_MEGABYTE = 1_000_000
_LARGE = 10_000_000  # bytes, from which on a file goes to the large storage whatever it is

# The files of each repository, by "owner/name" and then by path.
Repositories = dict[str, dict[str, bytes]]


class HubServer(ThreadingHTTPServer):
    """`requests` are the lines of all requests so far. No more than `cut_after` bytes of any file
    named in `cut` are ever sent.

    `cuts` has files that are cut off that often at `cut_after` bytes of one answer, or of one
    upload; after that all is well. `errors` are statuses to answer with, one a request, by the part
    of a path they are for. `tokens` are the known ones with their role ("write" or "read"), each of
    the user "sailor". `private` repositories show themselves to those only, `gated` ones to the
    tokens listed. `spoiled`: how often a file is sent with a wrong byte. `pause` are seconds
    between two megabytes of a file. `stored` is the large storage by SHA-256, `commits` what was
    pushed.
    """

    daemon_threads = True

    def __init__(self, repositories: Repositories) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.requests: list[str] = []
        self.cut: set[str] = set()
        self.cut_after = 0
        self.cuts: dict[str, int] = {}
        self.spoiled: dict[str, int] = {}
        self.pause = 0.0
        self.errors: dict[str, list[int]] = {}
        self.tokens: dict[str, str] = {}
        self.private: set[str] = set()
        self.gated: dict[str, set[str]] = {}
        self.stored: dict[str, bytes] = {}
        self.commits: list[dict[str, Any]] = []
        self.heads: dict[str, str] = {}
        self.branches: dict[str, set[str]] = {}
        self.ranges: list[tuple[str, int]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def take(self, counts: dict[str, int], name: str) -> bool:
        """Whether it is to happen once more."""
        if counts.get(name, 0) <= 0:
            return False
        counts[name] -= 1
        return True


@contextmanager
def hub(repositories: Repositories) -> Iterator[HubServer]:
    with HubServer(repositories) as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
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

    # Requests

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        parts = unquote(url.path).strip("/").split("/")
        if self._troubled() or not self._known():
            return None
        if parts == ["api", "whoami-v2"]:
            return self._whoami()
        if parts[:2] in (["api", "datasets"], ["api", "models"]):
            return self._api("/".join(parts[2:4]), parts[4:], parse_qs(url.query))
        if parts[0] == "datasets" and parts[3:4] == ["resolve"]:
            return self._file("/".join(parts[1:3]), "/".join(parts[5:]))
        if parts[2:3] == ["resolve"]:
            return self._file("/".join(parts[:2]), "/".join(parts[4:]), of_model=True)
        if parts[0] == "storage" and parts[1] in self.server.stored:
            return self._send(self.server.stored[parts[1]], "/".join(parts[2:]), f'"{parts[1]}"')
        return self._error("EntryNotFound")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if self._troubled() or not self._known():
            return None
        if parts[:2] == ["api", "datasets"] and parts[4:5] == ["paths-info"]:
            return self._paths_info("/".join(parts[2:4]), body)
        if parts == ["api", "repos", "create"]:
            return self._create(json.loads(body))
        if parts == ["api", "validate-yaml"]:
            return self._validate(json.loads(body)["content"])
        if parts[-3:] == ["lfs", "objects", "batch"]:
            return self._batch(json.loads(body))
        if parts[:2] == ["api", "models"] and self._may_write("/".join(parts[2:4])):
            return self._write("/".join(parts[2:4]), parts[4:], body)
        return None

    def do_PUT(self) -> None:
        """An upload to the large storage."""
        oid = urlsplit(self.path).path.rpartition("/")[2]
        size = int(self.headers.get("Content-Length", 0))
        if self.server.take(self.server.cuts, "upload"):
            self.rfile.read(min(size, self.server.cut_after))
            self.close_connection = True
            return
        if self._troubled():
            self.rfile.read(size)
            return
        data = self.rfile.read(size)
        if hashlib.sha256(data).hexdigest() != oid:
            return self._json({"error": "not what was announced"}, 400)
        self.server.stored[oid] = data
        return self._json({})

    # Who asks

    @property
    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _known(self) -> bool:
        """Every token must be a known one: a wrong one is refused even where none is needed."""
        if not self._token or self._token in self.server.tokens or not self.server.tokens:
            return True
        self._answer(401, b"", {"X-Error-Message": "Invalid credentials in Authorization header"})
        return False

    def _whoami(self) -> None:
        if self._token not in self.server.tokens:
            return self._json({"error": "Invalid username or password."}, 401)
        return self._json(
            {"name": "sailor", "auth": {"accessToken": {"role": self.server.tokens[self._token]}}}
        )

    def _sees(self, name: str) -> bool:
        return name in self.server.repositories and (
            name not in self.server.private or self._token in self.server.tokens
        )

    def _may_write(self, name: str) -> bool:
        if not self._sees(name):
            self._error("RepoNotFound")
            return False
        if self.server.tokens.get(self._token) != "write" or not name.startswith("sailor/"):
            self._answer(
                403,
                b"",
                {"X-Error-Message": "You don't have the rights to write to this repository"},
            )
            return False
        return True

    def _troubled(self) -> bool:
        for part, statuses in self.server.errors.items():
            if part in self.path and statuses:
                self._json({"error": "trouble"}, statuses.pop(0))
                return True
        return False

    # Reading

    def _api(self, name: str, what: list[str], query: dict[str, list[str]]) -> None:
        if not self._sees(name):
            return self._error("RepoNotFound")
        repository = self.server.repositories[name]
        if what[:1] == ["tree"]:
            folder = "/".join(what[2:])
            entries = _tree(
                repository,
                folder,
                recursive=query.get("recursive", ["false"])[0].lower() in ("true", "1"),
            )
            return self._json(entries) if entries or not folder else self._error("EntryNotFound")
        if what[:1] == ["revision"] and what[1] not in (
            "main",
            self._head(name),
            *self.server.branches.get(name, ()),
        ):
            return self._error("RevisionNotFound")
        if not what or what[0] == "revision":
            blobs = query.get("blobs", ["false"])[0].lower() in ("true", "1")
            siblings = [
                {"rfilename": path, **(_blob(path, data) if blobs else {})}
                for path, data in repository.items()
            ]
            gated = "manual" if name in self.server.gated else False
            card = _front_matter(repository.get("README.md", b""))
            told = {
                "id": name,
                "sha": self._head(name),
                "private": name in self.server.private,
                "gated": gated,
                "siblings": siblings,
                "tags": [],
            }
            return self._json({**told, "cardData": card} if card else told)
        return self._error("EntryNotFound")

    def _paths_info(self, name: str, body: bytes) -> None:
        repository = self.server.repositories.get(name)
        if repository is None:
            return self._error("RepoNotFound")
        wanted = json.loads(body)["paths"] if body[:1] == b"{" else parse_qs(body.decode())["paths"]
        return self._json(
            [found for path in wanted if (found := _info(repository, path.strip("/")))]
        )

    def _file(self, name: str, path: str, *, of_model: bool = False) -> None:
        if not self._sees(name):
            return self._error("RepoNotFound")
        if name in self.server.gated and self._token not in self.server.gated[name]:
            message = (
                f"Access to model {name} is restricted and you are not in the authorized list."
            )
            return self._answer(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": message})
        repository = self.server.repositories[name]
        if path not in repository:
            return self._error("EntryNotFound")
        data = repository[path]
        # the hub sends these from a storage of another address
        if of_model and _is_large(path, data):
            sha256 = hashlib.sha256(data).hexdigest()
            self.server.stored[sha256] = data
            linked = {
                "X-Linked-Size": str(len(data)),
                "X-Linked-ETag": f'"{sha256}"',
                "X-Repo-Commit": self._head(name),
            }
            return self._answer(302, b"", {"Location": f"/storage/{sha256}/{path}", **linked})
        return self._send(data, path, f'"{_oid(data)}"', {"X-Repo-Commit": self._head(name)})

    def _send(
        self, data: bytes, path: str, etag: str, headers: dict[str, str] | None = None
    ) -> None:
        """The file, or the range that was asked for; less, where it is to be cut."""
        first, last = 0, len(data) - 1
        if asked := self.headers.get("Range"):
            begin, _, end = asked.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(int(end or last), last)
            self.server.ranges.append((path, first))
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        for key, value in {
            "Content-Length": str(last + 1 - first),
            "Accept-Ranges": "bytes",
            "ETag": etag,
            **(headers or {}),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        body = data[first : last + 1]
        if self.server.take(self.server.spoiled, path):
            body = bytes([body[0] ^ 1]) + body[1:]
        if path in self.server.cut:
            body = body[: max(0, self.server.cut_after - first)]
            self.close_connection = True
        elif self.server.take(self.server.cuts, path):
            body = body[: self.server.cut_after]
            self.close_connection = True
        for start in range(0, len(body), _MEGABYTE):
            self.wfile.write(body[start : start + _MEGABYTE])
            time.sleep(self.server.pause)

    # Writing

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or 'sailor'}/{asked['name']}"
        if self.server.tokens.get(self._token) != "write" or not name.startswith("sailor/"):
            message = (
                "You don't have the rights to create a model under the namespace"
                f" {asked.get('organization')}"
            )
            return self._answer(403, b"", {"X-Error-Message": message})
        if name in self.server.repositories:
            return self._json({"error": "You already created this model repo"}, 409)
        self.server.repositories[name] = {
            ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
        }
        if asked.get("private") or asked.get("visibility") == "private":
            self.server.private.add(name)
        return self._json({"url": f"{self.server.url}/{name}", "name": name, "id": "1"})

    def _write(self, name: str, what: list[str], body: bytes) -> None:
        if what[0] == "preupload":
            repository = self.server.repositories[name]
            asked = json.loads(body)["files"]
            return self._json(
                {"files": [_upload_mode(repository, file["path"], file["size"]) for file in asked]}
            )
        if what[0] == "branch":
            self.server.branches.setdefault(name, set()).add(what[1])
            return self._json({})
        if what[0] == "commit":
            return self._commit(name, [json.loads(line) for line in body.splitlines()])
        return self._error("EntryNotFound")

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        new: dict[str, bytes] = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                new[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.server.stored:
                    return self._json({"error": f"{value['path']} was never uploaded"}, 400)
                new[value["path"]] = self.server.stored[value["oid"]]
        self.server.repositories[name].update(new)
        commit = hashlib.sha1(f"{name}{len(self.server.commits)}".encode()).hexdigest()
        self.server.heads[name] = commit
        self.server.commits.append(
            {"repository": name, "summary": lines[0]["value"]["summary"], "files": sorted(new)}
        )
        return self._json(
            {"commitUrl": f"{self.server.url}/{name}/commit/{commit}", "commitOid": commit}
        )

    def _batch(self, asked: dict[str, Any]) -> None:
        def action(wanted: dict[str, Any]) -> dict[str, Any]:
            there = wanted["oid"] in self.server.stored
            upload = {
                "upload": {"href": f"{self.server.url}/storage/{wanted['oid']}", "header": {}}
            }
            return {**wanted, **({} if there else {"actions": upload})}

        return self._json(
            {"transfer": "basic", "objects": [action(wanted) for wanted in asked["objects"]]}
        )

    def _validate(self, card: str) -> None:
        try:
            _front_matter(card.encode())
        except yaml.YAMLError as error:
            return self._json({"errors": [{"message": str(error)}], "warnings": []}, 400)
        return self._json({"errors": [], "warnings": []})

    # Answers

    def _head(self, name: str) -> str:
        return self.server.heads.get(name, COMMIT)

    def _json(self, value: Any, status: int = 200) -> None:
        self._answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, code: str) -> None:
        # the hub tells strangers of private and of missing ones in the same words
        status = 401 if code == "RepoNotFound" else 404
        self._answer(status, b"", {"X-Error-Code": code, "X-Error-Message": code})


def _is_large(path: str, data: bytes) -> bool:
    return path.endswith((".safetensors", ".bin")) or len(data) > _LARGE


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _blob(path: str, data: bytes) -> dict[str, Any]:
    large = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return {
        "size": len(data),
        "blobId": _oid(data),
        **({"lfs": large} if _is_large(path, data) else {}),
    }


def _upload_mode(repository: dict[str, bytes], path: str, size: int) -> dict[str, Any]:
    large = path.endswith((".safetensors", ".bin")) or size > _LARGE
    there = repository.get(path)
    oid = None if there is None else hashlib.sha256(there).hexdigest() if large else _oid(there)
    return {
        "path": path,
        "uploadMode": "lfs" if large else "regular",
        "shouldIgnore": False,
        **({"oid": oid} if oid else {}),
    }


def _front_matter(card: bytes) -> dict[str, Any]:
    text = card.decode()
    return dict(yaml.safe_load(text.split("---")[1]) or {}) if text.startswith("---") else {}


def _info(repository: dict[str, bytes], path: str) -> dict[str, Any] | None:
    if path in repository:
        return {
            "type": "file",
            "path": path,
            "size": len(repository[path]),
            "oid": _oid(repository[path]),
        }
    if any(name.startswith(f"{path}/") for name in repository):
        return {"type": "directory", "path": path, "size": 0, "oid": _oid(path.encode())}
    return None


def _tree(repository: dict[str, bytes], folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    prefix = f"{folder}/" if folder else ""
    below = [path.removeprefix(prefix) for path in repository if path.startswith(prefix)]
    paths = {
        f"{prefix}{'/'.join(parts[:depth])}"
        for parts in (path.split("/") for path in below)
        for depth in range(1, len(parts) + 1)
    }
    found = sorted(path for path in paths if recursive or "/" not in path.removeprefix(prefix))
    return [info for path in found if (info := _info(repository, path))]
