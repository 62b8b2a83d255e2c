"""Exchanges that a server has written down with their content (`--log-content`): what was sent, and
what was answered, as chat messages. Light."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import foreign_json
from serve.client import ChatMessage, without_surrogates
from serve.servers import Server

REQUESTS_FILE = "requests.jsonl"
_OLDER_FILE = "requests.1.jsonl"


class NoExchange(Exception):
    """Why a line makes no conversation: a reason code, and words."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code, self.detail = code, detail


@dataclass(frozen=True)
class LoggedRequest:
    """A line of the log. `row` counts from 0 in its file."""

    file: Path
    row: int
    fields: dict[str, Any]

    @property
    def model(self) -> str:
        return str(self.fields.get("model") or "")

    @property
    def time(self) -> float:
        moment = self.fields.get("t")
        return float(moment) if isinstance(moment, int | float) else 0.0

    @property
    def status(self) -> int:
        status = self.fields.get("status")
        return status if isinstance(status, int) else 0

    def conversation(self) -> tuple[list[ChatMessage], ChatMessage, list[dict[str, Any]]]:
        """What was sent, the answer, and the tools. NoExchange if the line has none."""
        request, answer = self.fields.get("request"), self.fields.get("answer")
        if not isinstance(request, dict) or not isinstance(answer, str):
            raise NoExchange("no_content", "the server was not started with --log-content")
        if self.status != 200:
            raise NoExchange("no_answer", f"it was answered with the status {self.status}")
        if self.fields.get("broken_off"):
            raise NoExchange("broken_off", "the answer was broken off")
        route = self.fields.get("route")
        try:
            if route == "/v1/chat/completions":
                return _chat(request, answer)
            if route == "/v1/messages":
                return _messages(request, answer)
        except (foreign_json.Damaged, LookupError, TypeError, AttributeError) as error:
            raise NoExchange("unreadable", f"the log has not all of it ({error})") from None
        raise NoExchange("no_chat", f"a request to {route} is not a chat")


def log_files(server_folder: Path) -> list[Path]:
    """The logs of a server, the older one first."""
    paths = (server_folder / name for name in (_OLDER_FILE, REQUESTS_FILE))
    return [path for path in paths if path.is_file()]


def logs_of(server: Server) -> list[Path]:
    return log_files(server.job.directory)


def read_log(path: Path) -> Iterator[LoggedRequest | tuple[int, str]]:
    """The lines of a log; of one that is torn, its row and why."""
    with path.open("rb") as file:
        for row, line in enumerate(file):
            try:
                yield LoggedRequest(path, row, foreign_json.decode_object(line, path, lenient=True))
            except foreign_json.Damaged as error:
                yield row, error.reason


def _chat(
    request: dict[str, Any], answer: str
) -> tuple[list[ChatMessage], ChatMessage, list[dict[str, Any]]]:
    message: ChatMessage = {"role": "assistant", "content": ""}
    calls: dict[int, dict[str, Any]] = {}
    reason = ""
    for chunk in _parts(answer):
        for choice in chunk.get("choices") or []:
            if choice.get("index", 0) != 0:  # the first of several answers
                continue
            piece = choice.get("message") or choice.get("delta") or {}
            message["content"] += piece.get("content") or ""
            for number, call in enumerate(piece.get("tool_calls") or []):
                _add_call(calls, call.get("index", number), call)
            reason = choice.get("finish_reason") or reason
    if not reason:
        raise NoExchange("broken_off", "the log has not all of the answer")
    if reason == "length":
        raise NoExchange("broken_off", "the answer was cut off at its longest length")
    message["content"] = without_surrogates(message["content"])
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return list(request["messages"]), message, request.get("tools") or []


def _add_call(calls: dict[int, dict[str, Any]], index: int, piece: dict[str, Any]) -> None:
    function = piece.get("function") or {}
    empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
    call = calls.setdefault(index, empty)
    call["id"] = piece.get("id") or call["id"]
    for name in ("name", "arguments"):
        call["function"][name] += function.get(name) or ""


def _messages(
    request: dict[str, Any], answer: str
) -> tuple[list[ChatMessage], ChatMessage, list[dict[str, Any]]]:
    """Anthropic's: a system prompt apart, and content in blocks."""
    if request.get("tools"):
        raise NoExchange("no_chat", "tools in Anthropic's form are not read")
    text, reason = "", ""
    for chunk in _parts(answer):
        text += "".join(block.get("text") or "" for block in chunk.get("content") or [])
        delta = chunk.get("delta") or {}
        text += delta.get("text") or ""
        reason = chunk.get("stop_reason") or delta.get("stop_reason") or reason
    if reason in ("", "max_tokens"):
        raise NoExchange("broken_off", "the answer was cut off")
    system = request.get("system")
    context = [{"role": "system", "content": _text(system)}] if system else []
    context += [
        {"role": message["role"], "content": _text(message["content"])}
        for message in request["messages"]
    ]
    return context, {"role": "assistant", "content": without_surrogates(text)}, []


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if any(block.get("type") != "text" for block in content):
        raise NoExchange("no_chat", "it has content that is not text")
    return "\n".join(block["text"] for block in content)


def _parts(answer: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of an answer: one, or those of an event stream."""
    if not answer.lstrip().startswith(("data:", "event:", ":")):
        yield foreign_json.decode_object(answer, "the answer", lenient=True)
        return
    for line in answer.split("\n"):
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data != "[DONE]":
            yield foreign_json.decode_object(data, "the answer", lenient=True)
