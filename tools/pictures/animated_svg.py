"""One SVG of many of the app's exported screens: it shows them one after the other, in a loop.

No script is in it, so that a README may show it: CSS makes frames visible in their turn. A row that
several frames share is written once, which keeps the whole small. Where nothing moves (a reader has
asked for less motion, or CSS is not understood), the last frame is to be seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.sax.saxutils import escape

_SVG = "{http://www.w3.org/2000/svg}"
_CELL, _LINE, _BASELINE = 12.2, 24.4, 20.0
"""A cell's width and height in Rich's export, and where the first line's letters stand."""
_BAR, _MARGIN = 44, 10
_FONT = "'Fira Code','JetBrains Mono','DejaVu Sans Mono',Menlo,Consolas,monospace"
_INK = "#d9d4c8"
_CSS_RULE = re.compile(r"\.[\w-]+-(r\d+) \{(.*)\}")


@dataclass(frozen=True)
class Frame:
    """A screen as Textual exports it, how long it stays, and what the window's bar says of it."""

    svg: str
    seconds: float
    caption: str


def texts(picture: str) -> list[str]:
    """What can be read in each frame of a picture, line by line."""
    root = ElementTree.fromstring(picture)
    rows = {f"#{row.get('id')}": _line(row) for row in root.iterfind(f"{_SVG}defs/{_SVG}g")}
    return [
        "\n".join(rows[use.attrib["href"]] for use in frame.iter(f"{_SVG}use"))
        for frame in root.iterfind(f"{_SVG}g[@class='f']")
    ]


def _line(row: ElementTree.Element) -> str:
    line = ""
    for piece in row.iterfind(f"{_SVG}text"):
        line = line.ljust(round(float(piece.attrib["x"]) / _CELL)) + (piece.text or "")
    return line.replace("\xa0", " ").rstrip()


class _Drawing:
    """Rows and styles, each written once."""

    def __init__(self, background: str) -> None:
        self.background = background
        self.styles: dict[str, str] = {}
        self.rows: dict[str, str] = {}

    def style(self, css: str) -> str:
        return self.styles.setdefault(css, f"s{len(self.styles)}")

    def frame(self, svg: str) -> str:
        """The rows of an exported screen, as uses of those that were drawn."""
        css = dict(_CSS_RULE.findall(svg))
        rows: dict[int, list[str]] = {}
        root = ElementTree.fromstring(svg)
        for row, x, width, fill in _papers(root):
            if fill != self.background:
                paper = (
                    f'<rect x="{_short(x)}" width="{_short(width)}" height="24.6"'
                    f' class="{self.style("fill:" + fill)}"/>'
                )
                rows.setdefault(row, []).append(paper)
        for piece in root.iter(f"{_SVG}text"):
            text = (piece.text or "").rstrip("\n")
            if "textLength" in piece.attrib and text.strip("\xa0 "):
                row = round((float(piece.attrib["y"]) - _BASELINE) / _LINE)
                name = self.style(_compact(css[piece.attrib["class"].rpartition("-")[2]]))
                rows.setdefault(row, []).append(_letters(piece, text, name))
        return "".join(self._use(row, "".join(rows[row])) for row in sorted(rows))

    def _use(self, row: int, drawn: str) -> str:
        name = self.rows.setdefault(drawn, f"r{len(self.rows)}")
        return f'<use href="#{name}" y="{_short(row * _LINE)}"/>'


def _papers(root: ElementTree.Element) -> list[tuple[int, float, float, str]]:
    """The backgrounds, neighbours of one colour in one: row, x, width and colour."""
    papers: list[tuple[int, float, float, str]] = []
    for box in root.iter(f"{_SVG}rect"):
        if box.get("shape-rendering") != "crispEdges":
            continue
        row, fill = round((float(box.attrib["y"]) - 1.5) / _LINE), box.attrib["fill"]
        x, width = float(box.attrib["x"]), float(box.attrib["width"])
        if papers and (papers[-1][0], papers[-1][3]) == (row, fill):
            _, begin, before, _ = papers[-1]
            if abs(begin + before - x) < 0.5:
                papers[-1] = (row, begin, before + width, fill)
                continue
        papers.append((row, x, width, fill))
    return papers


