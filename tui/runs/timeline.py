"""What happened to a run, in order: evaluations, checkpoints, repairs, resumes, and how it
ended."""

from __future__ import annotations

from textual import on
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList

from tui.runs.moment_marks import sign
from tui.shared.row_table import Column, Row, RowTable
from workshop import number_format
from workshop.runs.moments import Moment

_MOST = 1000  # rows; older ones are no longer listed

_COLUMNS = [
    Column("time", 8),
    Column("step", 9, right=True),
    Column("what", weight=3),
    Column("", weight=4),
]


class Timeline(RowTable):
    """`go`, or a click on a row, tells its step, for the charts' cursor."""

    class Went(Message):
        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    def __init__(self) -> None:
        super().__init__(_COLUMNS, "timeline")
        self._moments: list[Moment] = []

    def show_moments(self, moments: list[Moment]) -> None:
        first = not self._moments
        at_end = self.options.highlighted in (None, len(self._moments[-_MOST:]) - 1)
        self._moments = moments
        skipped = max(0, len(moments) - _MOST)
        self.show(
            [
                Row(str(skipped + number), _cells(moment))
                for number, moment in enumerate(moments[-_MOST:])
            ]
        )
        if moments and (first or at_end):
            self.options.highlighted = len(moments[-_MOST:]) - 1

    @on(OptionList.OptionSelected)
    def row_clicked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.go()

    def go(self) -> None:
        if self.highlighted_id is not None:
            self.post_message(self.Went(self._moments[int(self.highlighted_id)].step))


def _cells(moment: Moment) -> list[Content]:
    glyph, colour = sign(moment)
    faint = "$foreground-muted" if moment.gone else ""
    detail = ", ".join(part for part in (moment.gone, moment.detail) if part)
    return [
        Content.styled(number_format.clock(moment.t), "$foreground-muted"),
        Content.styled(f"{moment.step:,}" if moment.step else "", faint),
        Content.assemble((glyph, faint or colour), (f" {moment.title}", faint)),
        Content.styled(detail, "$foreground-muted"),
    ]
