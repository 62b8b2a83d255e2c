"""The phases of a job, one below the other, each with how long it took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from textual.content import Content

from models.events import Phase
from tui.shared.glyphs import glyphs
from workshop import number_format

Sign = tuple[str, str]
"""A glyph and its colour."""
_NAME = 36  # cells at least, so that a longer name that comes later moves nothing
_MUTED = "$foreground-muted"


def phase_lines(phases: Sequence[Phase], end: float, last: Sign | None = None) -> list[Content]:
    """`end` is when the last one ended, or now; `last` is its sign, without which it goes on. One
    that tells of its progress again and again is one line."""
    stretches = [list(again) for _, again in groupby(phases, key=lambda phase: phase.name)]
    ends = [*(phase[0].t for phase in stretches[1:]), end] if stretches else []
    width = max([_NAME, *(len(phase.name) + 1 for phase in phases)])
    done: Sign = (glyphs().done, "$success")
    lines = []
    for index, (again, until) in enumerate(zip(stretches, ends, strict=True)):
        goes_on = last is None and index == len(stretches) - 1
        sign = done if index < len(stretches) - 1 else last or (glyphs().starting, "$warning")
        took = number_format.duration(max(0.0, until - again[0].t))
        lines.append(
            Content.assemble(
                sign,
                f" {again[-1].name:<{width}}",
                (f"{took:>10}", _MUTED),
                *(_progress(again[-1]) if goes_on else ()),
            )
        )
    return lines


def _progress(phase: Phase) -> Iterable[tuple[str, str]]:
    """How much of a phase is done, and how long the rest takes."""
    if phase.done is not None and phase.total:
        if phase.unit == "bytes":
            yield f"   {number_format.size(phase.done)} of {number_format.size(phase.total)}", ""
        else:
            yield f"   {phase.done:g} of {phase.total:g}", ""
    if phase.seconds_left is not None:
        yield f"   about {number_format.short_duration(phase.seconds_left)} left", _MUTED
