"""Talking to an OpenAI-compatible server: the list of models, streamed chat, loading adapters.

By hand over httpx, which loads at first use: the `openai` package takes 0.9 s to import.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import foreign_json
from jobs.luthier_error import LuthierError
from models.endpoints import Endpoint as Endpoint

if TYPE_CHECKING:
    import ssl

    import httpx

ChatMessage = dict[str, Any]

# A first token can take minutes on a CPU; a server that is gone is noticed by its closed
# connection.
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 600.0
_LONGEST_EVENT = 16_000_000  # bytes


@dataclass(frozen=True)
class Sampling:
    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 512
    seed: int | None = None


@dataclass(frozen=True)
class ModelCard:
    """A model as /v1/models lists it: adapters have a `parent`, and `root` is the folder it was
    loaded from. `context_length` is in tokens, None where the server does not say."""

    id: str
    root: str
    parent: str | None
    context_length: int | None = None


@dataclass(frozen=True)
class CallPiece:
    """A piece of a tool call. Pieces with the same `index` make one; the first brings the id and
    the name."""

    index: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Delta:
    """A piece of the answer: text, or what a reasoning parser took out of it, or tool calls."""

    text: str
    reasoning: str = ""
    calls: tuple[CallPiece, ...] = ()


class ContextExceeded(LuthierError):
    """The conversation is longer than the model can read. `used` is 0 where the server does not say
    how long it is."""

    def __init__(self, reason: str, limit: int, used: int) -> None:
        hint = "Leave out the oldest turns, or start a new chat."
        super().__init__("The chat is too long for the model", reason, hint)
        self.limit = limit
        self.used = used


class Unreachable(LuthierError):
    """Nothing listens at the address, or there is no route to it."""


class Refused(LuthierError):
    """The server has answered that it will not, or cannot: by `status`, and the `code` of OpenAI's
    errors. `retry_after` is in seconds, None where it does not say."""

    def __init__(
        self, error: LuthierError, status: int, code: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(error.title, error.message, error.hint)
        self.status, self.code, self.retry_after = status, code, retry_after


_BURST_SECONDS = 0.1
"""What arrives within it was sent as one piece: its time is the network's, not the model's."""


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
        """The speed after the first token; None for an answer that is too short, or came too much
        at once, to have one."""
        if self.time_to_first_token is None or self.completion_tokens < 2:
            return None
        seconds = self.seconds - self.time_to_first_token
        return None if seconds < _BURST_SECONDS else (self.completion_tokens - 1) / seconds


async def list_cards(endpoint: Endpoint, seconds: float = 30.0) -> list[ModelCard]:
    """Every model of the endpoint with where it came from."""
    body = await _call(endpoint, "GET", f"{endpoint.prefix}/models", None, seconds)
    with _readable(endpoint, body):
        cards = _object(body)["data"]
        for card in cards:
            foreign_json.check(
                card,
                {"id": str, "root": str | None, "parent": str | None, "max_model_len": int | None},
                "a model",
            )
        return [
            ModelCard(
                card["id"], card.get("root") or "", card.get("parent"), card.get("max_model_len")
            )
            for card in cards
        ]


async def list_models(endpoint: Endpoint) -> list[str]:
    """The names that can be asked."""
    return [card.id for card in await list_cards(endpoint)]


async def server_id(endpoint: Endpoint, seconds: float = 5.0) -> str:
    """Which server of Luthier's answers there (the id of its job), by the control key."""
    body = await _call(endpoint, "GET", "/luthier/server", None, seconds)
    with _readable(endpoint, body):
        return str(_object(body)["id"])


async def load_adapter(endpoint: Endpoint, name: str, path: Path) -> None:
    """Load an adapter into a running server, by the control key. LuthierError with vLLM's own
    reason if it refuses."""
    await _call(
        endpoint,
        "POST",
        "/v1/load_lora_adapter",
        {"lora_name": name, "lora_path": str(path)},
        _READ_SECONDS,
    )


async def unload_adapter(endpoint: Endpoint, name: str) -> None:
    """Take an adapter out of a running server, by the control key."""
    await _call(endpoint, "POST", "/v1/unload_lora_adapter", {"lora_name": name}, _READ_SECONDS)


async def sleep(endpoint: Endpoint, seconds: float) -> None:
    """Have vLLM move its weights to main memory and free the GPU, by the control key. LuthierError
    if it says that it does not sleep."""
    await _call(endpoint, "POST", "/sleep?level=1", None, seconds)
    await _expect_sleeping(endpoint, True)


