"""What became of each row, as one step of the pipeline hands it to the next, and the sample files
as they are written."""

from __future__ import annotations

from typing import IO, Any

import msgspec

from trainer.data.ledger import Entry, State


class Read(msgspec.Struct, array_like=True):
    """A row as the first step leaves it."""

    source: int
    file: str
    row: int
    conversation: int
    """Its number, -1 where the row was dropped."""
    offset: int
    """The byte of the spool at which its messages begin."""
    reasons: list[str]
    detail: str = ""
    places: list[int] = []
    """The messages' numbers in the row; none where they are as here."""
    carrier: int = -1
    """The row, counted over all sources, in whose conversation its turns stand; -1 if they stand in
    none but its own."""

    def note(self, detail: str) -> None:
        self.detail = f"{self.detail}; {detail}" if self.detail else detail


class Outcome(msgspec.Struct, array_like=True):
    """A row after rendering, and its samples, whose lines lie one after the other."""

    read: Read
    state: State = "dropped"
    sizes: list[int] = []
    """Bytes of each sample's line."""
    lengths: list[int] = []
    """Tokens of each sample."""
    trained: int = 0
    """Tokens that are trained."""
    lost: int = 0
    """Tokens that no sample has."""


class Part:
    """One of the two sample files, as it is written."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.conversations = self.samples = self.tokens = self.trained = self.longest = 0
        self.weighted = False

    def take(self, outcome: Outcome, lines: list[bytes], file: IO[bytes], copies: int) -> Entry:
        """Write the lines as often as is wanted; the row's entry."""
        read = outcome.read
        if lines and not copies:
            lost = outcome.lost + sum(outcome.lengths)
            return Entry(
                read.file,
                read.row,
                "dropped",
                [*read.reasons, "mixing"],
                lost=lost,
                detail="left out because of its file's weight",
            )
        ids = [f"{self.name}:{self.samples + number}" for number in range(copies * len(lines))]
        for _ in range(copies):
            file.writelines(lines)
        tokens = copies * sum(outcome.lengths)
        self.conversations += bool(lines)
        self.samples += len(ids)
        self.tokens += tokens
        self.trained += copies * outcome.trained
        self.longest = max(self.longest, *outcome.lengths, 0)
        self.weighted = self.weighted or any(b'"weights":[' in line for line in lines)
        return Entry(
            read.file, read.row, outcome.state, read.reasons, ids, tokens, outcome.lost, read.detail
        )


def figures_of(train: Part, heldout: Part) -> dict[str, Any]:
    return {
        "conversations": train.conversations + heldout.conversations,
        "train": train.samples,
        "heldout": heldout.samples,
        "tokens": train.tokens + heldout.tokens,
        "trained_tokens": train.trained,
        "longest": max(train.longest, heldout.longest),
        "weighted": train.weighted or heldout.weighted,
    }
