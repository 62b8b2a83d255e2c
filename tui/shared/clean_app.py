"""The app's side of `tui.shared.foreign_text`: whatever Textual draws comes through here, whichever
widget it is of."""

from __future__ import annotations

import re
from collections.abc import Sequence

import textual.content
from rich.segment import Segment
from textual.app import App
from textual.color import Color
from textual.filter import LineFilter
from textual.notifications import SeverityLevel

from tui.shared.foreign_text import FOREIGN, visible

_MEANT_FOR_THE_TERMINAL = re.compile(f"[\t\n{FOREIGN}]")


class CleanApp(App[None]):
    """An app that sends the terminal no control characters but Textual's own."""

    def __init__(self) -> None:
        # Textual's content drops five control characters and keeps the others, for the terminal to
        # obey.
        textual.content._strip_control_codes = _shown
        super().__init__()

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [*super().get_line_filters(), _FOREIGN_LINES]

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """A toast. Its brackets are text whoever asks for it: where nobody has said anything,
        Textual's widgets ask for markup."""
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=False)

    def copy_to_clipboard(self, text: str) -> None:
        """What is pasted into a terminal must not act there either."""
        super().copy_to_clipboard(visible(text))


class ForeignLines(LineFilter):
    """The last look at what is painted, for what a widget draws without Textual's content.

    A line is measured by then, in which control characters have no width: they go, since a sign
    would need a cell.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            Segment(_painted(segment.text), segment.style)
            if _MEANT_FOR_THE_TERMINAL.search(segment.text) and not segment.control
            else segment
            for segment in segments
        ]


_FOREIGN_LINES = ForeignLines()


def _shown(text: str, _translate_table: dict[int, None] | None = None) -> str:
    """Called as Textual calls its own function, which has a table of what to drop."""
    return visible(text)


def _painted(text: str) -> str:
    return _MEANT_FOR_THE_TERMINAL.sub(
        lambda match: "\ufffd" if "\ud800" <= match[0] <= "\udfff" else "", text
    )
