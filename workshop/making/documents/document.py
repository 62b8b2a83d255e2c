"""What every kind of document is read as: paragraphs, each with where it stands."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from jobs.luthier_error import LuthierError


@dataclass(frozen=True)
class Block:
    """A paragraph, a heading, or what somebody says in a stretch. `page` counts from 1 and is 0
    where the document has no pages; the times are seconds."""

    text: str
    is_heading: bool = False
    page: int = 0
    begins: float | None = None
    ends: float | None = None
    speaker: str = ""


@dataclass
class Document:
    """A file's text. `left_out` counts what cleaning has taken away, in words for a person."""

    file: str
    kind: str
    blocks: list[Block]
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def has_speakers(self) -> bool:
        return any(block.speaker for block in self.blocks)


def unreadable(file: str, reason: str, hint: str = "Leave it out, or repair it.") -> LuthierError:
    """The refusal of a document: `reason` goes on after its name."""
    return LuthierError("A document cannot be read", f"{file} {reason}", hint)
