"""The right side of a new run: what the recipe comes to, and a few conversations with their trained
tokens marked."""

from __future__ import annotations

from itertools import islice

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from models.stored_sample import StoredSample
from trainer.data.inspection import Inspection, Vocabulary
from tui.data.sample_panel import legend
from tui.data.token_text import tokens_of
from tui.data.token_view import TokenView
from tui.new_run.data_look import DataLook
from tui.new_run.outlook_text import Outlook, outlook_lines

_SAMPLES, _MOST_SAMPLES = 2, 4
_ROOMY = 40  # rows of the screen
_ROOM_FOR_ALL = 50  # rows of the screen
_THREE_COLUMNS = 130  # cells from which on the conversations stand beside the facts


class SampleView(Vertical):
    """One conversation, token by token."""

    def __init__(self) -> None:
        super().__init__(classes="panel sample-view")
        self.tokens = TokenView()

    def compose(self) -> ComposeResult:
        self.tokens.can_focus = False
        yield self.tokens

    def show(self, sample: StoredSample, vocabulary: Vocabulary) -> None:
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
        self._shown_samples: tuple[Inspection, int] | None = None
        """Of which look at the data, and how many at most."""

    def compose(self) -> ComposeResult:
        yield Static(id="outlook-text")
        with Vertical(id="outlook-samples"):
            for _ in range(_MOST_SAMPLES):
                yield SampleView()
            yield Static(legend(), id="outlook-legend")

    def on_mount(self) -> None:
        self._show_samples(None)

    def say(self, text: Content) -> None:
        """There is nothing to plan yet."""
        self._outlook = None
        self.query_one("#outlook-text", Static).update(text)
        self._show_samples(None)

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
        self._show_samples(inspection)

    def _show_samples(self, inspection: Inspection | None) -> None:
        self.query_one("#outlook-samples").display = inspection is not None
        has_room = self.has_class("-beside") and self.app.size.height >= _ROOM_FOR_ALL
        most = _MOST_SAMPLES if has_room else _SAMPLES
        if inspection is None or (inspection, most) == self._shown_samples:
            return
        self._shown_samples = inspection, most
        samples = [sample for _, sample in islice(inspection.samples(), most)]
        for number, view in enumerate(self.query(SampleView)):
            view.display = number < len(samples)
            if view.display:
                view.show(samples[number], inspection.vocabulary)
