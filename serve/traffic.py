"""What passes the guard: counted, written down without content, and held back where vLLM must be
spared.

Runs inside vLLM's process, behind the guard: standard library only. Each answered request is one
line of `requests.jsonl`: when, which model, how many tokens, how long. What was said is in it only
where LUTHIER_LOG_CONTENT asks for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import foreign_json
from serve.answerable import changes, refusal
from serve.pins import lost_folder
from serve.usage import (
    COUNTED,
    Tally,
    Unasked,
    asking,
    fingerprint_of,
    leaves_it_to_clients,
    tells_each_piece,
    with_values,
)

REQUEST_LOG_VARIABLE = "LUTHIER_REQUEST_LOG"
LOG_CONTENT_VARIABLE = "LUTHIER_LOG_CONTENT"
PROMPT_LOGPROBS_ALONE = "LUTHIER_PROMPT_LOGPROBS_ALONE"

GENERATING = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"})

_LONGEST_BODY = 8_000_000  # bytes that are looked at; a longer body passes unread
_LONGEST_ANSWER = 200_000  # bytes of an answer that are written down, where content is asked for
_LONGEST_NAME = 100
_LOG_BYTES = 32_000_000  # then the log begins anew, and one old one is kept

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass
class Passage:
    """A request on its way. Times are in seconds; the tokens are those of the answer as far as it
    came, None where nothing told them."""

    route: str
    began: float = field(default_factory=time.monotonic)
    model: str = ""
    stream: bool = False
    status: int = 0
    first: float | None = None
    tokens: Tally = field(default_factory=Tally)
    told_at_end: bool = False
    ended: bool = False
    body: Any = None
    answer: bytearray = field(default_factory=bytearray)

    def read(self, body: bytes) -> None:
        """Take from the request what may be told of it."""
        try:
            self.body = foreign_json.decode_object(body, "a request", lenient=True)
            self.model, self.stream = (
                str(self.body.get("model") or "")[:_LONGEST_NAME],
                bool(self.body.get("stream")),
            )
            answers = self.body.get("n")
            self.tokens.answers_a_prompt = (
                answers if isinstance(answers, int) and answers > 0 else 1
            )
        except foreign_json.Damaged:
            self.body = None

    @property
    def broken_off(self) -> bool:
        """Whether it did not come to its end. An engine that dies ends its streams, too, but
        without their tokens."""
        return not self.ended or (self.status == 200 and self.told_at_end and not self.tokens.final)

    def see(self, message: Message) -> None:
        """Take from a part of the answer what may be told of it."""
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            return
        if message["type"] != "http.response.body":
            return
        self.ended = not message.get("more_body", False)
        chunk = message.get("body") or b""
        if chunk:
            self.first = time.monotonic() - self.began if self.first is None else self.first
            self.tokens.see(chunk, self.stream and self.route in COUNTED)

    def keeping(self, send: Send) -> Send:
        """`send`, of which the beginning of what is sent is kept."""

        async def sent(message: Message) -> None:
            if len(self.answer) < _LONGEST_ANSWER:
                self.answer += (message.get("body") or b"")[: _LONGEST_ANSWER - len(self.answer)]
            await send(message)

        return sent

    def line(self, keep: bool) -> bytes:
        figures = {
            "t": round(time.time(), 3),
            "kind": "request",
            "route": self.route,
            # a name that is none may be anything
            "model": self.model if self.status == 200 else "",
            "status": self.status,
            "stream": self.stream,
            "prompt_tokens": self.tokens.prompt,
            "completion_tokens": self.tokens.completion,
            "broken_off": self.broken_off,
            "first": None if self.first is None else round(self.first, 4),
            "seconds": round(time.monotonic() - self.began, 4),
        }
        content = (
            {"request": self.body, "answer": self.answer.decode(errors="replace")} if keep else {}
        )
        return (
            json.dumps({**figures, **content}, ensure_ascii=False).encode("utf-8", "replace")
            + b"\n"
        )


class Gate:
    """Lets many through together, or one alone. Who waits to be alone goes before who comes
    later."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._inside = 0  # -1: one who is alone
        self._waiting = 0

    @contextlib.asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: self._inside >= 0 and not self._waiting)
            self._inside += 1
        try:
            yield
        finally:
            await asyncio.shield(self._change(inside=-1))

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        self._waiting += 1
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: self._inside == 0)
                self._inside = -1
        except asyncio.CancelledError:
            await asyncio.shield(self._change(waiting=-1))
            raise
        self._waiting -= 1
        try:
            yield
        finally:
            await asyncio.shield(self._change(inside=+1))

    async def _change(self, inside: int = 0, waiting: int = 0) -> None:
        async with self._changed:
            self._inside += inside
            self._waiting += waiting
            self._changed.notify_all()


