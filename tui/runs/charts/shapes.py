"""What a figure on paper is made of. Lengths are in points from the top left corner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]
Sign = Literal["circle", "ring", "diamond", "hollow diamond"]


@dataclass(frozen=True)
class Polyline:
    """`opacity` is over the white paper. `dash`: lengths of strokes and gaps in turns."""

    points: tuple[Point, ...]
    colour: str
    width: float = 1.0
    opacity: float = 1.0
    dash: tuple[float, ...] = ()


@dataclass(frozen=True)
class Area:
    points: tuple[Point, ...]
    colour: str
    opacity: float


@dataclass(frozen=True)
class Text:
    x: float
    y: float
    text: str
    size: float
    colour: str
    anchor: Anchor = "start"
    bold: bool = False


@dataclass(frozen=True)
class Marker:
    x: float
    y: float
    sign: Sign
    colour: str
    radius: float = 3.5


Shape = Polyline | Area | Text | Marker


@dataclass(frozen=True)
class Figure:
    """A whole figure: its size, a description for those who cannot see it, and its shapes from the
    back to the front."""

    width: float
    height: float
    about: str
    shapes: tuple[Shape, ...]
