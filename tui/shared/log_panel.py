"""A log with the box that asks for a text to look for in it."""

from __future__ import annotations

from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input, Static

from tui.shared.log_view import LogView
from tui.shared.readable_log import Words


class LogPanel(Vertical):
    """Call `advance` now and then. A search that has gone on posts `LogView.Searched`."""

    DEFAULT_CSS = """
    LogPanel {
        height: 1fr;
        .empty { dock: top; height: 1; margin: 1 0 0 0; padding: 0; }
        Input {
            display: none;
            dock: bottom;
            background: $surface;
            border-left: outer $primary;
            &.-open { display: block; }
        }
    }
    """

    def __init__(self, path: Path | None, in_words: Words | None = None) -> None:
        super().__init__()
        self.log_view = LogView(path, in_words)
        self._empty = Static("The log is empty.", classes="empty")
        self._box = Input(placeholder="text to look for", id="log-search", compact=True)

    def compose(self) -> ComposeResult:
        yield self.log_view
        yield self._empty
        yield self._box

    def open(self, path: Path) -> None:
        """Show another file from its end."""
        self.log_view.open(path)

    def advance(self) -> None:
        self.log_view.advance()
        if self._empty.display == bool(self.log_view.virtual_size.height):
            self._empty.display = not self._empty.display

    @property
    def matches(self) -> str:
        """What is looked for, and which of its places is shown; "" without a search."""
        search = self.log_view.search
        return f" {search.text!r} {self.log_view.found}" if search is not None else ""

    @on(LogView.Asked)
    def open_search(self, event: LogView.Asked) -> None:
        event.stop()
        self._box.add_class("-open")
        self._box.focus()

    @on(Input.Submitted)
    def search(self, event: Input.Submitted) -> None:
        event.stop()
        self._close_box()
        self.log_view.find(event.value)

    def _close_box(self) -> None:
        self._box.remove_class("-open")
        self.log_view.focus()

    def step_back(self) -> bool:
        """Close the search box, or end the search."""
        if self._box.has_class("-open"):
            self._close_box()
            return True
        if self.log_view.search is not None:
            self._box.value = ""
            self.log_view.find("")
            return True
        return False
