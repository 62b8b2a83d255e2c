"""How much a job may spend. Before a question is sent, the most that it can cost is set aside; so
the ceiling holds also for answers that break off, which a provider may charge."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple

import msgspec

_TOKENS_A_MESSAGE = 16  # of the chat template, around each


class Tokens(NamedTuple):
    prompt: int = 0
    completion: int = 0

    def plus(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt + other.prompt, self.completion + other.completion)

    def minus(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt - other.prompt, self.completion - other.completion)

    @property
    def total(self) -> int:
        return self.prompt + self.completion


NOTHING = Tokens()


class Ceiling(msgspec.Struct, frozen=True):
    """Prices are for a million tokens, in any currency."""

    price_in: float = 0.0
    price_out: float = 0.0
    cost: float | None = None
    tokens: int | None = None

    def cost_of(self, tokens: Tokens) -> float:
        return (tokens.prompt * self.price_in + tokens.completion * self.price_out) / 1e6

    def holds(self, tokens: Tokens) -> bool:
        return (self.cost is None or self.cost_of(tokens) <= self.cost) and (
            self.tokens is None or tokens.total <= self.tokens
        )

    @property
    def in_words(self) -> str:
        limits = [
            *([] if self.cost is None else [f"a cost of {self.cost:g}"]),
            *([] if self.tokens is None else [f"{self.tokens:,} tokens"]),
        ]
        return " and ".join(limits)


def most_tokens(messages: list[dict[str, Any]], tools: list[Any], answer: int) -> Tokens:
    """No tokenizer makes more tokens of a text than it has bytes."""
    text = json.dumps([messages, tools], ensure_ascii=False).encode("utf-8", "replace")
    return Tokens(len(text) + _TOKENS_A_MESSAGE * (len(messages) + 1), answer)


class Budget:
    """What is spent, and what is set aside for the questions that are being answered."""

    def __init__(self, ceiling: Ceiling, spent: Tokens) -> None:
        self.ceiling = ceiling
        self.spent = spent
        self._reserved = Tokens()
        self._changed = asyncio.Condition()

    async def reserve(self, tokens: Tokens) -> bool:
        """Set aside, once answers that are on their way have told what they cost. False if it would
        break the ceiling all the same."""
        async with self._changed:
            while not self.ceiling.holds(self.spent.plus(self._reserved).plus(tokens)):
                if not self._reserved.total:
                    return False
                await self._changed.wait()
            self._reserved = self._reserved.plus(tokens)
            return True

    async def settle(self, reserved: Tokens, spent: Tokens) -> None:
        """An attempt has ended, and has cost this."""
        async with self._changed:
            self._reserved = self._reserved.minus(reserved)
            self.spent = self.spent.plus(spent)
            self._changed.notify_all()
