"""What runs and waits, and what has ended last, a line each."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from jobs.state import Done, Queued
from tui.shared.certificate_badge import badge
from tui.shared.state_label import progress_content, state_content
from workshop import number_format
from workshop.job_list import JobRow

_MUTED = "$foreground-muted"
_STATE, _END_STATE = 10, 9  # cells: "◐ stopping", "■ stopped"
_SHORTEST = 16  # cells that words are cut to


def queue_lines(rows: Sequence[JobRow], width: int, most: int) -> list[Content]:
    """Jobs that run and wait, but for servers; the last line says how many more there are."""
    jobs = [row for row in rows if row.alive and row.kind != "server"]
    return _lines([_going_on(row, width) for row in jobs], most, "Nothing runs, nothing waits.")


def ended_lines(rows: Sequence[JobRow], width: int, most: int) -> list[Content]:
    """The jobs that ended last, the latest first."""
    ended = sorted((row for row in rows if not row.alive), key=lambda row: row.since, reverse=True)
    return _lines([_ended(row, width) for row in ended[:most]], most, "Nothing has ended yet.")


def _lines(lines: list[Content], most: int, nothing: str) -> list[Content]:
    if not lines:
        return [Content.styled(nothing, _MUTED)]
    if len(lines) <= most:
        return lines
    further = len(lines) - most + 1
    return [*lines[: most - 1], Content.styled(f"and {further} more", _MUTED)]


def _going_on(row: JobRow, width: int) -> Content:
    time_left = (
        "" if row.seconds_left is None else f"{number_format.short_duration(row.seconds_left)}"
    )
    kind = "" if row.kind == "run" else f"{row.kind}  "
    progress = progress_content(row, 8)
    if isinstance(row.state, Queued):
        kind = ""
    return _row(row, Content.assemble((kind, "$secondary"), progress), time_left, width)


def _ended(row: JobRow, width: int) -> Content:
    age = number_format.steady_age(row.since)
    if row.kind != "run":
        words = Content.styled(row.kind, "$secondary")
    elif isinstance(row.state, Done):
        loss = f"eval loss {number_format.loss(row.eval_loss)}" if row.eval_loss else ""
        verdict = badge(row.standing)
        parts = [part for part in (verdict, Content.styled(loss, _MUTED)) if part]
        return _row(row, Content("  ").join(parts), age, width, shorter=verdict)
    else:
        words = progress_content(row, 8)
    return _row(row, words, age, width)


def _row(
    row: JobRow, words: Content, last: str, width: int, shorter: Content | None = None
) -> Content:
    """Name, state, what there is to say, and a time flush right. `shorter` is said where there is
    no room for all."""
    name_width = max(10, min(24, width // 3))
    state_width = _STATE if row.alive else _END_STATE
    room = max(0, width - name_width - state_width - 4 - (len(last) + 2 if last else 0))
    if shorter and words.cell_length > room:
        words = shorter
    if room < _SHORTEST and words.cell_length > room:  # half a word says less than none
        words = Content(f"{row.step / row.total:.0%}" if row.alive and row.total else "")
    name = _padded(Content(row.name).truncate(name_width, ellipsis=True), name_width)
    state = _padded(state_content(row.state), state_width)
    line = Content.assemble(name, "  ", state, "  ", words.truncate(room, ellipsis=True))
    gap = width - line.cell_length - len(last)
    return Content.assemble(line, " " * max(0, gap), (last, _MUTED))


def _padded(content: Content, width: int) -> Content:
    return content.pad_right(max(0, width - content.cell_length))
