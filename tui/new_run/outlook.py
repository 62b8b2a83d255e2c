"""The right side of a new run: what the recipe comes to, and a few conversations: as they are read
at first, with their trained tokens marked once a look at the data has them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from models.stored_sample import StoredSample
from trainer.data.inspection import Inspection, Vocabulary
from trainer.data.reading import Row
from tui.data.sample_panel import legend
from tui.data.token_text import plain_tokens, tokens_of
from tui.data.token_view import TokenView
from tui.new_run.data_look import DataLook
from tui.new_run.outlook_text import Outlook, outlook_lines

_LONGEST_TEXT = 8000  # characters, more than a view has room for
_SAMPLES, MOST_SAMPLES = 2, 4
_ROOMY = 40  # rows of the screen
_ROOM_FOR_ALL = 50  # rows of the screen
_THREE_COLUMNS = 130  # cells from which on the conversations stand beside the facts


class SampleView(Vertical):
    """One conversation."""

    def __init__(self) -> None:
        super().__init__(classes="panel sample-view")
        self.tokens = TokenView()

    def compose(self) -> ComposeResult:
        self.tokens.can_focus = False
        yield self.tokens

    def show_row(self, row: Row) -> None:
        """As it is read."""
        self.border_title = Content(f"row {row.row}   not tokenised yet")
        turns = (f"{message['role']}: {_text_of(message)}" for message in row.messages or ())
        self.tokens.show(plain_tokens("\n".join(turns)[:_LONGEST_TEXT]), newlines=False)

    def show_tokens(self, sample: StoredSample, vocabulary: Vocabulary) -> None:
        """Token by token."""
        tokens = tokens_of(sample, vocabulary)
        trained = sum(token.kind != "untrained" for token in tokens)
        row = sample.source.get("row", "?")
        self.border_title = Content(f"row {row}   {trained:,} of {len(tokens):,} tokens trained")
        self.tokens.show(tokens)
        self.call_after_refresh(self._to_trained)

    def on_resize(self, event: Resize) -> None:
        self.call_after_refresh(self._to_trained)

    def _to_trained(self) -> None:
        """Where there is no room for all, what is trained is what to see."""
        first, height = self.tokens.first_trained, self.tokens.size.height
        fits = self.tokens.virtual_size.height <= height
        self.tokens.scroll_to(y=0 if fits else max(0, first - height // 2), animate=False)


class RunOutlook(VerticalScroll, can_focus=False):
    """Say what there is with `show`, or what is missing with `say`."""

    def __init__(self) -> None:
        super().__init__(id="outlook")
        self._outlook: Outlook | None = None
        self._look: DataLook | None = None
        self._shown_samples: tuple[Inspection | Sequence[Row], int] | None = None
        """Whose conversations, and how many at most."""

    def compose(self) -> ComposeResult:
        yield Static(id="outlook-text")
        with Vertical(id="outlook-samples"):
            for _ in range(MOST_SAMPLES):
                yield SampleView()
            yield Static(legend(), id="outlook-legend")

    def on_mount(self) -> None:
        self._show_samples(())

    def say(self, text: Content) -> None:
        """There is nothing to plan yet."""
        self._outlook = None
        self.query_one("#outlook-text", Static).update(text)
        self._show_samples(())

    def show(self, outlook: Outlook, look: DataLook) -> None:
        self._outlook, self._look = outlook, look
        self._redraw()

    def on_resize(self, event: Resize) -> None:
        self.set_class(self.size.width >= _THREE_COLUMNS, "-beside")
        self.call_after_refresh(self._redraw)

    def _redraw(self) -> None:
        width = self.query_one("#outlook-text").size.width or self.size.width
        if self._outlook is None or self._look is None or not width:
            return
        inspection = self._look.inspection
        summary = inspection.summary if inspection is not None else None
        looking = self._look.problem or self._look.doing
        roomy = self.app.size.height >= _ROOMY
        text = outlook_lines(self._outlook, summary, looking, width, roomy=roomy)
        self.query_one("#outlook-text", Static).update(text)
        self._show_samples(inspection or self._outlook.conversations)

    def _show_samples(self, source: Inspection | Sequence[Row]) -> None:
        """Those of a look at the data, or rows as they are read."""
        is_tokenised = isinstance(source, Inspection)
        self.query_one("#outlook-samples").display = is_tokenised or bool(source)
        self.query_one("#outlook-legend").display = is_tokenised
        has_room = self.has_class("-beside") and self.app.size.height >= _ROOM_FOR_ALL
        most = MOST_SAMPLES if has_room else _SAMPLES
        if (source, most) == self._shown_samples:
            return
        self._shown_samples = source, most
        views = list(self.query(SampleView))
        if isinstance(source, Inspection):
            samples = [sample for _, sample in islice(source.samples(), most)]
            for view, sample in zip(views, samples, strict=False):
                view.show_tokens(sample, source.vocabulary)
            count = len(samples)
        else:
            for view, row in zip(views, source[:most], strict=False):
                view.show_row(row)
            count = len(source[:most])
        for number, view in enumerate(views):
            view.display = number < count


def _text_of(message: Mapping[str, Any]) -> str:
    """What is said, or the calls of tools that are made instead."""
    calls = message.get("tool_calls")
    text = str(message.get("content") or "")
    return text if not calls else f"{text} {json.dumps(calls, ensure_ascii=False)}".lstrip()
