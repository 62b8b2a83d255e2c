"""The colours and signs of runs that are drawn over each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.shared.glyphs import glyphs

if TYPE_CHECKING:
    from workshop.runs.track import Track

RUN_COLOURS = ("$primary", "$secondary", "$success", "$error")
MOST_RUNS = len(RUN_COLOURS)


def track_colour(track: Track) -> str:
    return RUN_COLOURS[track.slot]


def track_sign(track: Track) -> str:
    return glyphs().runs[track.slot]