async def wake_up(endpoint: Endpoint, seconds: float) -> None:
    await _call(endpoint, "POST", "/wake_up", None, seconds)
    await _expect_sleeping(endpoint, False)


async def _expect_sleeping(endpoint: Endpoint, expected: bool) -> None:
    body = await _call(endpoint, "GET", "/is_sleeping", None, 30.0)
    with _readable(endpoint, body):
        sleeping = bool(_object(body)["is_sleeping"])
    if sleeping != expected:
        message = f"vLLM reports that it is still {'asleep' if sleeping else 'awake'}."
        raise LuthierError(
            "vLLM did not go to sleep" if expected else "vLLM did not wake up",
            message,
            "Its log says more.",
        )


async def post(
    endpoint: Endpoint, path: str, body: dict[str, Any], seconds: float = _READ_SECONDS
) -> dict[str, Any]:
    """The JSON object that a route answers to a JSON object."""
    answer = await _call(endpoint, "POST", path, body, seconds)
    with _readable(endpoint, answer):
        return _object(answer)


async def server_state(endpoint: Endpoint, seconds: float = 5.0) -> dict[str, Any]:
    """What the guard tells, by the control key: `id`, `in_flight` (answers being written),
    `draining`, `pinned` names, `resting` (why it sleeps, or empty), `wanted` (somebody has asked
    since), `quiet_seconds` since the last answer."""
    body = await _call(endpoint, "GET", "/luthier/server", None, seconds)
    with _readable(endpoint, body):
        return _object(body)


async def metrics_text(endpoint: Endpoint, seconds: float = 5.0) -> str:
    """What /metrics says, in the text format of Prometheus."""
    return (await _call(endpoint, "GET", "/metrics", None, seconds)).decode(errors="replace")


async def stream_chat(
    endpoint: Endpoint,
    model: str,
    messages: list[ChatMessage],
    sampling: Sampling | None = None,
    tools: Sequence[dict[str, Any]] = (),
    response_format: dict[str, Any] | None = None,
) -> AsyncGenerator[Delta | Finished, None]:
    """Ask a model: the answer's pieces as they come, then how it ended. Closing the generator
    cancels the request on the server.

    The time to the first token counts whatever comes first: text, reasoning or a tool call.
    """
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
        **({"tools": list(tools)} if tools else {}),
        **({} if response_format is None else {"response_format": response_format}),
    }
    while True:
        try:
            # whoever closes this one ends the request at once
            async with aclosing(_streamed(endpoint, body)) as stream:
                async for item in stream:
                    yield item
            return
        except LuthierError as error:
            if _refuses_system(messages, error):
                hint = (
                    "This model's chat template has no system role. Put the text of the system"
                    " prompt before the first question, and leave the system prompt empty."
                )
                raise LuthierError(
                    "The model does not accept a system prompt", error.message, hint
                ) from None
            if (
                not endpoint.hosted
                or "max_tokens" not in body
                or "max_completion_tokens" not in error.message
            ):
                raise
            # OpenAI's newer models refuse the older name, before anything streams
            body["max_completion_tokens"] = body.pop("max_tokens")


def _refuses_system(messages: list[ChatMessage], error: LuthierError) -> bool:
    """Whether a template refuses its conversation for the system message: such ones say so, or that
    the user must come first."""
    begins = bool(messages) and messages[0]["role"] == "system"
    return (
        begins
        and re.search(r"system (role|message)|roles must alternate", error.message, re.IGNORECASE)
        is not None
    )


async def _streamed(
    endpoint: Endpoint, body: dict[str, Any]
) -> AsyncGenerator[Delta | Finished, None]:
    started = time.monotonic()
    first: float | None = None
    reason, usage = "", (0, 0)
    async with _request(
        endpoint, "POST", f"{endpoint.prefix}/chat/completions", body, _READ_SECONDS
    ) as response:
        async for event in _events(endpoint, response):
            usage, reason = event.usage or usage, event.reason or reason
            if event.delta is not None:
                first = time.monotonic() - started if first is None else first
                yield event.delta
    yield Finished(reason, usage[0], usage[1], first, time.monotonic() - started)


