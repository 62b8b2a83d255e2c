"""All that is known of the model under the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content

from tui.key_bindings import with_keys
from tui.models.facts import facts
from tui.shared.certificate_badge import badge
from tui.shared.steady_text import SteadyText
from workshop import number_format

if TYPE_CHECKING:
    from models.catalogue import Entry, Use

_TITLE_CELLS = 13


class ModelDetail(VerticalScroll):
    """Titles on the left, values beside them, what is odd below."""

    def compose(self) -> ComposeResult:
        yield SteadyText()

    @property
    def text_width(self) -> int:
        """The cells of a line."""
        return max(30, self.query_one(SteadyText).size.width)

    def show(self, content: Content) -> None:
        self.query_one(SteadyText).update(content)


def model_text(entry: Entry, users: Sequence[Use], loss: float | None, width: int) -> Content:
    """A model's facts; `width` is in cells. Values that do not fit go on below themselves."""
    pairs = facts(entry, users)
    if loss is not None:
        pairs.insert(2, ("loss", number_format.loss(loss)))
    lines = [
        Content.assemble((entry.title, "bold"), (f"   {entry.kind} model", "$foreground-muted"))
    ]
    if entry.standing.verdict is not None:
        reason = f"  {entry.standing.reason}" if entry.standing.reason else ""
        lines += _wrapped(
            "certificate",
            Content.assemble(badge(entry.standing), (reason, "$foreground-muted")),
            width,
        )
    for title, value in pairs:
        lines += _wrapped(title, Content(value), width)
    lines += [
        line
        for warning in (entry.damage, *entry.warnings)
        if warning
        for line in _wrapped("", Content.assemble(("! ", "$warning"), warning), width)
    ]
    if entry.damage and not entry.run:  # what a run left goes with the run
        keys = with_keys("{models.copy} copies the path of its folder, {models.remove} deletes it.")
        lines += _wrapped("", keys, width)
    return Content("\n").join(lines)


def pairs_text(title: str, kind: str, pairs: Sequence[tuple[str, str]], width: int) -> Content:
    """The same form for what is no model yet."""
    lines = [Content.assemble((title, "bold"), (f"   {kind}", "$foreground-muted"))]
    for name, value in pairs:
        lines += _wrapped(name, Content(value), width)
    return Content("\n").join(lines)


def _wrapped(title: str, value: Content, width: int) -> list[Content]:
    parts = (
        value.wrap(max(10, width - _TITLE_CELLS))
        if value.cell_length > width - _TITLE_CELLS
        else [value]
    )
    titles = [
        Content.styled(title.ljust(_TITLE_CELLS), "$foreground-muted"),
        *[Content(" " * _TITLE_CELLS)] * (len(parts) - 1),
    ]
    return [Content.assemble(left, part) for left, part in zip(titles, parts, strict=True)]