def _letters(piece: ElementTree.Element, text: str, style: str) -> str:
    x, width = float(piece.attrib["x"]), float(piece.attrib["textLength"])
    bare = text.lstrip("\xa0 ")
    x += width * (len(text) - len(bare)) / len(text)
    width *= len(bare) / len(text)
    return (
        f'<text x="{_short(x)}" y="{_BASELINE:g}" textLength="{_short(width)}" class="{style}">'
        f"{escape(bare)}</text>"
    )


def _compact(css: str) -> str:
    return css.strip().replace(": ", ":").rstrip(";")


def _short(number: float | str) -> str:
    return f"{float(number):.1f}".removesuffix(".0")


def still(svg: str, caption: str) -> str:
    """One screen in the same window."""
    return animated([Frame(svg, 1.0, caption)])


def animated(frames: Sequence[Frame]) -> str:
    """The frames in a window, one after the other for ever."""
    lines = [_size(frame.svg) for frame in frames]
    columns, rows = max(width for width, _ in lines), max(height for _, height in lines)
    width, height = round(columns * _CELL) + 2 * _MARGIN, round(rows * _LINE) + _BAR + _MARGIN
    background = _background(frames[0].svg)
    drawing = _Drawing(background)
    groups = [
        f'<g class="f" id="f{number}"><title>{escape(frame.caption)}</title>'
        f'<text class="c" x="{width / 2:g}" y="28">{escape(frame.caption)}</text>'
        f'<g transform="translate({_MARGIN},{_BAR})">{drawing.frame(frame.svg)}</g></g>'
        for number, frame in enumerate(frames)
    ]
    defined = [f'<g id="{name}">{drawn}</g>' for drawn, name in drawing.rows.items()]
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
            f"<style>{_css(frames, drawing.styles)}</style>",
            f'<rect width="{width}" height="{height}" rx="10" fill="{background}"'
            ' stroke="#5c564b"/>',
            *(
                f'<circle cx="{24 + 22 * index}" cy="22" r="7" fill="{fill}"/>'
                for index, fill in enumerate(("#ff5f57", "#febc2e", "#28c840"))
            ),
            "<defs>",
            *defined,
            "</defs>",
            *groups,
            "</svg>\n",
        )
    )


def _css(frames: Sequence[Frame], styles: dict[str, str]) -> str:
    rules = [
        f"text{{font:20px {_FONT};white-space:pre}}",
        f".c{{font:600 17px system-ui,sans-serif;text-anchor:middle;fill:{_INK}}}",
        *(f".{name}{{{css}}}" for css, name in styles.items()),
    ]
    if len(frames) > 1:
        rules += [".f{visibility:hidden}", f"#f{len(frames) - 1}{{visibility:visible}}"]
        rules.append("@media (prefers-reduced-motion:no-preference){" + _turns(frames) + "}")
    return "\n".join(rules)


def _turns(frames: Sequence[Frame]) -> str:
    """Each frame is visible from its beginning to the next one's."""
    total = sum(frame.seconds for frame in frames)
    rules, start = [], 0.0
    for number, frame in enumerate(frames):
        first, last = 100 * start / total, 100 * (start + frame.seconds) / total
        moments = {0.0: "hidden", first: "visible", last: "hidden", 100.0: "hidden"}
        if number == len(frames) - 1:
            moments[100.0] = "visible"
        steps = "".join(f"{at:.4g}%{{visibility:{how}}}" for at, how in moments.items())
        rules.append(f"@keyframes k{number}{{{steps}}}")
        rules.append(f"#f{number}{{animation:k{number} {total:g}s step-end infinite}}")
        start += frame.seconds
    return "".join(rules)


def _size(svg: str) -> tuple[int, int]:
    """Columns and rows of an exported screen."""
    box = re.search(r'<rect x="0" y="0" width="([\d.]+)" height="([\d.]+)"', svg)
    assert box is not None
    return round(float(box[1]) / _CELL), round(float(box[2]) / _LINE)


def _background(svg: str) -> str:
    """The colour behind the screen's first cell."""
    box = re.search(r'<rect fill="(#\w+)"[^>]* shape-rendering="crispEdges"', svg)
    assert box is not None
    return box[1]
