"""Streams whose client did not ask how many tokens they have: vLLM is asked all the same, and the client sees nothing of it.

Runs inside vLLM's process, behind the guard: standard library only.
"""

from __future__ import annotations

import json
import re
from typing import Any

COUNTED = {"/v1/chat/completions": "openai_serving_chat", "/v1/completions": "openai_serving_completion"}
"""The routes whose streams tell their tokens on request only, and what serves each in the state of vLLM's application."""

# Within a text their quotes would be escaped, here and in `_is_usage`.
_REASON = re.compile(rb'"finish_reason":\s*"')
_ASK = b',"stream_options":{"include_usage":true}}'


def asking(body: bytes, request: Any) -> bytes | None:
    """The body with the question for the tokens added; None where the client asks itself, or nothing is to be asked.

    Put at the end: of two keys of one name the last counts, and everything else goes on as it came.
    """
    if not isinstance(request, dict) or request.get("stream") is not True:
        return None
    options = request.get("stream_options")
    if not (options is None or (isinstance(options, dict) and options.get("include_usage") in (None, False))):
        return None
    text = body.strip()
    return text[:-1] + _ASK if text.startswith(b"{") and text.endswith(b"}") else None


def fingerprint_of(state: Any, route: str) -> str | None:
    """What vLLM says of its own version and settings, at the end of each answer."""
    return getattr(getattr(state, COUNTED[route], None), "system_fingerprint", None)


class Unasked:
    """Takes the answer to that question out of an event stream. vLLM then leaves its fingerprint to the event that is taken out: it is put
    back where it stands otherwise, into the event that says why an answer ended."""

    def __init__(self, fingerprint: str | None) -> None:
        self._fingerprint = b"" if fingerprint is None else b',"system_fingerprint":' + json.dumps(fingerprint).encode()
        self._rest = b""

    def feed(self, block: bytes, last: bool) -> bytes:
        """What of it goes to the client. vLLM sends whole events; should one be cut, its beginning waits for the rest."""
        *events, self._rest = (self._rest + block).split(b"\n\n")
        kept = b"".join(self._as_usual(event) + b"\n\n" for event in events if not _is_usage(event))
        if last:
            kept, self._rest = kept + self._rest, b""
        return kept

    def _as_usual(self, event: bytes) -> bytes:
        ends = self._fingerprint and _REASON.search(event)
        return event[:-1] + self._fingerprint + b"}" if ends and event.endswith(b"}") else event


def _is_usage(event: bytes) -> bool:
    if b'"usage"' not in event:
        return False
    try:
        chunk = json.loads(event.removeprefix(b"data:"))
        return not chunk["choices"] and bool(chunk["usage"])
    except (ValueError, KeyError, TypeError):
        return False
