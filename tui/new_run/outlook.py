"""The right side of a new run: what the recipe comes to, and a few conversations: as they are read
at first, with their trained tokens marked once a look at the data has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from models.stored_sample import StoredSample
from trainer.data.inspection import Inspection, Vocabulary
from trainer.data.refused_data import ProposedChange
from tui.data.sample_panel import legend
from tui.data.token_text import plain_tokens, tokens_of
from tui.data.token_view import TokenView
from tui.new_run.data_look import DataLook
from tui.new_run.first_rows import FirstRow
from tui.new_run.outlook_text import Outlook, outlook_lines, proposal_lines
from tui.new_run.planning import MOST_ROWS

_FEW_ROWS = 2
_ROOMY = 40  # rows of the screen
_ROOM_FOR_ALL = 50  # rows of the screen
_THREE_COLUMNS = 130  # cells from which on the conversations stand beside the facts


@dataclass(frozen=True)
class ProposalShown:
    """What the recipe could say instead, with its number, from 1, among how many."""

    change: ProposedChange
    number: int
    count: int


class SampleView(Vertical):
    """One conversation."""

    def __init__(self) -> None:
        super().__init__(classes="panel sample-view")
        self.tokens = TokenView()

    def compose(self) -> ComposeResult:
        self.tokens.can_focus = False
        yield self.tokens

    def show_row(self, row: FirstRow) -> None:
        self.border_title = Content(row.title)
        self.tokens.show(plain_tokens(row.text), newlines=False)
        self.call_after_refresh(self._fit)

    def show_tokens(self, sample: StoredSample, vocabulary: Vocabulary) -> None:
        """Token by token."""
        tokens = tokens_of(sample, vocabulary)
        trained = sum(token.kind != "untrained" for token in tokens)
        row = sample.source.get("row", "?")
        self.border_title = Content(f"row {row}   {trained:,} of {len(tokens):,} tokens trained")
        self.tokens.show(tokens)
        self.call_after_refresh(self._fit)

    def on_resize(self, event: Resize) -> None:
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        """As high as the text at most. Where there is no room for all, what is trained is what to
        see."""
        self.styles.max_height = self.tokens.virtual_size.height + 1
        first, height = self.tokens.first_trained, self.tokens.size.height
        fits = self.tokens.virtual_size.height <= height
        self.tokens.scroll_to(y=0 if fits else max(0, first - height // 2), animate=False)


class RunOutlook(VerticalScroll, can_focus=False):
    """Say what there is with `show`, or what is missing with `say`."""

    def __init__(self) -> None:
        super().__init__(id="outlook")
        self._outlook: Outlook | None = None
        self._look: DataLook | None = None
        self._proposal: ProposalShown | None = None
        self._first_rows: Sequence[FirstRow] = ()
        self._shown_samples: tuple[Inspection | Sequence[FirstRow], int] | None = None
        """Whose conversations, and how many at most."""

    def compose(self) -> ComposeResult:
        yield Static(id="outlook-text")
        with Vertical(id="outlook-samples"):
            for _ in range(MOST_ROWS):
                yield SampleView()
            yield Static(legend(), id="outlook-legend")

    def on_mount(self) -> None:
        self._show_samples(())

    def say(self, text: Content, first_rows: Sequence[FirstRow] = ()) -> None:
        """There is nothing to plan yet."""
        self._outlook = self._look = self._proposal = None
        self._first_rows = first_rows
        self.query_one("#outlook-text", Static).update(text)
        self._show_samples(first_rows)

    def show(self, outlook: Outlook, look: DataLook) -> None:
        self._outlook, self._look, self._proposal = outlook, look, None
        self._redraw()

    def propose(
        self, proposal: ProposalShown, outlook: Outlook | None, first_rows: Sequence[FirstRow]
    ) -> None:
        """What the recipe could say instead, and what it would come to then, once that is known."""
        self._outlook, self._look, self._proposal = outlook, None, proposal
        self._first_rows = outlook.first_rows if outlook is not None else first_rows
        self._redraw()

    def on_resize(self, event: Resize) -> None:
        self.set_class(self.size.width >= _THREE_COLUMNS, "-beside")
        self.call_after_refresh(self._redraw)

    def _redraw(self) -> None:
        width = self.query_one("#outlook-text").size.width or self.size.width
        if not width or (self._outlook is None and self._proposal is None):
            return
        look, roomy = self._look or DataLook(), self.app.size.height >= _ROOMY
        inspection = look.inspection
        parts = []
        if (proposal := self._proposal) is not None:
            parts.append(
                proposal_lines(proposal.change, proposal.number, proposal.count, width, roomy=roomy)
            )
        if self._outlook is not None:
            summary = inspection.summary if inspection is not None else None
            looking = look.problem or look.doing
            parts.append(outlook_lines(self._outlook, summary, looking, width, roomy=roomy))
        self.query_one("#outlook-text", Static).update(Content("\n").join(parts))
        rows = self._outlook.first_rows if self._outlook is not None else self._first_rows
        self._show_samples(inspection or rows)

    def _show_samples(self, source: Inspection | Sequence[FirstRow]) -> None:
        """Those of a look at the data, or rows before they are tokenised."""
        is_tokenised = isinstance(source, Inspection)
        self.query_one("#outlook-samples").display = is_tokenised or bool(source)
        self.query_one("#outlook-legend").display = is_tokenised
        has_room = self.has_class("-beside") and self.app.size.height >= _ROOM_FOR_ALL
        most = MOST_ROWS if has_room else _FEW_ROWS
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
