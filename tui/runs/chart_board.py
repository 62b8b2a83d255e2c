"""The charts of a run: one large with a readout above it and figures beside it, the others small
below. One stretch, one cursor for all."""

from __future__ import annotations

from dataclasses import replace

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Resize
from textual.message import Message

from tui.runs.chart import Chart, LargeChart, SmallChart
from tui.runs.charts.view import View
from tui.runs.facts import Figures
from tui.runs.plots import latest, nothing_drawn, plot_of, readout
from tui.shared.glyphs import glyphs
from tui.shared.key_line import KeyHint, KeyLine
from tui.shared.steady_text import SteadyText
from workshop.runs.chart_metrics import (
    LOSS,
    SMOOTHINGS,
    Metric,
    default_smoothing,
    metric,
)
from workshop.runs.curve import Curve
from workshop.runs.track import Track

_SMALL_WIDTH = 23
_MOST_SMALL = 8
_TALL_ENOUGH = 19  # rows, for small charts to have room below the large one


def _key_hints() -> list[list[KeyHint]]:
    """The keys of the charts, where they have room below the figures: the footer has none for
    them."""
    return [
        [KeyHint("right", glyphs().left_right, "read"), KeyHint("plus", "+ -", "zoom")],
        [KeyHint("m", "m", "smooth"), KeyHint("y", "y", "log"), KeyHint("z", "z", "full")],
        [KeyHint("o", "o", "overlay"), KeyHint("x", "x", "export")],
    ]


