"""Talking to an OpenAI-compatible server: the list of models, streamed chat, loading adapters.

By hand over httpx, which loads at first use: the `openai` package takes 0.9 s to import.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import LuthierError

if TYPE_CHECKING:
    import httpx

ChatMessage = dict[str, Any]

# A first token can take minutes on a CPU; a server that is gone is noticed by its closed connection.
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 600.0


@dataclass(frozen=True)
class Endpoint:
    """A server and the key to it. `base_url` is without /v1."""

    base_url: str
    key: str

    def __repr__(self) -> str:
        return f"Endpoint({self.base_url!r})"  # a key is never printed


@dataclass(frozen=True)
class Sampling:
    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 512
    seed: int | None = None


@dataclass(frozen=True)
class ModelCard:
    """A model as /v1/models lists it: adapters have a `parent`, and `root` is the folder it was loaded from."""

    id: str
    root: str
    parent: str | None


@dataclass(frozen=True)
class Delta:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True)
class Finished:
    """How an answer ended. Times are in seconds since the request was sent."""

    reason: str
    prompt_tokens: int
    completion_tokens: int
    time_to_first_token: float | None
    seconds: float

    @property
    def tokens_per_second(self) -> float | None:
        """The speed after the first token; None for an answer too short to have one."""
        if self.time_to_first_token is None or self.completion_tokens < 2 or self.seconds <= self.time_to_first_token:
            return None
        return (self.completion_tokens - 1) / (self.seconds - self.time_to_first_token)


async def list_cards(endpoint: Endpoint, seconds: float = 30.0) -> list[ModelCard]:
    """Every model of the endpoint with where it came from."""
    body = await _call(endpoint, "GET", "/v1/models", None, seconds)
    with _readable(endpoint, body):
        return [ModelCard(card["id"], card.get("root") or "", card.get("parent")) for card in json.loads(body)["data"]]


async def list_models(endpoint: Endpoint) -> list[str]:
    """The names that can be asked."""
    return [card.id for card in await list_cards(endpoint)]


async def server_id(endpoint: Endpoint, seconds: float = 5.0) -> str:
    """Which server of Luthier's answers there (the id of its job), by the control key."""
    body = await _call(endpoint, "GET", "/luthier/server", None, seconds)
    with _readable(endpoint, body):
        return str(json.loads(body)["id"])


