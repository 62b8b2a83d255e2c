"""Which other runs are drawn over this one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import SelectionList, Static
from textual.widgets.selection_list import Selection

from jobs.job import Job
from tui.runs.colours import MOST_RUNS
from tui.shared.check_list import CheckList
from tui.shared.dialog import Dialog, DialogKeys
from tui.shared.key_line import KeyHint
from tui.shared.state_label import state_content
from tui.shared.styles import DIALOGS
from workshop import number_format
from workshop.job_list import JobRow


class OverlayModal(Dialog[list[Job] | None]):
    """Gives back the chosen runs, none to take all away, or nothing if it was left."""

    CSS_PATH = DIALOGS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", priority=True),
    ]

    def __init__(self, name: str, runs: Sequence[JobRow], drawn_ids: Collection[str]) -> None:
        super().__init__()
        self._name, self._runs, self._shown = name, runs, drawn_ids

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content(f"Draw over {self._name}")
            boxes = [Selection(_line(row), row.id, row.id in self._shown) for row in self._runs]
            yield CheckList(*boxes, compact=True)
            yield Static("", id="form-error", classes="hint")
            yield DialogKeys(
                KeyHint("space", "space", "choose"),
                KeyHint("enter", "enter", "draw"),
            )

    @on(SelectionList.SelectedChanged)
    def count(self) -> None:
        selected_count = len(self.query_one(CheckList).selected)
        room = MOST_RUNS - 1
        text = f"At most {room} runs can be drawn over another." if selected_count > room else ""
        self.query_one("#form-error", Static).update(Content.styled(text, "$warning"))

    def action_take(self) -> None:
        selected_ids = set(self.query_one(CheckList).selected)
        if len(selected_ids) < MOST_RUNS:
            self.dismiss([row.job for row in self._runs if row.id in selected_ids])


def _line(row: JobRow) -> Content:
    steps = f"  step {row.step} of {row.total}" if row.total else ""
    age = f"  {number_format.age(row.created)}{steps}"
    state = state_content(row.state)
    return Content.assemble(
        Content(row.name).truncate(24, ellipsis=True, pad=True),
        "  ",
        state.pad_right(10 - state.cell_length),
        (age, "$foreground-muted"),
    )