class Traffic:
    """Stands between the guard and vLLM. `in_flight` counts the answers that are being written. No
    `keys` come into the log."""

    def __init__(self, app: Application, keys: Sequence[str] = ()) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]
        self._log = os.environ.get(REQUEST_LOG_VARIABLE, "")
        self._keep = os.environ.get(LOG_CONTENT_VARIABLE) == "1"
        self._gate = Gate() if os.environ.get(PROMPT_LOGPROBS_ALONE) == "1" else None
        self.in_flight = 0
        self.draining = False
        self._last = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope.get("method") != "POST"
            or scope.get("path") not in GENERATING
        ):
            await self._app(scope, receive, send)
            return
        passage = Passage(scope["path"])
        self.in_flight += 1
        try:
            await self._pass(passage, scope, receive, send)
        finally:
            self.in_flight -= 1
            self._last = time.monotonic()
            self._write(passage)

    @property
    def quiet_seconds(self) -> float:
        """Since the last answer, or since the start."""
        return 0.0 if self.in_flight else time.monotonic() - self._last

    async def _pass(self, passage: Passage, scope: Scope, receive: Receive, send: Send) -> None:
        body, complete, replayed = await _peek(receive)
        if complete:
            passage.read(body)
        state = scope["app"].state if "app" in scope else None
        refused = None
        if state is not None and isinstance(passage.body, dict):
            refused = refusal(state, passage.route, passage.body)
            changed = changes(state, passage.route, passage.body)
            if changed and (able := with_values(body, changed)) is not None:
                body = able
                scope, replayed = _with_body(scope, receive, body)
        if self._keep:
            send = passage.keeping(send)
        if (
            complete
            and passage.stream
            and passage.route in COUNTED
            and leaves_it_to_clients(state, passage.route)
        ):
            question = asking(
                body, passage.body, tells_each_piece(state, passage.route, passage.body)
            )
            passage.told_at_end = question is not None
            if question is not None and question.body is not None:
                scope, replayed = _with_body(scope, receive, question.body)
                send = _uncounted(
                    send, Unasked(fingerprint_of(state, passage.route), question.ends)
                )

        async def watched(message: Message) -> None:
            passage.see(message)
            await send(message)

        if refused is not None:
            await _say(*refused, watched)
            return
        folder = lost_folder(state, passage.model) if state is not None else ""
        if folder:
            await _say(
                404,
                f"{passage.model} is no longer available: its folder {folder} was deleted.",
                watched,
            )
            return
        if self._gate is None:
            await self._app(scope, replayed, watched)
            return
        # vLLM's engine for CPUs dies of a prompt's log-probabilities beside any other sequence:
        # with LoRA on, 0.32 applies the adapters' indices, one a sequence, to the rows of the whole
        # prompt. Who asks for them is let in alone, with one sequence.
        asks = isinstance(passage.body, dict) and (
            passage.body.get("prompt_logprobs") is not None or bool(passage.body.get("echo"))
        )
        if asks and _sequences(passage.body) > 1:
            await _say(
                400,
                "On a CPU, a request for the log-probabilities of a prompt may have only one"
                " prompt and one answer.",
                watched,
            )
        elif not complete and len(body) > _LONGEST_BODY:
            await _say(
                413, f"On a CPU, a request may have at most {_LONGEST_BODY:,} bytes.", watched
            )
        else:
            async with self._gate.alone() if asks else self._gate.together():
                await self._app(scope, replayed, watched)

    def _write(self, passage: Passage) -> None:
        if not self._log:
            return
        line = passage.line(self._keep)
        for key in self._keys:
            line = line.replace(key, b"[key]")
        with contextlib.suppress(OSError):  # a full disk must not stop the answers
            path = Path(self._log)
            if path.exists() and path.stat().st_size > _LOG_BYTES:
                path.replace(path.with_suffix(".1.jsonl"))
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)


def _sequences(body: dict[str, Any]) -> float:
    """How many sequences the engine would have at once; infinitely many where that cannot be
    told."""
    counts = [body.get(name) or 1 for name in ("n", "best_of")]
    prompts = body.get("prompt")
    listed = isinstance(prompts, list) and any(isinstance(prompt, list | str) for prompt in prompts)
    if body.get("use_beam_search") or not all(isinstance(count, int) for count in counts):
        return float("inf")
    return max(counts) * (len(prompts) if listed and isinstance(prompts, list) else 1)


async def _say(status: int, message: str, send: Send) -> None:
    body = json.dumps(
        {
            "error": {
                "message": message,
                "type": "invalid_request_error",
                "param": None,
                "code": status,
            }
        }
    ).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_body(scope: Scope, receive: Receive, body: bytes) -> tuple[Scope, Receive]:
    """The request with another body."""
    headers = [
        (name, str(len(body)).encode() if name.lower() == b"content-length" else value)
        for name, value in scope.get("headers", ())
    ]
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return {**scope, "headers": headers}, replayed


def _uncounted(send: Send, unasked: Unasked) -> Send:
    """`send` without what `unasked` takes out of an event stream; errors and other answers go on as
    they are."""
    stream = False

    async def sent(message: Message) -> None:
        nonlocal stream
        if message["type"] == "http.response.start":
            kinds = [
                value
                for name, value in message.get("headers", ())
                if name.lower() == b"content-type"
            ]
            stream = any(kind.startswith(b"text/event-stream") for kind in kinds)
        elif stream and message["type"] == "http.response.body":
            has_more = message.get("more_body", False)
            body = unasked.feed(message.get("body") or b"", not has_more)
            if not body and has_more:
                return
            message = {**message, "body": body}
        await send(message)

    return sent


async def _peek(receive: Receive) -> tuple[bytes, bool, Receive]:
    """The body of a request, whether that is all of it, and a `receive` that gives it out again."""
    messages: list[Message] = []
    body = bytearray()
    complete = False
    while not complete and len(body) <= _LONGEST_BODY:
        message = await receive()
        messages.append(message)
        if message["type"] != "http.request":  # the client has gone
            break
        body += message.get("body", b"")
        complete = not message.get("more_body", False)
    messages.reverse()

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return bytes(body), complete, replayed