async def prompt_log_probabilities(
    endpoint: Endpoint, model: str, token_ids: list[int]
) -> list[tuple[str, float] | None]:
    """Each token's text and the logarithm of the probability that the model gives it after those
    before it; None for the first.

    vLLM's own extension of completions (`prompt_logprobs`): one token is generated and thrown away.
    """
    body = {
        "model": model,
        "prompt": token_ids,
        "max_tokens": 1,
        "temperature": 0.0,
        "prompt_logprobs": 0,
    }
    answer = await _call(endpoint, "POST", f"{endpoint.prefix}/completions", body, _READ_SECONDS)
    with _readable(endpoint, answer):
        entries = _object(answer)["choices"][0]["prompt_logprobs"]
        return [
            (
                None
                if entry is None
                else (str(entry[str(token)]["decoded_token"]), float(entry[str(token)]["logprob"]))
            )
            for token, entry in zip(token_ids, entries, strict=True)
        ]


async def tokenize(endpoint: Endpoint, request: dict[str, Any]) -> list[int]:
    """The ids of vLLM's own tokenising of `messages` (with the generation prompt) or of a
    `prompt`."""
    answer = await _call(endpoint, "POST", "/tokenize", request, 60.0)
    with _readable(endpoint, answer):
        return [int(token) for token in _object(answer)["tokens"]]


_LONE = re.compile("[\ud800-\udfff]")


def without_surrogates(text: str) -> str:
    """The text without halves of characters, which JSON may escape but no file and no terminal
    takes."""
    return text if text.isascii() else _LONE.sub("\ufffd", text)


@dataclass(frozen=True)
class _Event:
    """What an event of the stream brings, each if the event has it: a piece of the answer, why it
    ended, the tokens of prompt and answer."""

    delta: Delta | None
    reason: str
    usage: tuple[int, int] | None


def _read_event(chunk: dict[str, Any]) -> _Event:
    used = chunk.get("usage")
    usage = (
        (int(used.get("prompt_tokens") or 0), int(used.get("completion_tokens") or 0))
        if used
        else None
    )
    text, reasoning, reason = "", "", ""
    calls: list[CallPiece] = []
    for choice in chunk.get("choices") or []:
        delta = choice.get("delta") or {}
        text += without_surrogates(delta.get("content") or "")
        reasoning += without_surrogates(
            delta.get("reasoning") or delta.get("reasoning_content") or ""
        )
        for call in delta.get("tool_calls") or []:
            function = call.get("function") or {}
            name, arguments = (
                without_surrogates(function.get("name") or ""),
                without_surrogates(function.get("arguments") or ""),
            )
            calls.append(
                CallPiece(int(call.get("index") or 0), call.get("id") or "", name, arguments)
            )
        reason = choice.get("finish_reason") or reason
    return _Event(
        Delta(text, reasoning, tuple(calls)) if text or reasoning or calls else None, reason, usage
    )