async def load_adapter(endpoint: Endpoint, name: str, path: Path) -> None:
    """Load an adapter into a running server, by the control key. LuthierError with vLLM's own reason if it refuses."""
    await _call(endpoint, "POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path)}, _READ_SECONDS)


async def unload_adapter(endpoint: Endpoint, name: str) -> None:
    """Take an adapter out of a running server, by the control key."""
    await _call(endpoint, "POST", "/v1/unload_lora_adapter", {"lora_name": name}, _READ_SECONDS)


async def post(endpoint: Endpoint, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The JSON object that a route answers to a JSON object."""
    answer = await _call(endpoint, "POST", path, body, _READ_SECONDS)
    with _readable(endpoint, answer):
        value = json.loads(answer)
        return {**value}


async def stream_chat(
    endpoint: Endpoint, model: str, messages: list[ChatMessage], sampling: Sampling | None = None
) -> AsyncGenerator[Delta | Finished, None]:
    """Ask a model: the answer's pieces as they come, then how it ended. Closing the generator cancels the request on the server."""
    sampling = sampling or Sampling()
    body: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        **({} if sampling.seed is None else {"seed": sampling.seed}),
    }
    started = time.monotonic()
    first: float | None = None
    reason, usage = "", {"prompt_tokens": 0, "completion_tokens": 0}
    async with _request(endpoint, "POST", "/v1/chat/completions", body, _READ_SECONDS) as response:
        async for chunk in _chunks(endpoint, response):
            usage = chunk.get("usage") or usage
            for choice in chunk.get("choices", []):
                text = choice.get("delta", {}).get("content")
                if text:
                    first = time.monotonic() - started if first is None else first
                    yield Delta(text)
                reason = choice.get("finish_reason") or reason
    yield Finished(reason, usage["prompt_tokens"], usage["completion_tokens"], first, time.monotonic() - started)


@contextmanager
def _readable(endpoint: Endpoint, body: bytes) -> Iterator[None]:
    """What is no answer of such a server becomes a LuthierError: anything may listen on a port."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        start = body[:200].decode(errors="replace")
        raise LuthierError(
            "Not a server of models", f"{endpoint.base_url} answers {start!r}.", "Another program may listen there."
        ) from error


async def _call(endpoint: Endpoint, method: str, path: str, body: dict[str, Any] | None, seconds: float) -> bytes:
    async with _request(endpoint, method, path, body, seconds) as response:
        return await response.aread()


@asynccontextmanager
async def _request(
    endpoint: Endpoint, method: str, path: str, body: dict[str, Any] | None, seconds: float
) -> AsyncIterator[httpx.Response]:
    """Send a request and hand out its response. Everything that goes wrong, also while it is read, becomes a LuthierError."""
    import httpx

    headers = {"Authorization": f"Bearer {endpoint.key}"}
    timeout = httpx.Timeout(seconds, connect=_CONNECT_SECONDS)
    # Certificates are loaded only where they are used (it costs more than a token); proxies are not for servers of our own.
    verify = endpoint.base_url.startswith("https:")
    try:
        async with (
            httpx.AsyncClient(base_url=endpoint.base_url, headers=headers, timeout=timeout, verify=verify, trust_env=False) as client,
            client.stream(method, path, json=body) as response,
        ):
            if response.status_code != 200:
                raise _refused(response.status_code, await response.aread())
            yield response
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        message = f"Nothing answers at {endpoint.base_url} ({str(error) or 'no connection'})."
        raise LuthierError("The server does not answer", message, "`luthier server status` tells whether it runs.") from error
    except httpx.TimeoutException as error:
        message = f"{endpoint.base_url} said nothing for {seconds:.0f} s."
        raise LuthierError("The server takes too long", message, "It may be busy or stuck: its log tells.") from error
    except httpx.TransportError as error:
        message = f"The connection to {endpoint.base_url} was lost: {str(error) or type(error).__name__}."
        raise LuthierError("The answer broke off", message, "The server may have stopped: `luthier server status`.") from error


async def _chunks(endpoint: Endpoint, response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of an event stream, up to [DONE].

    Lines end at a newline only: httpx's own line splitting also cuts at U+2028 and others, which may stand inside a JSON string.
    """
    rest = b""
    async for block in response.aiter_bytes():
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            with _readable(endpoint, data):
                chunk = json.loads(data)
                status = int(chunk["error"].get("code") or 500) if "error" in chunk else 200
            if status != 200:
                raise _refused(status, data)
            yield chunk
    raise LuthierError("The answer broke off", "The server ended the stream in the middle.", "Its log tells why: `luthier log -f`.")


_TITLES = {
    400: ("The server cannot do this", "Ask for fewer tokens, or shorten the conversation, if it is about length."),
    401: ("The server does not accept the key", "Servers started by another Luthier home have other keys."),
    403: ("The key does not open this", "Loading adapters needs the control key."),
    404: ("The server has no such model", "It may have been unloaded: look at the list of models again."),
}


def _refused(status: int, body: bytes) -> LuthierError:
    """An error answer in the server's own words."""
    try:
        answer = json.loads(body)
        reason = str(answer["error"]["message"])
    except (ValueError, KeyError, TypeError):
        reason = body.decode(errors="replace").strip()[:500] or f"HTTP status {status}, and nothing more."
    title, hint = _TITLES.get(status, ("The server failed", "Its log tells more."))
    return LuthierError(title, reason, hint)
