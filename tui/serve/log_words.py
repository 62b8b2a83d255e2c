"""A server's log as a person reads it: the time and what happened, without processes and files."""

from __future__ import annotations

import re

_VLLM = re.compile(
    r"\(\w+ pid=\d+\) (DEBUG|INFO|WARNING|ERROR) \d\d-\d\d (\d\d:\d\d:\d\d) \[[\w.]+:\d+\] ?(.*)"
)
_UVICORN = re.compile(r"(INFO|WARNING|ERROR):\s+(.*)")
_LEVELS = {"WARNING": "warning: ", "ERROR": "error: "}


def in_words(line: str) -> str:
    """A line of vLLM's or of its HTTP server; any other as it is."""
    if match := _VLLM.fullmatch(line):
        level, at, text = match.groups()
        return f"{at}  {_LEVELS.get(level, '')}{text}"
    if match := _UVICORN.fullmatch(line):
        level, text = match.groups()
        return f"{_LEVELS.get(level, '')}{text}"
    return line
