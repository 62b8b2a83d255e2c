"""Where a passage stands in its document. Light."""

from __future__ import annotations

import msgspec

from workshop.number_format import duration


class Location(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a text stands: characters of the cleaned text, and the page, chapter or seconds of the
    document."""

    file: str
    start: int
    end: int
    chapter: str = ""
    page: int = 0
    begins: float | None = None
    ends: float | None = None

    @property
    def in_words(self) -> str:
        parts = [self.file]
        if self.page:
            parts.append(f"page {self.page}")
        if self.chapter:
            parts.append(self.chapter)
        if self.begins is not None:
            parts.append(f"at {duration(self.begins)}")
        return " · ".join(parts)
