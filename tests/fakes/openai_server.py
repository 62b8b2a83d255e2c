"""A fake OpenAI-compatible server for the fast tier: no model, but the real protocol over a real
socket.

    with FakeServer() as server:                     # a free port on 127.0.0.1, in a thread
        question = [{"role": "user", "content": "Hi"}]
        async for piece in stream_chat(server.endpoint, "base", question): ...

It streams `answer(model, messages)`, by default "MODEL says: LAST MESSAGE", word by word at
`tokens_per_second`. Everything may be changed while it runs: `models`, `tokens_per_second`,
`first_token_seconds`, `answer`, and `fault`, one of

* "unauthorized": every request gets a 401; "garbage": every request gets a page of HTML;
* "bad_request": a chat gets vLLM's 400 for a context that is too long;
* "drop": the connection breaks after three tokens; "no_done": the stream ends properly, but without
  its end;
* "stream_error": an error object inside the stream after three tokens;
* "hang": nothing more comes after three tokens; "silent": nothing comes at all;
* "half_event": the stream ends properly in the middle of an event's JSON; "odd_event": an event
  that is JSON of another shape;
* "wrong_encoding": bytes that are not the gzip that the header promises.

`thoughts` is streamed as `reasoning` before the answer, `calls` (name, arguments) as tool calls
after it. A prompt of more words than `context_words` gets vLLM's 400. `POST /tokenize`, and
completions with `prompt_logprobs`, speak of words: `likelihood(model, word)` is the log-probability
of one. `GET /metrics` is `metrics`, by default those of an idle server.

A chat whose body has the key `refuses` gets OpenAI's 400 for it.

`requests` holds the body of every chat so far, `finished` and `cancelled` count how they ended. A
request without the key gets a 401, adapters may be loaded and unloaded (`models` tells), an unknown
model is a 404.

As a program of its own, so that a benchmark can tell its CPU time apart: `python -m
tests.fakes.openai_server --port 8123 --rate 100` (it prints its address; the key is `FAKE_KEY`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

from serve.client import Endpoint

FAKE_KEY = "fake-key-for-tests-only"

Fault = Literal[
    "unauthorized",
    "garbage",
    "bad_request",
    "drop",
    "no_done",
    "stream_error",
    "hang",
    "silent",
    "half_event",
    "odd_event",
    "wrong_encoding",
]
_BOUNDS = [0.001 * 2**power for power in range(16)]
IDLE_METRICS = "".join(
    f'vllm:{name}{{engine="0",model_name="base"}} 0.0\n'
    for name in (
        "num_requests_running",
        "num_requests_waiting",
        "kv_cache_usage_perc",
        "prompt_tokens_total",
        "generation_tokens_total",
    )
) + "".join(
    f'vllm:{name}_bucket{{engine="0",le="{bound}",model_name="base"}} 0.0\n'
    for name in (
        "time_to_first_token_seconds",
        "inter_token_latency_seconds",
        "e2e_request_latency_seconds",
        "request_queue_time_seconds",
        "request_prefill_time_seconds",
        "request_decode_time_seconds",
    )
    for bound in _BOUNDS
)
"""What vLLM says of itself while nobody asks it anything."""
_AFTER = 3  # tokens before a fault in the stream


def echo(model: str, messages: list[dict[str, Any]]) -> str:
    """The default answer."""
    return f"{model} says: {messages[-1]['content']}"


class FakeServer:
    """See the module's docstring."""

    def __init__(
        self,
        models: tuple[str, ...] = ("base", "builtin", "captain"),
        tokens_per_second: float = 2000.0,
        port: int = 0,
    ) -> None:
        self.models = list(models)
        self.tokens_per_second = tokens_per_second
        self.first_token_seconds = 0.0
        self.answer: Callable[[str, list[dict[str, Any]]], str] = echo
        self.fault: Fault | None = None
        self.refusal = "The API key is not one of this server's keys."
        self.thoughts = ""
        self.parents: dict[str, str] = {}
        self.calls: list[tuple[str, str]] = []
        self.context_words = 100_000
        self.refuses = ""
        self.metrics = IDLE_METRICS
        # what the template says to a system message, where it has no such role
        self.without_system = ""
        self.likelihood: Callable[[str, str], float] = lambda model, word: -2.0
        self._vocabulary: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.finished = 0
        self.cancelled = 0
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fake-openai-server", daemon=True)
        self._listening = threading.Event()
        self._stop = asyncio.Event()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.base_url, FAKE_KEY)

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection."""
        try:
            method, path, headers, body = await _read_request(reader)
            await self._dispatch(method, path, headers, body, reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _dispatch(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: dict[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        if self.fault == "garbage":
            page = b"<html>A router's home page</html>"
            writer.write(
                (
                    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n"
                    f"content-length: {len(page)}\r\n\r\n"
                ).encode()
                + page
            )
        elif headers.get("authorization") != f"Bearer {FAKE_KEY}" or self.fault == "unauthorized":
            writer.write(_error(401, self.refusal))
        elif (method, path) == ("GET", "/v1/models"):
            cards = [
                {
                    "id": name,
                    "object": "model",
                    "root": f"/fake/{name}",
                    "parent": self.parents.get(name),
                }
                for name in self.models
            ]
            writer.write(_response(200, {"object": "list", "data": cards}))
        elif (method, path) == ("GET", "/metrics"):
            writer.write(_text(200, self.metrics))
        elif (method, path) == ("POST", "/v1/load_lora_adapter"):
            self.models.append(body["lora_name"])
            writer.write(_response(200, {}))
        elif (method, path) == ("POST", "/v1/unload_lora_adapter"):
            self.models.remove(body["lora_name"])
            writer.write(_response(200, {}))
        elif (method, path) == ("POST", "/tokenize"):
            text = (
                body["prompt"]
                if "prompt" in body
                else "".join(f" [{one['role']}] {one['content']}" for one in body["messages"])
            )
            writer.write(_response(200, {"tokens": [self._token(word) for word in _words(text)]}))
        elif (method, path) == ("POST", "/v1/completions"):
            words = [(token, self._vocabulary[token]) for token in body["prompt"]]
            told = [
                {
                    str(token): {
                        "logprob": self.likelihood(body["model"], word),
                        "decoded_token": word,
                    }
                }
                for token, word in words
            ]
            writer.write(
                _response(200, {"choices": [{"text": " x", "prompt_logprobs": [None, *told[1:]]}]})
            )
        elif (method, path) != ("POST", "/v1/chat/completions"):
            writer.write(_error(404, f"No route {path}."))
        elif body["model"] not in self.models:
            writer.write(_error(404, f"The model `{body['model']}` does not exist."))
        elif (refusal := self._refusal(body)) is not None:
            writer.write(_error(400, refusal))
        else:
            await self._chat(body, reader, writer)

    def _refusal(self, body: dict[str, Any]) -> str | None:
        """Why a chat gets a 400, if it does."""
        if self.fault == "bad_request":
            return (
                "This model's maximum context length is 4096 tokens. However, you requested 5000"
                " tokens."
            )
        if self.refuses in body:
            return f"Unsupported parameter: '{self.refuses}'. Use 'max_completion_tokens' instead."
        if self.without_system and body["messages"][0]["role"] == "system":
            return self.without_system
        used = _length(body["messages"])
        if used <= self.context_words:
            return None
        limit = (
            f"This model's maximum context length is {self.context_words} tokens. However, your"
            f" prompt contains {used} input tokens."
        )
        return f"{limit} Please reduce the length of the input prompt."

    def _token(self, word: str) -> int:
        if word not in self._vocabulary:
            self._vocabulary.append(word)
        return self._vocabulary.index(word)

    async def _chat(
        self, body: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Stream an answer, or send it whole if the request asks for no stream."""
        self.requests.append(body)
        tokens = _words(self.answer(body["model"], body["messages"]))
        reason = "length" if len(tokens) > body.get("max_tokens", 512) else "stop"
        tokens = tokens[: body.get("max_tokens", 512)]
        usage = {
            "prompt_tokens": _length(body["messages"]),
            "completion_tokens": len(tokens),
        }
        if not body.get("stream"):
            message = {"role": "assistant", "content": "".join(tokens)}
            writer.write(
                _response(
                    200,
                    {
                        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
                        "usage": usage,
                    },
                )
            )
            self.finished += 1
            return
        gone = asyncio.ensure_future(reader.read())  # returns when the client closes the connection
        try:
            if self.fault == "silent":
                await gone
                self.cancelled += 1
                return
            encoding = "content-encoding: gzip\r\n" if self.fault == "wrong_encoding" else ""
            head = (
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding:"
                " chunked\r\nconnection: close\r\n"
            )
            writer.write(f"{head}{encoding}\r\n".encode())
            await self._stream(tokens, reason, usage, gone, writer)
        finally:
            gone.cancel()

    async def _stream(
        self,
        tokens: list[str],
        reason: str,
        usage: dict[str, int],
        gone: asyncio.Future[bytes],
        writer: asyncio.StreamWriter,
    ) -> None:
        await asyncio.sleep(self.first_token_seconds)
        started = time.monotonic()
        _send(
            writer,
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {"role": "assistant", "content": ""},
                        "finish_reason": None,
                    }
                ]
            },
        )
        for thought in _words(self.thoughts):
            _send(
                writer,
                {"choices": [{"index": 0, "delta": {"reasoning": thought}, "finish_reason": None}]},
            )
        for count, token in enumerate(tokens):
            if gone.done():
                self.cancelled += 1
                return
            if count == _AFTER and self.fault == "drop":
                writer.transport.abort()
                return
            if count == _AFTER and self.fault == "no_done":
                writer.write(b"0\r\n\r\n")
                return
            if count == _AFTER and self.fault == "stream_error":
                _send(
                    writer,
                    {
                        "error": {
                            "message": "EngineCore encountered an issue.",
                            "type": "InternalServerError",
                            "code": 500,
                        }
                    },
                )
                writer.write(b"0\r\n\r\n")
                return
            if count == _AFTER and self.fault == "hang":
                await gone
                self.cancelled += 1
                return
            if count == _AFTER and self.fault == "half_event":
                _send_line(writer, b'data: {"choices": [{"index": 0, "del')
                writer.write(b"0\r\n\r\n")
                return
            if count == _AFTER and self.fault == "odd_event":
                _send_line(writer, b'data: {"choices": ["a text, where an object is due"]}\n\n')
            finish = reason if count == len(tokens) - 1 else None
            _send(
                writer,
                {"choices": [{"index": 0, "delta": {"content": token}, "finish_reason": finish}]},
            )
            await asyncio.sleep(
                max(0.0, started + (count + 1) / self.tokens_per_second - time.monotonic())
            )
        for index, (name, arguments) in enumerate(self.calls):
            for piece in (
                {"id": f"call-{index}", "function": {"name": name, "arguments": ""}},
                {"function": {"arguments": arguments}},
            ):
                _send(
                    writer,
                    {
                        "choices": [
                            {
                                "index": 0,
                                "delta": {"tool_calls": [{"index": index, **piece}]},
                                "finish_reason": None,
                            }
                        ]
                    },
                )
        _send(writer, {"choices": [], "usage": usage})
        _send_line(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        self.finished += 1


def _words(text: str) -> list[str]:
    """The tokens of this server: words with the space before them."""
    return re.findall(r"\s*\S+", text)


def _length(messages: list[dict[str, Any]]) -> int:
    return sum(len(str(message["content"]).split()) for message in messages)


async def _read_request(
    reader: asyncio.StreamReader,
) -> tuple[str, str, dict[str, str], dict[str, Any]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {
        name.lower(): value.strip()
        for name, _, value in (line.partition(":") for line in head[1:] if line)
    }
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    return method, path, headers, json.loads(content) if content else {}


def _response(status: int, value: dict[str, Any]) -> bytes:
    body = json.dumps(value).encode()
    head = (
        f"HTTP/1.1 {status} Fake\r\ncontent-type: application/json\r\ncontent-length:"
        f" {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def _text(status: int, text: str) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status} Fake\r\ncontent-type: text/plain\r\ncontent-length:"
        f" {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def _error(status: int, message: str) -> bytes:
    return _response(
        status, {"error": {"message": message, "type": "Error", "param": None, "code": status}}
    )


def _send(writer: asyncio.StreamWriter, chunk: dict[str, Any]) -> None:
    _send_line(
        writer,
        b"data: "
        + json.dumps(chunk, ensure_ascii=False).encode("utf-8", "backslashreplace")
        + b"\n\n",
    )


def _send_line(writer: asyncio.StreamWriter, line: bytes) -> None:
    writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="A fake OpenAI-compatible server.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--rate", type=float, default=100.0, help="tokens per second of each answer"
    )
    parser.add_argument(
        "--words", type=int, default=0, help="length of every answer (default: an echo)"
    )
    arguments = parser.parse_args()
    with FakeServer(tokens_per_second=arguments.rate, port=arguments.port) as server:
        if arguments.words:
            server.answer = lambda model, messages: " ".join(
                f"word{index}" for index in range(arguments.words)
            )
        print(server.base_url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
