"""What the guard does while vLLM sleeps: the memory of the engine is not there, and a request that
reached it would hang or end it.

Runs inside vLLM's process: standard library only. The server's worker says when it sleeps and why
(serve.sleeper).
"""

from __future__ import annotations

import asyncio
from typing import Any

HOLD_SECONDS = 60.0
RETRY_SECONDS = 20
SLEEP_PATH, WAKE_PATH = "/sleep", "/wake_up"

# What vLLM's API server answers by itself. Everything that is only read is, too.
_WITHOUT_ENGINE = frozenset({"/tokenize", "/detokenize", SLEEP_PATH, WAKE_PATH})
_READING = frozenset({"GET", "HEAD"})


class Rest:
    """`why` is empty while vLLM is awake. `hold`: it will be in a moment, so that requests wait for
    it instead of being refused. `wanted`: somebody has asked for an answer since it went to
    sleep."""

    def __init__(self) -> None:
        self.why = ""
        self.hold = False
        self.wanted = False
        self._changed = asyncio.Condition()

    async def change(self, order: dict[str, Any]) -> None:
        """What the worker says."""
        async with self._changed:
            self.why, self.hold = str(order.get("why", "")), bool(order.get("hold", False))
            self.wanted = self.wanted and bool(self.why)
            self._changed.notify_all()

    def concerns(self, method: object, path: object) -> bool:
        """Whether such a request needs the engine."""
        return bool(self.why) and method not in _READING and path not in _WITHOUT_ENGINE

    async def over(self) -> str:
        """Empty once vLLM is awake; why it cannot be waited for otherwise."""
        self.wanted = True
        try:
            async with asyncio.timeout(HOLD_SECONDS), self._changed:
                await self._changed.wait_for(lambda: not self.why or not self.hold)
        except TimeoutError:
            pass
        return self.why
