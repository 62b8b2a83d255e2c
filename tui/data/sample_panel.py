"""One row of the ledger, looked at: its samples token by token, or how it reads in its file."""

from __future__ import annotations

import json

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from models.stored_sample import StoredSample
from trainer.data.inspection import Inspection
from trainer.data.ledger import Entry
from tui.data.ledger_table import state_sign
from tui.data.token_text import plain_tokens, tokens_of, why
from tui.data.token_view import TokenView
from tui.shared.glyphs import glyphs

_NO_TEXT = "This row's text was not kept: only that of the first rows is."


class SamplePanel(Vertical):
    """Give it a row with `show`."""

    def __init__(self) -> None:
        super().__init__(id="sample-panel", classes="panel")
        self._inspection: Inspection | None = None
        self._entry: Entry | None = None
        self._number = 0
        self._in_file = False

    def compose(self) -> ComposeResult:
        yield TokenView()
        yield Static(legend(), id="sample-legend")

    def show(self, inspection: Inspection | None, entry: Entry | None) -> None:
        self._inspection, self._entry, self._number = inspection, entry, 0
        self._redraw()

    def turn(self, step: int) -> None:
        """To another sample of the same row."""
        if sides := self._sides():
            self._number = (self._number + step) % len(sides)
            self._redraw()

    def switch_ids(self) -> None:
        """The tokens with their ids, or as text again."""
        view = self.query_one(TokenView)
        view.ids = not view.ids or self._in_file
        self._in_file = False
        self._redraw()

    def switch_file(self) -> None:
        """The row as it reads in its file, or its sample again."""
        self._in_file = not self._in_file
        self.query_one(TokenView).ids = False
        self._redraw()

    def as_json(self) -> str | None:
        """The sample that is shown, as `luthier data tokens` writes it."""
        sample = self._sample()
        if sample is None:
            return None
        record = {
            "source": sample.source,
            "turns": sample.turns,
            "input_ids": sample.input_ids,
            "labels": sample.labels,
        }
        return json.dumps(record, ensure_ascii=False)

    def _sample(self) -> StoredSample | None:
        sides = self._sides()
        return sides[self._number][1] if sides else None

    def _sides(self) -> list[tuple[str, StoredSample]]:
        """The samples of the row, both sides of a pair by themselves."""
        if self._inspection is None or self._entry is None:
            return []
        samples = map(self._inspection.sample, self._entry.samples)
        return [side for sample in samples for side in sample.sides]

    def _redraw(self) -> None:
        sample, entry, view = self._sample(), self._entry, self.query_one(TokenView)
        in_file = self._in_file or sample is None
        self.query_one("#sample-legend").display = not in_file
        if entry is None or self._inspection is None:
            self.border_title = ""
            view.show([])
        elif sample is None or in_file:
            view.ids = False
            text = self._inspection.row_text(entry)
            self.border_title = Content.assemble(
                f"row {entry.row} in its file   ", state_sign(entry.state)
            )
            view.show(
                plain_tokens(
                    (text or _NO_TEXT) if entry.samples else f"{why(entry)}\n\n{text or ''}"
                ),
                newlines=False,
            )
        else:
            tokens = tokens_of(sample, self._inspection.vocabulary)
            trained = sum(token.kind != "untrained" for token in tokens)
            sides = self._sides()
            which = f", sample {self._number + 1} of {len(sides)}" if len(sides) > 1 else ""
            if sides[self._number][0]:
                which += f", the {sides[self._number][0]}"
            heldout = "   held out" if entry.samples[0].startswith("heldout") else ""
            share = f"   {trained:,} of {len(tokens):,} tokens trained"
            reasons = f": {', '.join(entry.reasons)}" if entry.reasons else ""
            self.border_title = Content.assemble(
                f"row {entry.row}{which}   ", state_sign(entry.state), reasons, heldout, share
            )
            view.show(tokens)


def legend() -> Content:
    """What the signs and colours of a sample mean."""
    signs = glyphs()
    return Content.assemble(
        ("not trained", "$foreground-muted"),
        "   ",
        (signs.trained_start, "bold $primary"),
        ("trained", "bold underline $success"),
        "   ",
        ("stop token", "bold reverse $success"),
        (signs.stop, "bold $primary"),
        "   ",
        (f"{signs.trained_start}x0.5 ", "bold $primary"),
        ("weighted", "bold underline $success"),
    )
