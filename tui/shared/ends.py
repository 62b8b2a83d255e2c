"""How jobs end, in words, and the terminal's title."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from jobs.counting import counted
from jobs.state import Done, Failed, Lost, Running, Starting, Stopped, Stopping, word
from tui.shared.glyphs import glyphs
from workshop import number_format

if TYPE_CHECKING:
    from workshop.job_list import JobRow

_NAME = "Luthier"


class Ends:
    """Which jobs have ended since the last look."""

    def __init__(self) -> None:
        self._known: dict[str, object] | None = None

    def new(self, rows: Iterable[JobRow]) -> list[JobRow]:
        """The jobs whose end was not seen before; none at the first look."""
        now = {row.id: _end(row) for row in rows}
        before, self._known = self._known, now
        return (
            []
            if before is None
            else [
                row for row in rows if now[row.id] is not None and before.get(row.id) != now[row.id]
            ]
        )


def _end(row: JobRow) -> object:
    """Tells one end of a job from another; None while it lives. A lost job's last event may still
    move."""
    if row.alive:
        return None
    return "lost" if isinstance(row.state, Lost) else row.since


def terminal_title(rows: Iterable[JobRow], ended: JobRow | None) -> str:
    """What ended while nobody looked, else what runs: "● captain 45 % · Luthier"."""
    if ended is not None:
        return (
            f"{getattr(glyphs(), word(ended.state))} {ended.name} {word(ended.state)}"
            f" {glyphs().dot} {_NAME}"
        )
    busy = [
        row
        for row in rows
        if row.kind != "server" and isinstance(row.state, Starting | Running | Stopping)
    ]
    if not busy:
        return _NAME
    first = max(busy, key=lambda row: (isinstance(row.state, Running), row.total > 0))
    share = f" {100 * first.step // first.total} %" if first.total else ""
    beside = f" +{len(busy) - 1}" if len(busy) > 1 else ""
    state = getattr(glyphs(), word(first.state))
    return f"{state} {first.name}{share}{beside} {glyphs().dot} {_NAME}"


def end_text(row: JobRow) -> str:
    """How a job ended, in a sentence."""
    match row.state:
        case Done() if row.kind == "run" and row.loss is not None:
            loss = number_format.loss(row.loss)
            return f"{row.name} is done: loss {loss} after {counted(row.step, 'step')}."
        case Failed(title=title):
            return f"{row.name} failed: {title}."
        case Stopped() if row.total:
            return f"{row.name} was stopped at step {row.step} of {row.total}."
        case Stopped():
            return f"{row.name} was stopped."
        case Lost():
            return f"{row.name} was lost: its process is gone."
        case _:
            return f"{row.name} is {word(row.state)}."


def summary(rows: list[JobRow]) -> str:
    """Many ends in a sentence: "12 jobs have ended: 10 done, 2 failed."."""
    words = Counter(word(row.state) for row in rows)
    return (
        f"{len(rows)} jobs have ended:"
        f" {', '.join(f'{count} {how}' for how, count in words.most_common())}."
    )


def is_bad(row: JobRow) -> bool:
    return isinstance(row.state, Failed | Lost)