class ChartBoard(Vertical):
    """Give it the runs with `show`. What the keys of the screen do to it are its methods."""

    class CursorMoved(Message):
        """The cursor stands at another step, or has gone."""

    def __init__(self) -> None:
        super().__init__()
        self.tracks: list[Track] = []
        self.view = View()
        self.key = LOSS.key
        self.cursor: int | None = None
        self.title = ""  # what stands before the metric, where it is not clear which run is shown
        self._by_mouse = False
        self._window: int | None = None  # None: what suits the run
        self.big = LargeChart()
        self.figures = Figures()
        self._keys = Vertical(
            *(KeyLine(*hints, classes="") for hints in _key_hints()), id="chart-keys"
        )
        self.figures_panel = Vertical(self.figures, self._keys, id="figures-panel", classes="panel")
        self._small = [SmallChart(self.big) for _ in range(_MOST_SMALL)]
        self._readout = SteadyText("", id="readout")
        self._titled = Content("")
        self._empty = SteadyText("", classes="empty")
        self.big.display = self._readout.display = self._keys.display = False
        self._big_panel = Vertical(
            self._readout, self.big, self._empty, id="big-panel", classes="panel"
        )
        self._row = Horizontal(*self._small, id="small-charts")

    def compose(self) -> ComposeResult:
        yield Horizontal(self._big_panel, self.figures_panel, id="big-and-figures")
        yield self._row

    @property
    def metric(self) -> Metric:
        return metric(self.key)

    def on_resize(self, event: Resize) -> None:
        self.call_after_refresh(self.redraw)

    def begin(self) -> None:
        """Another run: all of it, without a cursor."""
        self.view, self.cursor, self._window = View(logarithmic=self.view.logarithmic), None, None

    def show(self, tracks: list[Track], waiting: Content) -> None:
        """`waiting` stands where there is no curve yet."""
        self.tracks = tracks
        ends = [
            max(track.record.step, track.record.total if track.alive else 0) for track in tracks
        ]
        self.view = self.view.grown(max(ends), max(track.record.step for track in tracks))
        window = self._window or default_smoothing(int(self.view.end))
        self.view = replace(self.view, window=window)
        has_points = any(track.record.has_points for track in tracks)
        if self.big.display != has_points:
            self.big.display = self._readout.display = self._keys.display = has_points
            self._empty.display = not has_points
        if has_points:
            self.redraw()
        else:
            self._row.remove_class("-room")
            self._show_title()
            self.say(waiting)

    def say(self, waiting: Content) -> None:
        """In the place of the charts."""
        if not self.big.display:
            self._empty.update(waiting, layout=False)

    def redraw(self) -> None:
        if not self.tracks or not self.big.display:
            return
        self._show_title()
        self.show_readout()
        plot = plot_of(self.tracks, self.metric, self.view, self.cursor)
        self.big.show(
            replace(plot, selected=self.big.dragged),
            nothing=nothing_drawn(self.tracks, self.metric),
        )
        other_metrics = [
            metric for metric in self.tracks[0].record.metrics() if metric.key != self.key
        ]
        room = (
            (self.size.width + 3) // (_SMALL_WIDTH + 3) if self.size.height >= _TALL_ENOUGH else 0
        )
        self._row.set_class(room > 1, "-room")
        self._keys.set_class(self.figures_panel.size.height > self.figures.size.height + 3, "-room")
        shown = self.view.span.high if self.cursor is None else self.cursor
        for number, chart in enumerate(self._small):
            chart.display = number < min(room, len(other_metrics))
            chart.set_class(number == min(room, len(other_metrics)) - 1, "-last")
            if chart.display:
                metric = other_metrics[number]
                chart.key = metric.key
                small = plot_of(self.tracks, metric, self.view, self.cursor, small=True)
                chart.show(
                    small,
                    metric.title,
                    latest(self.tracks, metric, shown),
                    nothing=nothing_drawn(self.tracks, metric),
                )

    def show_readout(self) -> None:
        """The values at the cursor, else the last ones: all that changes with each step of a long
        run."""
        content = readout(
            self.tracks, self.metric, self.view, self.cursor, self._big_panel.size.width or 1000
        )
        self._readout.update(content, layout=False)

    @property
    def steps_a_dot(self) -> float:
        """How many steps fall into one column of dots of the large chart."""
        return self.view.span.width / max(1, 2 * self.big.picture.columns)

    def _show_title(self) -> None:
        view = self.view
        parts = [f"{self.metric.title} of {self.title}" if self.title else self.metric.title]
        if self.metric.smooth and view.window > 1:
            parts.append(f"smoothed over {view.window:,} steps")
        if view.logarithmic:
            parts.append("log scale")
        if view.zoomed:
            parts.append(f"steps {round(view.span.low):,} to {round(view.span.high):,}")
        title = Content.assemble(
            parts[0], *((f"   {part}", "$foreground-muted") for part in parts[1:])
        )
        if not title.is_same(self._titled):  # setting it paints the whole panel anew
            self._titled = title
            self._big_panel.border_title = title

    # What the keys do

    def choose(self, step: int) -> None:
        """Another metric becomes the large one."""
        keys = [metric.key for metric in self.tracks[0].record.metrics()]
        self.key = keys[(keys.index(self.key) + step) % len(keys)]
        self.redraw()

    def switch_scale(self) -> None:
        self._look(replace(self.view, logarithmic=not self.view.logarithmic))

    def smooth(self, step: int) -> None:
        """More or less smoothing."""
        index = SMOOTHINGS.index(self.view.window) + step
        self._window = SMOOTHINGS[min(len(SMOOTHINGS) - 1, max(0, index))]
        self._look(replace(self.view, window=self._window))

    def zoom(self, factor: float) -> None:
        """Around the cursor, else around the last step."""
        self._look(self.view.zoom(factor, self.view.last if self.cursor is None else self.cursor))

    def pan(self, share: float) -> None:
        self._look(self.view.pan(share))

    def whole(self) -> None:
        self._look(self.view.whole())

    def clear(self) -> bool:
        """Take the cursor and the zoom back; False if there is neither."""
        if self.cursor is None and not self.view.zoomed:
            return False
        self._point(None)
        self.whole()
        return True

    def move_cursor(self, cells: int) -> None:
        """By what a cell of the large chart shows, but at least to the next point."""
        curve = self._curve()
        if not curve:
            return
        if self.cursor is None:
            self._stand_at(curve.steps[curve.nearest(min(self.view.last, self.view.span.high))])
            return
        here = curve.nearest(self.cursor)
        there = curve.nearest(
            self.cursor + cells * self.view.span.width / max(1, self.big.picture.columns)
        )
        if there == here:
            there = min(len(curve) - 1, max(0, here + (1 if cells > 0 else -1)))
        self._stand_at(curve.steps[there])

    def to_mark(self, direction: int) -> None:
        """The cursor goes to the next thing that happened, or to the one before."""
        end = self.view.last + 1 if direction < 0 else 0
        here = end if self.cursor is None else self.cursor
        steps = sorted(
            {
                moment.step
                for track in self.tracks
                for moment in track.record.moments
                if moment.on_chart
            }
        )
        ahead = [step for step in steps if (step - here) * direction > 0]
        if ahead:
            self._stand_at(ahead[0] if direction > 0 else ahead[-1])

    def show_step(self, step: int) -> None:
        self._stand_at(step)

    def _stand_at(self, step: int) -> None:
        self._by_mouse = False
        self.view = self.view.showing(step)
        self._point(step)

    def _point(self, step: int | None) -> None:
        if step != self.cursor:
            self.cursor = step
            self.post_message(self.CursorMoved())
        self.redraw()

    def _look(self, view: View) -> None:
        self.view = view
        self.redraw()

    def _curve(self) -> Curve | None:
        """The points that the cursor goes to."""
        curves = self.tracks[0].record.curves if self.tracks else {}
        return curves.get(self.key) or curves.get(LOSS.key)

    # The mouse

    @on(Chart.Pointed)
    def pointed(self, message: Chart.Pointed) -> None:
        curve = self._curve()
        if message.step is not None and curve:
            self._by_mouse = True
            self._point(curve.steps[curve.nearest(message.step)])
        elif message.step is None and self._by_mouse:
            self._by_mouse = False
            self._point(None)

    @on(Chart.Zoomed)
    def zoomed(self, message: Chart.Zoomed) -> None:
        self._look(self.view.zoom(message.factor, message.around))

    @on(Chart.Panned)
    def panned(self, message: Chart.Panned) -> None:
        self.pan(message.share)

    @on(Chart.Stretched)
    def stretched(self, message: Chart.Stretched) -> None:
        self._look(self.view.looking_at(message.span))

    @on(Chart.Chosen)
    def chosen(self, message: Chart.Chosen) -> None:
        if message.chart.small:
            self.key = message.chart.key
            self.redraw()
