"""A figure as SVG: plain shapes and text, so that papers and web pages can take it as it is."""

from __future__ import annotations

from xml.sax.saxutils import escape

from tui.runs.charts.shapes import Area, Figure, Marker, Point, Polyline, Shape, Text

_FONT = "Inter, 'Helvetica Neue', Helvetica, Arial, sans-serif"


def svg(figure: Figure) -> str:
    size = (
        f'width="{figure.width:g}" height="{figure.height:g}" viewBox="0 0 {figure.width:g}'
        f' {figure.height:g}"'
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{_FONT}">'
    back = f'<rect width="{figure.width:g}" height="{figure.height:g}" fill="#ffffff"/>'
    return "\n".join(
        [
            head,
            f"<title>{escape(figure.about)}</title>",
            back,
            *map(_element, figure.shapes),
            "</svg>",
            "",
        ]
    )


def _element(shape: Shape) -> str:
    match shape:
        case Polyline():
            dash = (
                f' stroke-dasharray="{" ".join(f"{length:g}" for length in shape.dash)}"'
                if shape.dash
                else ""
            )
            faint = f' stroke-opacity="{shape.opacity:g}"' if shape.opacity < 1 else ""
            style = (
                f'fill="none" stroke="{shape.colour}" stroke-width="{shape.width:g}"'
                f' stroke-linejoin="round"{dash}{faint}'
            )
            return f'<polyline points="{_points(shape.points)}" {style}/>'
        case Area():
            return (
                f'<polygon points="{_points(shape.points)}" fill="{shape.colour}"'
                f' fill-opacity="{shape.opacity:g}"/>'
            )
        case Text():
            bold = ' font-weight="600"' if shape.bold else ""
            position = (
                f'x="{shape.x:g}" y="{shape.y:g}" font-size="{shape.size:g}"'
                f' text-anchor="{shape.anchor}"'
            )
            return f'<text {position} fill="{shape.colour}"{bold}>{escape(shape.text)}</text>'
        case Marker():
            return _marker(shape)


def _marker(marker: Marker) -> str:
    filled = marker.sign in ("circle", "diamond")
    style = (
        f'fill="{marker.colour if filled else "#ffffff"}" stroke="{marker.colour}"'
        ' stroke-width="1.5"'
    )
    if marker.sign in ("circle", "ring"):
        return f'<circle cx="{marker.x:g}" cy="{marker.y:g}" r="{marker.radius:g}" {style}/>'
    return f'<polygon points="{_points(diamond(marker))}" {style}/>'


def diamond(marker: Marker) -> tuple[Point, ...]:
    """The corners of a marker that is one."""
    x, y, r = marker.x, marker.y, marker.radius * 1.3
    return (x, y - r), (x + r, y), (x, y + r), (x - r, y)


def _points(points: tuple[Point, ...]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
