"""Where a tuned model drifted: every prompt, the strongest drift first, with the base's answer and
what the tuned model thinks of each of its tokens."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content

from serve.drift.spill_map import Spill
from tui.shared.dialog import Dialog, DialogKeys
from tui.shared.hanging_text import HangingText
from tui.shared.heat import THEME_STYLES, Heat, heat_of
from tui.shared.key_line import KeyHint
from tui.shared.styles import DIALOGS

_MUTED = "$foreground-muted"
_INDENT = 6  # cells of the figure and the gap after it
_LEGEND: tuple[tuple[str, Heat], ...] = (
    ("likelier", "likelier"),
    ("by far", "much-likelier"),
    ("unlikelier", "unlikelier"),
    ("by far", "much-unlikelier"),
)


class DriftModal(Dialog[None]):
    """A list to be read; the arrows scroll it."""

    CSS_PATH = DIALOGS

    def __init__(self, name: str, spills: Sequence[Spill]) -> None:
        super().__init__()
        self.model, self.spills = name, spills

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -tall -drift") as dialog:
            dialog.border_title = Content(f"Drift of {self.model}")
            yield HangingText(id="drift-legend")
            with VerticalScroll():
                yield HangingText(id="drift-map")
            yield DialogKeys(KeyHint("down", "up down", "scroll"))

    def on_mount(self) -> None:
        marks = [
            part for text, heat in _LEGEND for part in ((text, THEME_STYLES[heat]), (", ", _MUTED))
        ]
        self.query_one("#drift-legend", HangingText).hang(
            Content.assemble(
                (f"The base's answers, as {self.model} reads them: ", _MUTED), *marks[:-1]
            ),
            0,
        )
        self.query_one("#drift-map", HangingText).hang(map_text(self.spills), _INDENT)
        self.query_one(VerticalScroll).focus()


def map_text(spills: Sequence[Spill]) -> Content:
    """Two lines a prompt: how far, what was asked; and the answer with its marks."""
    lines = []
    for spill in spills:
        title = Content.assemble(
            (f"{spill.divergence:>4.2f}  ", "bold"),
            (f"{spill.topic}  ", _MUTED),
            " ".join(spill.prompt.split()),
        )
        pieces = [
            (" ".join(piece.splitlines()) or " ", THEME_STYLES[heat_of(shift)])
            for piece, shift in spill.pieces
        ]
        lines += [title, Content.assemble(" " * _INDENT, *pieces), Content("")]
    return Content("\n").join(lines[:-1])
