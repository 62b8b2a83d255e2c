"""The keys of long texts: what the registry calls "log"."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType
from textual.scroll_view import ScrollView

from tui import key_bindings


class LogKeys(ScrollView, inherit_bindings=False):
    """A scrolled text that the keys of logs move, at once and without animation."""

    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("log")

    def action_line_up(self) -> None:
        self.scroll_up(animate=False)

    def action_line_down(self) -> None:
        self.scroll_down(animate=False)

    def action_page_up(self) -> None:
        self.scroll_page_up(animate=False)

    def action_page_down(self) -> None:
        self.scroll_page_down(animate=False)

    def action_top(self) -> None:
        self.scroll_home(animate=False)

    def action_follow(self) -> None:
        self.scroll_end(animate=False)
