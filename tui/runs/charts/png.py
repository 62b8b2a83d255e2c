"""A figure as PNG, drawn by Pillow with the font that it carries: no library of the system is asked
for. Import it when a PNG is wanted."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import pairwise
from math import hypot

from PIL import Image, ImageDraw, ImageFont

from tui.runs.charts.shapes import Area, Figure, Marker, Point, Polyline, Text
from tui.runs.charts.svg import diamond

_SCALE = 2  # pixels a point
_FINER = 2  # drawn so much larger, then reduced, which smooths the edges
_FAMILIAR = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf")
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def png(figure: Figure) -> bytes:
    """The figure at 144 dots an inch."""
    factor = _SCALE * _FINER
    image = Image.new(
        "RGB", (round(figure.width * factor), round(figure.height * factor)), "#ffffff"
    )
    pen = _Pen(ImageDraw.Draw(image), factor)
    for shape in figure.shapes:
        match shape:
            case Polyline():
                pen.polyline(shape)
            case Area():
                pen.draw.polygon(
                    pen.scaled(shape.points), fill=_on_white(shape.colour, shape.opacity)
                )
            case Text():
                pen.text(shape)
            case Marker():
                pen.marker(shape)
    buffer = io.BytesIO()
    image.reduce(_FINER).save(buffer, "PNG", optimize=True, dpi=(72 * _SCALE, 72 * _SCALE))
    return buffer.getvalue()


class _Pen:
    def __init__(self, draw: ImageDraw.ImageDraw, factor: int) -> None:
        self.draw, self.factor = draw, factor

    def scaled(self, points: tuple[Point, ...]) -> list[Point]:
        return [(x * self.factor, y * self.factor) for x, y in points]

    def polyline(self, line: Polyline) -> None:
        width, colour = (
            max(1, round(line.width * self.factor)),
            _on_white(line.colour, line.opacity),
        )
        for points in _strokes(
            self.scaled(line.points), [length * self.factor for length in line.dash]
        ):
            self.draw.line(points, fill=colour, width=width, joint="curve")

    def text(self, text: Text) -> None:
        font = _font(text.text, text.size * self.factor)
        weight = round(0.02 * text.size * self.factor) if text.bold else 0
        corner = (text.x * self.factor, text.y * self.factor)
        self.draw.text(
            corner,
            text.text,
            fill=text.colour,
            font=font,
            anchor=_ANCHORS[text.anchor],
            stroke_width=weight,
        )

    def marker(self, marker: Marker) -> None:
        filled = marker.colour if marker.sign in ("circle", "diamond") else "#ffffff"
        if marker.sign in ("circle", "ring"):
            (x, y), radius = (
                (marker.x * self.factor, marker.y * self.factor),
                marker.radius * self.factor,
            )
            self.draw.circle(
                (x, y), radius, fill=filled, outline=marker.colour, width=round(1.5 * self.factor)
            )
        else:
            self.draw.polygon(
                self.scaled(diamond(marker)),
                fill=filled,
                outline=marker.colour,
                width=round(1.5 * self.factor),
            )


def _strokes(points: list[Point], dash: list[float]) -> Iterator[list[Point]]:
    """The line in the strokes that its dashes leave of it."""
    if not dash:
        yield points
        return
    stroke_index, left, stroke = 0, dash[0], [points[0]]
    for (x0, y0), (x1, y1) in pairwise(points):
        length, done = hypot(x1 - x0, y1 - y0), 0.0
        while length - done > left:
            done += left
            corner = (x0 + (x1 - x0) * done / length, y0 + (y1 - y0) * done / length)
            if stroke_index % 2 == 0:
                yield [*stroke, corner]
            stroke_index += 1
            left, stroke = dash[stroke_index % len(dash)], [corner]
        left -= length - done
        stroke.append((x1, y1))
    if stroke_index % 2 == 0:
        yield stroke


def _on_white(colour: str, opacity: float) -> tuple[int, int, int]:
    red, green, blue = (
        round(255 - (255 - int(colour[at : at + 2], 16)) * opacity) for at in (1, 3, 5)
    )
    return red, green, blue


def _font(text: str, size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, which has Latin letters; for others one of the system, if there is one."""
    if not text.isascii():
        for name in _FAMILIAR:
            try:
                return ImageFont.truetype(name, size)
            except OSError:
                continue
    return ImageFont.load_default(size)
