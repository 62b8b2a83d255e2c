"""The colours of runs that are drawn over each other; `glyphs().runs` has their signs."""

from __future__ import annotations

RUN_COLOURS = ("$primary", "$secondary", "$success", "$error")
MOST_RUNS = len(RUN_COLOURS)
