"""How the list of runs is sorted, and the run that all others are compared with; both are kept in
config.toml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tui.app import LuthierApp
from tui.runs import run_columns
from tui.shared.action import Handler
from tui.shared.remembering import remember
from tui.shared.row_table import Order, RowTable
from workshop import config

if TYPE_CHECKING:
    from workshop.job_list import JobRow

COLUMN, TURNED, BASELINE = "sort_runs", "sort_runs_turned", "baseline_run"
"""The settings."""


class SortedScreen(Protocol):
    """The screen that has the list."""

    @property
    def app(self) -> LuthierApp: ...

    @property
    def row(self) -> JobRow | None: ...

    @property
    def table(self) -> RowTable: ...

    def jobs_changed(self, rows: list[JobRow]) -> None: ...


class RunOrder:
    """`order` and `baseline_id` are as they were left last."""

    def __init__(self, screen: SortedScreen) -> None:
        self._screen = screen
        self.read()
        self.handlers = {
            "sort": Handler(self._next),
            "turn": Handler(lambda: self.sort(Order(self.order.column, not self.order.turned))),
            "baseline": Handler(self._pin, self._can_pin),
        }

    def read(self) -> None:
        """What config.toml says."""
        settings = config.read()
        column, baseline = settings.get(COLUMN), settings.get(BASELINE)
        self.order = Order()
        if column in run_columns.SORTABLE:
            self.order = Order(str(column), settings.get(TURNED) is True)
        self.baseline_id = baseline if isinstance(baseline, str) else ""

    def clicked(self, column: str) -> None:
        """The title of a column was clicked."""
        self.sort(self.order.after_click(column))

    def sort(self, order: Order) -> None:
        self.order = order
        self._screen.jobs_changed(self._screen.app.rows or [])
        remember(self._screen.app, {COLUMN: order.column or None, TURNED: order.turned or None})

    def _next(self, step: int) -> None:
        """By the next column that is seen, or the one before."""
        orders = ["", *self._screen.table.sorting_columns()]
        index = orders.index(self.order.column) if self.order.column in orders else 0
        self.sort(Order(orders[(index + step) % len(orders)]))

    def _can_pin(self) -> bool:
        row = self._screen.row
        return row is not None and row.kind == "run"

    def _pin(self) -> None:
        """Compare the eval losses of all runs with this one's, or stop comparing them."""
        row = self._screen.row
        if row is None:
            return
        if row.eval_loss is None and row.id != self.baseline_id:
            yet = " yet" if row.alive else ""
            message = f"{row.name} has no eval loss{yet}, so no run can be compared with it."
            self._screen.app.notify(message, severity="warning", markup=False)
        else:
            self.baseline_id = "" if row.id == self.baseline_id else row.id
            self._screen.jobs_changed(self._screen.app.rows or [])
            remember(self._screen.app, {BASELINE: self.baseline_id or None})
