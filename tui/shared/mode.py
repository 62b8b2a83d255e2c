"""A mode of a screen: its word and its colour, which the header, the hints and the prompt share
while it lasts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mode:
    word: str
    colour: str
    """A variable of the theme."""

    @property
    def css_class(self) -> str:
        return f"-{self.word}"


BLIND = Mode("blind", "$secondary")
REPLAY = Mode("replay", "$success")
LENS = Mode("lens", "$warning")
MODES = (BLIND, REPLAY, LENS)
