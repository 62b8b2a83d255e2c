"""A hosted endpoint on a bad day: most requests meet a 429, a 500, half an answer or a dropped
connection, by a seed; the others are answered as FakeServer does. Beside that a question may be
slow for the first time, or be refused for what it says, each time."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.fakes.openai_server import FakeServer

_FILTERED = {
    "message": "The prompt triggered the content management policy.",
    "code": "content_filter",
    "param": "prompt",
}
MISHAPS = ("429", "500", "html", "half JSON", "half an answer", "no reason", "dropped")


class HostileServer(FakeServer):
    """`share` of the requests meet a mishap; `answered` counts whole answers by question."""

    def __init__(self, share: float = 0.6, seed: int = 1, seconds: float = 0.0) -> None:
        super().__init__(models=("ft:old",))
        self.share, self.seconds = share, seconds
        self.dice = random.Random(seed)
        self.answered: Counter[str] = Counter()
        self.mishaps: Counter[str] = Counter()
        self.most_at_once = 0
        self.now = 0
        self.slow_at_first: tuple[float, Callable[[str], bool]] = (0.0, lambda question: False)
        """How long a question takes for the first time, and which ones do."""
        self.forbids: Callable[[str], bool] = lambda question: False
        """Which questions the provider's filter refuses."""
        self.asked: Counter[str] = Counter()
        """How often each question came, answered or not."""

    async def _chat(
        self, body: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        try:
            question = body["messages"][-1]["content"]
            seconds, is_slow = self.slow_at_first
            self.asked[question] += 1
            is_first = self.asked[question] == 1
            await asyncio.sleep(seconds if is_first and is_slow(question) else self.seconds)
            if self.forbids(question):
                writer.write(_answer("400 No", json.dumps({"error": _FILTERED}), ""))
                return
            if self.dice.random() >= self.share:
                await super()._chat(body, reader, writer)
                self.answered[question] += 1
                return
            mishap = self.dice.choice(MISHAPS)
            self.mishaps[mishap] += 1
            self._befall(mishap, writer)
        finally:
            self.now -= 1

    def _befall(self, mishap: str, writer: asyncio.StreamWriter) -> None:
        half = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Half of"}}]}
        whole = json.dumps(half)
        match mishap:
            case "429":
                writer.write(_answer("429 Slow", '{"error": {"message": "Slow down."}}', "0"))
            case "500":
                writer.write(_answer("500 Oops", "upstream connect error", ""))
            case "html":
                writer.write(_answer("200 OK", "<html>Bad gateway</html>", ""))
            case "half JSON":
                writer.write(_answer("200 OK", whole[:40], ""))
            case "half an answer":  # fewer bytes than promised
                writer.write(_answer("200 OK", whole, "", longer=200))
            case "no reason":  # JSON that is whole, of an answer that is not
                writer.write(_answer("200 OK", whole, ""))
            case _:
                writer.transport.abort()


def _answer(status: str, body: str, retry_after: str, longer: int = 0) -> bytes:
    wait = f"retry-after: {retry_after}\r\n" if retry_after else ""
    return (
        f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{wait}"
        f"content-length: {len(body) + longer}\r\nconnection: close\r\n\r\n{body}"
    ).encode()
