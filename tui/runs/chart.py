"""A chart by the line API. It draws a plot when it has to, and tells what the mouse does on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.events import Click, Leave, MouseDown, MouseEvent, MouseMove, MouseUp, Resize
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.visual import Visual
from textual.widget import Widget

from tui.runs.charts.canvas import Cell
from tui.runs.charts.picture import Picture, Plot, draw
from workshop.runs.curve import Span

_STYLES = ("plain", "axis", "rule", "grid", "eval", "mark", "kept", "warned", "cursor")
_SLOTS = tuple(f"{kind}-{slot}" for kind in ("run", "band") for slot in range(4))
_NEAR = 0.8  # what one turn of the wheel leaves of the stretch that is seen
_LEAST_DRAG = 2  # cells


class Chart(Widget):
    """Give it a plot with `show`. Only lines that have changed are painted again."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    Chart { height: 1fr; }
    """
    small: ClassVar[bool] = False

    @dataclass
    class Pointed(Message):
        """The mouse is over a step of the chart; None when it has left."""

        step: float | None

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, Chart.Pointed)

    @dataclass
    class Zoomed(Message):
        factor: float
        around: float

    @dataclass
    class Panned(Message):
        share: float

    @dataclass
    class Stretched(Message):
        """A stretch was chosen by dragging over it."""

        span: Span

    @dataclass
    class Chosen(Message):
        """It was clicked."""

        chart: Chart

    def __init__(self) -> None:
        super().__init__()
        self.key = ""
        self._plot: Plot | None = None
        self._title, self._value = "", ""
        self._nothing = ""
        self._picture: Picture | None = None
        self._strips: list[Strip] = []
        self._above: Strip | None = None
        self._drag_from: int | None = None
        self._drag_to: int | None = None

    def show(self, plot: Plot, title: str = "", value: str = "", nothing: str = "") -> None:
        """A small one has its title and a value above it. `nothing` stands where there is no point
        yet."""
        if (title, value) != (self._title, self._value):
            self._title, self._value, self._above = title, value, None
            self.refresh(Region(0, 0, self.size.width, 1))
        before = self._strips if self._picture is not None else None
        self._plot, self._nothing, self._picture = plot, nothing, None
        if before is None or not self.picture.rows or len(self._strips) != len(before):
            self.refresh()
            return
        changed = [
            number
            for number, (old, new) in enumerate(zip(before, self._strips, strict=True))
            if old != new
        ]
        if changed:
            self.refresh(
                *(Region(0, number + self.small, self.size.width, 1) for number in changed)
            )

    def on_resize(self, event: Resize) -> None:
        self._forget()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._picture = self._above = None

    def _forget(self) -> None:
        self._picture = self._above = None
        self.refresh()

    @property
    def picture(self) -> Picture:
        """What is drawn now."""
        if self._picture is None:
            height = self.size.height - self.small
            self._picture = (
                draw(self._plot, self.size.width, height) if self._plot is not None else Picture()
            )
            self._strips = [self._strip(row) for row in self._picture.rows]
        return self._picture

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if self.small:
            if y == 0:
                if self._above is None:
                    self._above = Visual.to_strips(
                        self, self._heading(width), width, 1, self.visual_style
                    )[0]
                return self._above
            y -= 1
        if self.picture.rows:
            return self._strips[y] if y < len(self._strips) else Strip.blank(width, self.rich_style)
        if self._nothing and y == (self.size.height - self.small) // 2:
            text = Content.styled(self._nothing.center(width), "$foreground-muted")
            return Visual.to_strips(self, text, width, 1, self.visual_style)[0]
        return Strip.blank(width, self.rich_style)

    def _heading(self, width: int) -> Content:
        gap = max(1, width - len(self._title) - len(self._value))
        return Content.assemble(
            (self._title, "$foreground-muted"), " " * gap, self._value
        ).truncate(width, ellipsis=True)

    def _strip(self, row: list[Cell]) -> Strip:
        """Neighbours of one style as one segment."""
        cursor = self._styled("cursor")
        segments: list[Segment] = []
        text, before, style = "", ("", False), Style.null()
        for cell in row:
            key = (cell.style, cell.under_cursor)
            if key != before:
                if text:
                    segments.append(Segment(text, style))
                text, before = "", key
                style = self._styled(cell.style)
                if cell.under_cursor:
                    style += Style(bgcolor=cursor.bgcolor)
            text += cell.text
        segments.append(Segment(text, style))
        return Strip(segments, len(row))

    def _styled(self, name: str) -> Style:
        """The style of a cell, by its name."""
        raise NotImplementedError

    # The mouse

    def _step_at(self, event: MouseEvent) -> float | None:
        at = event.get_content_offset(self)
        return None if at is None else self.picture.step_at(at.x)

    def on_mouse_move(self, event: MouseMove) -> None:
        if self._drag_from is not None and event.button:
            self._drag_to = event.x
        self.post_message(self.Pointed(self._step_at(event)))

    def on_leave(self, event: Leave) -> None:
        self.post_message(self.Pointed(None))

    def on_mouse_scroll_down(self, event: MouseEvent) -> None:
        self._turned(event, 1)

    def on_mouse_scroll_up(self, event: MouseEvent) -> None:
        self._turned(event, -1)

    def _turned(self, event: MouseEvent, direction: int) -> None:
        """The wheel looks closer, or moves along while shift or ctrl is held."""
        step = self._step_at(event)
        event.stop()
        event.prevent_default()
        if event.shift or event.ctrl:
            self.post_message(self.Panned(0.1 * direction))
        elif step is not None:
            self.post_message(self.Zoomed(_NEAR if direction < 0 else 1 / _NEAR, step))

    def on_mouse_scroll_left(self, event: MouseEvent) -> None:
        self.post_message(self.Panned(-0.1))

    def on_mouse_scroll_right(self, event: MouseEvent) -> None:
        self.post_message(self.Panned(0.1))

    def on_mouse_down(self, event: MouseDown) -> None:
        if not self.small:
            self._drag_from = self._drag_to = event.x
            self.capture_mouse()

    def on_mouse_up(self, event: MouseUp) -> None:
        self.release_mouse()
        span = self.dragged
        self._drag_from = self._drag_to = None
        if span is not None:
            self.post_message(self.Stretched(span))

    @property
    def dragged(self) -> Span | None:
        """The stretch that is being chosen with the mouse."""
        if (
            self._drag_from is None
            or self._drag_to is None
            or abs(self._drag_to - self._drag_from) < _LEAST_DRAG
        ):
            return None
        left, right = sorted((self._drag_from, self._drag_to))
        low, high = (
            self.picture.step_at(max(left, self.picture.left)),
            self.picture.step_at(min(right, self.size.width - 1)),
        )
        return None if low is None or high is None else Span(low, high)

    def on_click(self, event: Click) -> None:
        self.post_message(self.Chosen(self))


class LargeChart(Chart):
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"chart--{name}" for name in (*_STYLES, *_SLOTS)}
    DEFAULT_CSS = """
    LargeChart {
        .chart--plain { color: $foreground; }
        .chart--axis { color: $foreground-muted; }
        .chart--rule { color: $foreground 30%; }
        .chart--grid { color: $foreground 12%; }
        .chart--run-0 { color: $primary; }
        .chart--run-1 { color: $secondary; }
        .chart--run-2 { color: $success; }
        .chart--run-3 { color: $error; }
        .chart--band-0 { color: $primary 35%; }
        .chart--band-1 { color: $secondary 35%; }
        .chart--band-2 { color: $success 35%; }
        .chart--band-3 { color: $error 35%; }
        .chart--eval { color: $secondary; text-style: bold; }
        .chart--mark { color: $foreground; }
        .chart--kept { color: $success; }
        .chart--warned { color: $warning; text-style: bold; }
        .chart--cursor { background: $panel; }
    }
    """

    def _styled(self, name: str) -> Style:
        return self.get_component_rich_style(f"chart--{name}")


class SmallChart(Chart):
    """One with its title and a value above it. Its styles are those of the large one: Textual would
    work them out for each widget anew."""

    small: ClassVar[bool] = True

    def __init__(self, large: LargeChart) -> None:
        super().__init__()
        self._large = large

    def _styled(self, name: str) -> Style:
        return self._large._styled(name)
