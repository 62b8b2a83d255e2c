"""Other people's OpenAI-compatible endpoints, so that a hosted model can be compared too.

`config.toml` names each with its address and where its key is: a variable of the environment, or a
file that only its owner reads. The key itself stands nowhere of Luthier's.

    [endpoints.openai]
    url = "https://api.openai.com/v1"
    key_env = "OPENAI_API_KEY"          # or key_file = "~/.keys/openai"
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from jobs.files import expanded, why_no_file, write_atomic
from jobs.home import home
from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean
from jobs.os_errors import in_words

_SHORTEST_KEY = 20
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Endpoint:
    """A server and the key to it. `base_url` is without `prefix`; a `hosted` one is somebody
    else's: the system's proxies apply."""

    base_url: str
    key: str
    prefix: str = "/v1"
    hosted: bool = False

    def __repr__(self) -> str:
        return f"Endpoint({self.base_url!r})"  # a key is never printed


def address_parts(url: str) -> SplitResult:
    """LuthierError for what cannot be divided into host, port and path."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # it is read when it is asked for
    except ValueError as error:
        raise LuthierError(
            "Not an address",
            f"{url!r} is not a web address: {str(error).lower()}.",
            "It looks like https://api.openai.com/v1, without a key.",
        ) from None
    return parts


@dataclass(frozen=True)
class HostedEndpoint:
    """What config.toml says of one endpoint. At most one of `key_env` and `key_file` is set; a
    server without keys has neither."""

    name: str
    url: str
    key_env: str = ""
    key_file: str = ""

    @property
    def warning(self) -> str:
        """What a person should know; empty if there is nothing."""
        parts = address_parts(self.url)
        far = parts.scheme == "http" and parts.hostname not in _LOOPBACK
        return (
            f"{self.url} is not encrypted: others on the network can read the key and the whole"
            " conversation."
            if far
            else ""
        )

    def open(self) -> Endpoint:
        """The endpoint with its key, read now. LuthierError if there is none."""
        parts = address_parts(self.url)
        path = parts.path.rstrip("/")
        prefix = "/v1" if path.endswith("/v1") or not path else ""
        base = f"{parts.scheme}://{parts.netloc}{path.removesuffix('/v1')}"
        return Endpoint(base, self._key(), prefix, hosted=True)

    def _key(self) -> str:
        if self.key_env:
            key = os.environ.get(self.key_env, "").strip()
            if not key:
                hint = f"export {self.key_env}=... before you start Luthier."
                raise LuthierError(
                    "The key is not set",
                    f"{self.name} needs the variable {self.key_env}, which is empty or not set.",
                    hint,
                )
        elif self.key_file:
            key = self._read_key(expanded(self.key_file))
        else:
            return ""
        if not key.isascii() or not key.isprintable() or " " in key:
            raise LuthierError(
                "Unusable API key",
                f"{self.key_env or self.key_file} does not contain a key.",
                "A key is a single word.",
            )
        return key

    def _read_key(self, path: Path) -> str:
        reason = why_no_file(path)  # a pipe would be waited for
        try:
            if not reason and path.stat().st_mode & 0o077:
                message = f"Other users of this machine can read {path}, the key of {self.name}."
                raise LuthierError("The key is not private", message, f"chmod 600 {path}")
            key = "" if reason else path.read_text(encoding="utf-8").strip()
        except UnicodeDecodeError:
            reason = "not a text"
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
        if reason:
            raise LuthierError(
                "The key cannot be read",
                f"{path}: {reason}.",
                f"The key of {self.name} should be there.",
            )
        return key


def key_location(text: str) -> tuple[str, str]:
    """The variable and the file of a key, of which a person has named one: "OPENAI_API_KEY", or
    "~/.keys/openai". LuthierError for the key itself, which is kept nowhere."""
    if "/" in text or text.startswith("~"):
        return "", text
    if text and (not _VARIABLE.fullmatch(text) or _is_secret(text)):
        raise LuthierError(
            "Not the name of a variable",
            "The key itself is not typed here, where it could be seen.",
            "Name the variable that holds it (OPENAI_API_KEY), or a file that only you can read"
            " (~/.keys/openai).",
        )
    return text, ""


def _is_secret(text: str) -> bool:
    """Whether a word that could be a variable's name is rather a key."""
    is_mixed = any(map(str.islower, text)) and any(map(str.isdigit, text))
    return is_mixed and len(text) >= _SHORTEST_KEY and text not in os.environ


def hosted_endpoints() -> list[HostedEndpoint]:
    """Those that config.toml names. LuthierError if what stands there cannot be used."""
    sections = _config().get("endpoints", {})
    if not isinstance(sections, dict):
        raise LuthierError(
            "Unreadable settings", f"{_path()}: endpoints is not a table.", "See docs/compare.md."
        )
    return [_checked(name, values) for name, values in sections.items()]


def add(endpoint: HostedEndpoint) -> None:
    """Name an endpoint in config.toml, or change it. Whatever else stands there is kept."""
    import tomlkit

    values = {key: value for key, value in vars(endpoint).items() if key != "name" and value}
    _checked(endpoint.name, values)
    document = (
        tomlkit.parse(_path().read_text(encoding="utf-8"))
        if _path().is_file()
        else tomlkit.document()
    )
    sections = document.setdefault("endpoints", tomlkit.table(is_super_table=True))
    sections[endpoint.name] = values
    _path().parent.mkdir(parents=True, exist_ok=True)
    write_atomic(_path(), tomlkit.dumps(document))


def remove(name: str) -> None:
    import tomlkit

    document = (
        tomlkit.parse(_path().read_text(encoding="utf-8"))
        if _path().is_file()
        else tomlkit.document()
    )
    sections: Any = document.get("endpoints", {})
    if name not in sections:
        raise LuthierError(
            "No such endpoint",
            f"config.toml has no endpoint named {name!r}.",
            f"{did_you_mean(name, sections)}`luthier endpoints` lists them.",
        )
    del sections[name]
    write_atomic(_path(), tomlkit.dumps(document))


def _checked(name: str, values: Any) -> HostedEndpoint:
    """An endpoint whose every part makes sense."""

    def wrong(message: str, hint: str) -> LuthierError:
        return LuthierError("Not an endpoint", f"{name}: {message}", hint)

    if not _NAME.fullmatch(name):
        raise wrong(
            "the name may contain only lower-case letters, digits, dots, hyphens and underscores.",
            "For example: openai",
        )
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise wrong(
            "it is not a table of texts.", 'It needs url = "https://..." and key_env or key_file.'
        )
    if unknown := [key for key in values if key not in ("url", "key_env", "key_file")]:
        raise wrong(
            f"unknown key {unknown[0]}.",
            "Known keys: url, key_env, key_file. The settings never contain the secret itself.",
        )
    endpoint = HostedEndpoint(
        name, values.get("url", ""), values.get("key_env", ""), values.get("key_file", "")
    )
    try:
        parts = address_parts(endpoint.url)
    except LuthierError as error:
        raise wrong(error.message, error.hint) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise wrong(
            f"{endpoint.url!r} is not a web address.",
            "Write an address like https://api.openai.com/v1.",
        )
    if endpoint.key_env and endpoint.key_file:
        raise wrong("it has both key_env and key_file.", "Keep one of them.")
    return endpoint


def _config() -> dict[str, Any]:
    try:
        return tomllib.loads(_path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise in_words(error) from error
    except (ValueError, RecursionError) as error:
        raise LuthierError(
            "Unreadable settings", f"{_path()}: {error}.", "Repair the file, or delete it."
        ) from error


def _path() -> Path:
    return home() / "config.toml"
