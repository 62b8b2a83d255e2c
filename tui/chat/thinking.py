"""Reasoning that a model writes into its answer, between <think> and </think>, told from what it
says."""

from __future__ import annotations

OPEN, CLOSE = "<think>", "</think>"


def split_thinking(text: str) -> tuple[str, str]:
    """A whole answer's thoughts and the rest. A template may have written the opening mark itself:
    then only the closing one is there."""
    begins = text.lstrip()
    if begins.startswith(OPEN):
        thoughts, _, answer = begins.removeprefix(OPEN).partition(CLOSE)
        return thoughts, answer.lstrip("\n")
    if CLOSE in text and OPEN not in text:
        thoughts, _, answer = text.partition(CLOSE)
        return thoughts, answer.lstrip("\n")
    return "", text


class Thinking:
    """The same for text that comes in pieces, however they are cut."""

    def __init__(self) -> None:
        self.thoughts = ""
        self._undecided = ""  # what may become a mark
        self._state = "begins"

    def take(self, piece: str) -> str:
        """What of the piece, and of what was held back before, is said."""
        if self._state == "said":
            return piece
        self._undecided += piece
        if self._state == "begins":
            text = self._undecided.lstrip()
            if len(text) < len(OPEN) and OPEN.startswith(text):
                return ""
            if not text.startswith(OPEN):
                self._state = "said"
                return self._release()
            self._state, self._undecided = "thinking", text.removeprefix(OPEN)
        if self._state == "thinking":
            thoughts, mark, after = self._undecided.partition(CLOSE)
            if not mark:
                mark_size = next(
                    (
                        size
                        for size in range(len(CLOSE) - 1, 0, -1)
                        if thoughts.endswith(CLOSE[:size])
                    ),
                    0,
                )
                self.thoughts += thoughts[: len(thoughts) - mark_size]
                self._undecided = thoughts[len(thoughts) - mark_size :]
                return ""
            self.thoughts += thoughts
            self._state, self._undecided = "gap", after
        self._undecided = self._undecided.lstrip("\n")  # the empty lines after the closing mark
        if self._undecided:
            self._state = "said"
        return self._release()

    def _release(self) -> str:
        released, self._undecided = self._undecided, ""
        return released