@contextmanager
def _readable(endpoint: Endpoint, body: bytes) -> Iterator[None]:
    """What is no answer of such a server becomes a LuthierError: anything may listen on a port."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        start = body[:200].decode(errors="replace")
        raise LuthierError(
            "Not a model server",
            f"{endpoint.base_url} answers {start!r}.",
            "Another program may be listening there.",
        ) from error


def _object(body: bytes | str) -> dict[str, Any]:
    return foreign_json.decode_object(body, "the answer", lenient=True)


async def _call(
    endpoint: Endpoint, method: str, path: str, body: dict[str, Any] | None, seconds: float
) -> bytes:
    async with _request(endpoint, method, path, body, seconds) as response:
        return await response.aread()


@cache
def _tls(encrypted: bool) -> ssl.SSLContext:
    """Made once: loading the certificates costs more than a token, and httpx wants a context
    without encryption, too."""
    import httpx

    return httpx.create_ssl_context(verify=encrypted)


@asynccontextmanager
async def _request(
    endpoint: Endpoint, method: str, path: str, body: dict[str, Any] | None, seconds: float
) -> AsyncIterator[httpx.Response]:
    """Send a request and hand out its response. Everything that goes wrong, also while it is read,
    becomes a LuthierError."""
    import httpx

    headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
    timeout = httpx.Timeout(seconds, connect=_CONNECT_SECONDS)
    # Proxies are not for servers of our own.
    verify, url, proxies = (
        _tls(endpoint.base_url.startswith("https:")),
        endpoint.base_url,
        endpoint.hosted,
    )
    try:
        async with (
            httpx.AsyncClient(
                base_url=url, headers=headers, timeout=timeout, verify=verify, trust_env=proxies
            ) as client,
            client.stream(method, path, json=body) as response,
        ):
            if response.status_code != 200:
                refused = _refused(endpoint, response.status_code, await response.aread())
                if isinstance(refused, Refused):
                    refused.retry_after = _seconds(response.headers.get("retry-after", ""))
                raise refused
            yield response
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        message = f"Nothing answers at {endpoint.base_url} ({str(error) or 'no connection'})."
        raise Unreachable(
            "The server does not answer",
            message,
            _hint(
                endpoint,
                "`luthier server status` shows whether it is running.",
                "Check the address and the network.",
            ),
        ) from error
    except httpx.TimeoutException as error:
        message = f"{endpoint.base_url} sent nothing for {seconds:.0f} s."
        raise LuthierError(
            "The server takes too long",
            message,
            _hint(
                endpoint,
                "It may be busy or stuck. Check its log.",
                "It may be busy. Try again later.",
            ),
        ) from error
    # the last of them: bytes that are not what their header says
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        message = (
            f"The connection to {endpoint.base_url} was lost: {str(error) or type(error).__name__}."
        )
        raise LuthierError(
            "The answer broke off",
            message,
            _hint(
                endpoint,
                "The server may have stopped. Check with `luthier server status`.",
                "Check the network, and try again.",
            ),
        ) from error


async def _events(endpoint: Endpoint, response: httpx.Response) -> AsyncIterator[_Event]:
    """What the JSON objects of an event stream bring, up to [DONE].

    Lines end at a newline only: httpx's own line splitting also cuts at U+2028 and others, which
    may stand inside a JSON string.
    """
    remainder = b""
    async for block in response.aiter_bytes():
        *lines, remainder = (remainder + block).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            with _readable(endpoint, data):
                chunk = _object(data)
                status = _status(chunk.get("error"))
                event = _read_event(chunk)
            if status != 200:
                raise _refused(endpoint, status, data)
            yield event
        if len(remainder) > _LONGEST_EVENT:
            message = f"{endpoint.base_url} sends lines without an end."
            raise LuthierError(
                "Not a model server", message, "Another program may be listening there."
            )
    raise LuthierError(
        "The answer broke off",
        "The server ended the stream before the answer was complete.",
        _hint(endpoint, "Its log says why: `luthier log -f`.", "Try again."),
    )


def _hint(endpoint: Endpoint, of_luthiers: str, of_others: str) -> str:
    """Luthier's commands show its own servers alone."""
    return of_others if endpoint.hosted else of_luthiers


def _status(error: Any) -> int:
    """The HTTP status of an error that comes inside a stream: vLLM says it as `code`, others put a
    word there."""
    if error is None:
        return 200
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 500


_TITLES: dict[object, tuple[str, str]] = {
    400: (
        "The server cannot do this",
        "If the problem is length, ask for fewer tokens or shorten the conversation.",
    ),
    401: (
        "The server does not accept the key",
        "Servers started by another Luthier home have other keys.",
    ),
    403: ("The key does not allow this", "Loading adapters needs the control key."),
    404: (
        "The server has no such model",
        "It may have been unloaded. Refresh the list of models.",
    ),
    409: ("The server does not offer this", "`luthier server status` shows what it serves."),
    "server_asleep": (
        "The server is asleep",
        ("`luthier server status` says why; `luthier server wake` wakes it as soon as possible."),
    ),
    503: (
        "The server is stopping",
        "It finishes its answers and accepts no new requests. `luthier server status` shows its"
        " state.",
    ),
}


_LIMIT = re.compile(
    r"maximum context length is (\d+) tokens(?:.*?\b(\d+) (?:input )?tokens)?", re.DOTALL
)


def _refused(endpoint: Endpoint, status: int, body: bytes) -> LuthierError:
    """An error answer in the server's own words, without the key, which some repeat."""
    text = body.decode(errors="replace")
    if endpoint.key:
        text = text.replace(endpoint.key, "[key]")
    try:
        error = _object(text)["error"]
        reason = str(error["message"] if isinstance(error, dict) else error)
        code = error.get("code") if isinstance(error, dict) else None
    except (ValueError, LookupError, TypeError):
        reason, code = text.strip()[:500] or f"HTTP status {status}, without further details.", None
    limit = _LIMIT.search(reason)
    if status == 400 and limit is not None:
        return ContextExceeded(reason, int(limit[1]), int(limit[2] or 0))
    title_and_hint = _TITLES.get(code) if isinstance(code, str) else None
    title, hint = title_and_hint or _TITLES.get(status, ("The server failed", "Its log says more."))
    if endpoint.hosted:
        hint = f"{endpoint.base_url} says so."
    return Refused(LuthierError(title, reason, hint), status, code if isinstance(code, str) else "")


def _seconds(header: str) -> float | None:
    """Of a Retry-After: seconds, or a date."""
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
