"""How rows in an unknown layout might be read: sections of a recipe, each with rows as it reads
them and what of them is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from trainer.data.inspection import StoredProposal, Vocabulary
from tui.data.token_text import Kind, lines_of, tokens_of
from tui.shared.form import FormModal, JobStarted
from tui.shared.key_line import KeyHint

if TYPE_CHECKING:
    from trainer.recipe import Recipe

_STYLES: dict[Kind, str] = {
    "untrained": "$foreground-muted",
    "trained": "bold underline $success",
    "stop": "bold reverse $success",
    "mark": "bold $primary",
}
_WIDTH = 80


class ProposalsModal(FormModal):
    """Dismissed with the id of the look that reads the rows as the chosen section says, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "copy"),
        Binding("pagedown", "page(1)", priority=True),
        Binding("pageup", "page(-1)", priority=True),
    ]
    heading: ClassVar[str] = "How the rows might be read"
    hints: ClassVar[list[KeyHint]] = [
        KeyHint("down", "up down", "another"),
        KeyHint("enter", "enter", "use this"),
        KeyHint("c", "c", "copy"),
        KeyHint("pagedown", "pgdn", "more rows"),
    ]

    def __init__(
        self, recipe: Recipe, proposals: Sequence[StoredProposal], vocabulary: Vocabulary
    ) -> None:
        super().__init__()
        self._recipe, self._proposals, self._vocabulary = recipe, proposals, vocabulary

    def compose_fields(self) -> ComposeResult:
        yield OptionList(*(Option(proposal.title) for proposal in self._proposals), compact=True)
        yield Static(id="proposal-toml")
        with VerticalScroll(can_focus=False):
            yield Static(id="proposal-rows")

    def on_mount(self) -> None:
        self.query_one(".dialog").add_class("-tall")
        titles = self.query_one(OptionList)
        titles.highlighted = 0
        titles.focus()
        self.call_after_refresh(self.show_chosen)

    @property
    def chosen(self) -> StoredProposal:
        return self._proposals[self.query_one(OptionList).highlighted or 0]

    @on(OptionList.OptionHighlighted)
    def show_chosen(self) -> None:
        self.query_one("#proposal-toml", Static).update(
            Content.styled(f"\n{self.chosen.toml}", "$success")
        )
        self.query_one("#proposal-rows", Static).update(Content("\n").join(self._rows()))
        self.query_one(VerticalScroll).scroll_home(animate=False)

    def _rows(self) -> list[Content]:
        lines: list[Content] = []
        for example in self.chosen.examples:
            if lines:
                lines.append(Content())
            problem = f": {example.problem}" if example.problem else ""
            lines.append(Content.styled(f"row {example.row}{problem}", "$foreground-muted"))
            if example.sample is not None:
                tokens = tokens_of(example.sample, self._vocabulary)
                lines += [
                    Content.assemble(*((text, _STYLES[kind]) for text, kind in line))
                    for line in lines_of(tokens, _WIDTH)
                ]
        return lines

    @on(OptionList.OptionSelected)
    def submit(self) -> None:
        def begin() -> None:
            import msgspec

            from trainer.data.formats import Mapping
            from trainer.data.inspection import start

            mapping: Mapping = msgspec.convert(self.chosen.mapping, Mapping)
            self.post_message(
                JobStarted(start(msgspec.structs.replace(self._recipe, format=mapping)).id)
            )

        self.show_problem(Content.styled("Starting to look.", "$foreground-muted"))
        self.run_worker(begin, thread=True, exclusive=True, group="start", exit_on_error=False)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self.chosen.toml)
        self.notify("Copied the section")

    def action_page(self, step: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=8 * step, animate=False)
