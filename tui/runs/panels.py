"""Below the charts, one of these at a time: the samples, the log, the timeline, the data, and what
differs between runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import ContentSwitcher

from tui.runs.log_words import in_words
from tui.runs.samples_panel import SamplesPanel
from tui.runs.timeline import Timeline
from tui.shared.log_panel import LogPanel
from tui.shared.log_view import LogView
from tui.shared.row_table import RowOptions
from tui.shared.text_pane import TextPane
from workshop.runs.track import Track

Panel = Literal["samples", "log", "timeline", "data", "differs"]
PANELS: tuple[Panel, ...] = ("samples", "log", "timeline", "data", "differs")


class RunPanels(Vertical):
    """Say what there is with `show`; only the panel that is seen is drawn."""

    def __init__(self, log: Path, first: Panel) -> None:
        super().__init__(id="panels", classes="panel")
        self.log_panel = LogPanel(log, self._in_words)
        self._switcher = ContentSwitcher(
            Vertical(self.log_panel, id="panel-log"),
            Vertical(SamplesPanel(), id="panel-samples"),
            Vertical(Timeline(), id="panel-timeline"),
            Vertical(TextPane(least=36), id="panel-data"),
            Vertical(TextPane(), id="panel-differs"),
            initial=f"panel-{first}",
        )
        self._tracks: list[Track] = []
        self._drawn: tuple[object, ...] = ()
        self._titled = Content("")

    def compose(self) -> ComposeResult:
        yield self._switcher

    def _in_words(self, line: str) -> str:
        return in_words(line, self._tracks[0].record) if self._tracks else line

    @property
    def current(self) -> Panel:
        name = (self._switcher.current or "panel-log").removeprefix("panel-")
        return next(panel for panel in PANELS if panel == name)

    def possible(self) -> list[Panel]:
        return [panel for panel in PANELS if panel != "differs" or len(self._tracks) > 1]

    def choose(self, panel: Panel) -> None:
        self._switcher.current = f"panel-{panel}"
        self.take_focus()
        self._drawn = ()
        self.show(self._tracks)

    def turn(self, step: int) -> None:
        panels = self.possible()
        self.choose(panels[(panels.index(self.current) + step) % len(panels)])

    def take_focus(self) -> None:
        """What is seen gets the keys."""
        kinds: dict[Panel, type[Widget]] = {"log": LogView, "timeline": RowOptions}
        inside = self.query_one(f"#panel-{self.current}")
        inside.query_one(kinds.get(self.current, TextPane)).focus()

    def show(self, tracks: Sequence[Track]) -> None:
        self._tracks = list(tracks)
        if self.current not in self.possible():
            self.choose(PANELS[0])
            return
        self.log_panel.advance()
        drawn = (
            self.current,
            *((track.job.id, track.record.version, track.alive) for track in tracks),
        )
        self._show_titles()
        if not tracks or drawn == self._drawn:
            return
        self._drawn = drawn
        record = tracks[0].record
        match self.current:
            case "samples":
                self.query_one(SamplesPanel).show(record.samples, tracks[0].alive)
            case "timeline":
                self.query_one(Timeline).show_moments(record.moments)
            case "data":
                from tui.runs.data_totals import data_totals

                self.query_one("#panel-data TextPane", TextPane).show(
                    *data_totals(record, tracks[0].alive)
                )
            case "differs":
                from tui.runs.differences_view import differences_content
                from workshop.runs.differences import compare

                pane = self.query_one("#panel-differs TextPane", TextPane)
                pane.show(
                    differences_content(
                        compare(tracks),
                        self._tracks,
                        pane.scrollable_content_region.width or self.size.width,
                    )
                )
            case "log":
                pass

    def on_resize(self) -> None:
        self._drawn = ()
        self.call_after_refresh(self.show, self._tracks)

    def _show_titles(self) -> None:
        """The panels' names in the border, the one that is seen in bold, each with how much it
        holds."""
        record = self._tracks[0].record if self._tracks else None
        counts = (
            {"samples": len(record.samples), "timeline": len(record.moments)}
            if record is not None
            else {}
        )
        parts = []
        for panel in self.possible():
            count = f" {counts[panel]}" if counts.get(panel) else ""
            matches = self.log_panel.matches if panel == "log" else ""
            name = Content.styled(
                panel, "bold $foreground" if panel == self.current else "$foreground-muted"
            )
            link = Content.assemble(name, (f"{count}{matches}", "$foreground-muted"))
            parts.append(link.stylize(f"@click=screen.panel('{panel}')"))
        title = Content("   ").join(parts)
        if not title.is_same(self._titled):
            self._titled = title
            self.border_title = title

    @on(LogView.Searched)
    def search_went_on(self) -> None:
        self._show_titles()

    def step_back(self) -> bool:
        """Close the search box, or end the search."""
        return self.current == "log" and self.log_panel.step_back()
