"""The one error that a user is meant to read."""

from __future__ import annotations

from typing import Any


class LuthierError(Exception):
    """What happened, why, and what to do about it."""

    def __init__(self, title: str, message: str, hint: str = "") -> None:
        super().__init__(title, message, hint)
        self.title = title
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join(part for part in (f"{self.title}: {self.message}", self.hint) if part)

    def to_json(self) -> dict[str, Any]:
        return {"title": self.title, "message": self.message, "hint": self.hint}
