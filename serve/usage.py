"""How many tokens an answer has, also one that is broken off: vLLM is asked to tell with each
piece; the client sees what it asked for.

Runs inside vLLM's process, behind the guard: standard library only.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

COUNTED = {
    "/v1/chat/completions": "openai_serving_chat",
    "/v1/completions": "openai_serving_completion",
}
"""The routes whose streams tell their tokens on request only, and what serves each in the state of
vLLM's application."""

LONGEST_REASONED = 4096  # tokens; see `tells_each_piece`

# Within a text their quotes would be escaped. vLLM's usage holds numbers, and objects of numbers.
_REASON = re.compile(rb'"finish_reason":\s*"')
_USAGE = re.compile(rb',\s*"usage":\s*\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}')
_COUNT = re.compile(rb'"(prompt|input|completion|output)_tokens":\s*(\d+)')
_CHOICE = re.compile(rb'"choices":\s*\[\s*\{\s*"index":\s*(\d+)')
_NO_CHOICE = re.compile(rb'"choices":\s*\[\s*\]')


@dataclass(frozen=True)
class Question:
    """A stream at whose end vLLM tells the tokens. `body`: what it is asked in place of the
    client's own request, None where that asks for as much. `ends`: the client wants them at the
    end, as OpenAI's servers tell them."""

    body: bytes | None
    ends: bool


def asking(body: bytes, request: Any, each_piece: bool) -> Question | None:
    """The request with the question for the tokens added; None of what is no stream, or not
    understood."""
    if not isinstance(request, dict) or request.get("stream") is not True:
        return None
    options = request.get("stream_options")
    if not (options is None or isinstance(options, dict)):
        return None
    options = options or {}
    ends, pieces = options.get("include_usage"), options.get("continuous_usage_stats")
    if ends not in (None, False, True) or pieces not in (None, False, True):
        return None
    if ends and (pieces or not each_piece):
        return Question(None, True)
    asked = with_values(
        body,
        {
            "stream_options": {
                **options,
                "include_usage": True,
                "continuous_usage_stats": each_piece,
            }
        },
    )
    return None if asked is None else Question(asked, bool(ends))


def with_values(body: bytes, values: dict[str, Any]) -> bytes | None:
    """A JSON object with other values for some of its names, None of what is no object.

    Put at the end: of two keys of one name the last counts, and everything else goes on as it came.
    """
    text = body.strip()
    if not (text.startswith(b"{") and text.endswith(b"}")):
        return None
    added = json.dumps(values, separators=(",", ":")).encode()[1:-1]
    return text[:-1] + (b"," if text[1:-1].strip() else b"") + added + b"}"


def tells_each_piece(state: Any, route: str, request: dict[str, Any]) -> bool:
    """Whether vLLM may be asked for the tokens with each piece. With a reasoning parser, 0.32 then
    reads the whole answer again for each, to count its reasoning: of a long one that is too dear (1
    ms a token after 32,000 of them)."""
    if not getattr(
        getattr(state, COUNTED[route], None), "_include_reasoning_tokens_details", False
    ):
        return True
    longest = request.get("max_completion_tokens") or request.get("max_tokens")
    return isinstance(longest, int) and longest <= LONGEST_REASONED


def leaves_it_to_clients(state: Any, route: str) -> bool:
    """Whether who asks decides what is told: vLLM's flag --enable-force-include-usage tells
    everybody everything."""
    return not getattr(getattr(state, COUNTED[route], None), "enable_force_include_usage", False)


def fingerprint_of(state: Any, route: str) -> str | None:
    """What vLLM says of its own version and settings, at the end of each answer."""
    return getattr(getattr(state, COUNTED[route], None), "system_fingerprint", None)


@dataclass
class Tally:
    """The tokens of a request, of each of its answers as far as it came. None as long as nothing
    has told them."""

    answers_a_prompt: int = 1
    prompt: int | None = None
    completion: int | None = None
    final: bool = False
    _answers: dict[int, tuple[int, int]] = field(default_factory=dict)

    def see(self, block: bytes, stream: bool) -> None:
        for event in block.split(b"\n\n") if stream else (block,):
            start = event.rfind(b'"usage":')
            counts = (
                {name: int(count) for name, count in _COUNT.findall(event, start)}
                if start >= 0
                else {}
            )
            if not counts:
                continue
            prompt, completion = (
                counts.get(prompt_name, counts.get(other))
                for prompt_name, other in ((b"prompt", b"input"), (b"completion", b"output"))
            )
            choice = _CHOICE.search(event) if stream else None
            if choice is not None:
                self._answers[int(choice[1])] = (prompt or 0, completion or 0)
                prompts = {
                    index // self.answers_a_prompt: read
                    for index, (read, _) in self._answers.items()
                }
                prompt, completion = (
                    sum(prompts.values()),
                    sum(written for _, written in self._answers.values()),
                )
            self.prompt, self.completion, self.final = prompt, completion, choice is None


class Unasked:
    """Takes the answers to that question out of an event stream: those that the client has not
    asked for itself.

    Where it wants none at its end, vLLM's fingerprint stood in the event that is taken out: it is
    put back where it stands otherwise, into the event that says why an answer ended.
    """

    def __init__(self, fingerprint: str | None, ends: bool) -> None:
        self._fingerprint = (
            b""
            if fingerprint is None or ends
            else b',"system_fingerprint":' + json.dumps(fingerprint).encode()
        )
        self._ends = ends
        self._rest = b""

    def feed(self, block: bytes, last: bool) -> bytes:
        """What of it goes to the client. vLLM sends whole events; should one be cut, its beginning
        waits for the rest."""
        *events, self._rest = (self._rest + block).split(b"\n\n")
        kept = b"".join(
            event + b"\n\n" for event in map(self._as_asked, events) if event is not None
        )
        if last:
            kept, self._rest = kept + self._rest, b""
        return kept

    def _as_asked(self, event: bytes) -> bytes | None:
        usage = _USAGE.search(event)
        if usage:
            if _NO_CHOICE.search(event):
                return event if self._ends else None
            event = event[: usage.start()] + event[usage.end() :]
        ends = self._fingerprint and _REASON.search(event)
        return event[:-1] + self._fingerprint + b"}" if ends and event.endswith(b"}") else event
