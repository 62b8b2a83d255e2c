"""The columns of the list of runs: what stands in them, by which of them it can be sorted, and the
baseline that eval losses are told against."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from textual.content import Content

from jobs.counting import counted
from jobs.state import Done
from tui.shared.certificate_badge import badge
from tui.shared.glyphs import glyphs
from tui.shared.row_table import Column, Order, RowTable
from tui.shared.state_label import progress_content, state_content
from workshop import number_format

if TYPE_CHECKING:
    from jobs.job import DamagedJob
    from workshop.job_list import JobRow

_MUTED = "$foreground-muted"
_CERTIFICATES = {"green": 0, "amber": 1, "red": 2}
_SHORTEST_BAR, _LONGEST_BAR = 4, 20
_TIME_LEFT_FROM = 90  # cells of a table with a baseline
_STEPS = len(" 1 234/1 234")


@dataclass(frozen=True)
class RunColumn:
    """A column, what stands in it for a job, and by what rows are sorted (those without it come
    last)."""

    column: Column
    cell: Callable[[JobRow, RunList], Content]
    sort_key: Callable[[JobRow], object | None] | None = None


@dataclass(frozen=True)
class RunList:
    """What all rows are drawn with. `baseline` is the run that others are told against."""

    bar_width: int = _SHORTEST_BAR
    certificate_column: bool = False
    """Whether certificates have a column of their own."""
    baseline: JobRow | None = None
    marks: dict[str, Content] | None = None
    """The signs of marked runs, by their ids."""


def _name(row: JobRow, run_list: RunList) -> Content:
    return Content.assemble((run_list.marks or {}).get(row.id, ""), row.name)


def _progress(row: JobRow, run_list: RunList) -> Content:
    """A run's, or with its kind before its progress, that of another job."""
    if row.kind != "run":
        return Content.assemble(
            (row.kind, "$secondary"), "  ", progress_content(row, run_list.bar_width)
        )
    if run_list.certificate_column and isinstance(row.state, Done):
        return Content.styled(counted(row.step, "step") if row.step else "", _MUTED)
    return progress_content(row, run_list.bar_width)


def _difference(row: JobRow, run_list: RunList) -> Content:
    baseline = run_list.baseline
    if baseline is None or row.kind != "run":
        return Content("")
    if row.id == baseline.id:
        return Content.styled("pinned", "$secondary")
    if row.eval_loss is None or baseline.eval_loss is None:
        return Content("")
    difference = row.eval_loss - baseline.eval_loss
    text = f"{difference:+.3f}"
    if float(text) == 0:
        return Content.styled("same", _MUTED)
    return Content.styled(text, "$success" if difference < 0 else "$error")


def _left(row: JobRow, run_list: RunList) -> Content:
    seconds = row.seconds_left
    return Content("" if seconds is None else number_format.short_duration(seconds))


def _age(row: JobRow, run_list: RunList) -> Content:
    return Content.styled(number_format.steady_age(row.created), _MUTED)


def _date(row: JobRow, run_list: RunList) -> Content:
    return Content.styled(number_format.minute(row.created), _MUTED)


def _certificate(row: JobRow) -> int | None:
    return _CERTIFICATES.get(row.standing.verdict or "")


_COLUMNS = [
    RunColumn(Column("name", weight=3, sorts=True), _name, lambda row: row.name.lower()),
    RunColumn(Column("state", 10), lambda row, _: state_content(row.state)),
    RunColumn(Column("progress", weight=4), _progress),
    RunColumn(
        Column("model", 14, from_width=108, sorts=True),
        lambda row, _: Content.styled(row.model, _MUTED),
        lambda row: row.model.lower() or None,
    ),
    RunColumn(
        Column("data", 20, from_width=178, sorts=True),
        lambda row, _: Content.styled(row.data, _MUTED),
        lambda row: row.data.lower() or None,
    ),
    RunColumn(
        Column("learning rate", 14, right=True, from_width=144, sorts=True),
        lambda row, _: Content.styled(number_format.rate(row.learning_rate), _MUTED),
        lambda row: row.learning_rate,
    ),
    RunColumn(
        Column("loss", 6, right=True, from_width=94, sorts=True),
        lambda row, _: Content(number_format.loss(row.loss)),
        lambda row: row.loss,
    ),
    RunColumn(
        Column("eval loss", 10, right=True, sorts=True),
        lambda row, _: Content(number_format.loss(row.eval_loss)),
        lambda row: row.eval_loss,
    ),
    RunColumn(Column("baseline", 8, right=True), _difference),
    RunColumn(
        Column("certificate", 12, from_width=158, sorts=True),
        lambda row, _: badge(row.standing),
        _certificate,
    ),
    RunColumn(Column("left", 6, right=True, sorts=True), _left, lambda row: row.seconds_left),
    RunColumn(Column("age", 5, right=True, sorts=True), _age, lambda row: -row.created),
    RunColumn(Column("began", 16, from_width=214), _date),
]

SORTABLE = ["", *(each.column.title for each in _COLUMNS if each.sort_key is not None)]
"""The orders that can be chosen: "" is the usual one, what runs first, then the newest."""


def columns(with_baseline: bool) -> list[Column]:
    return [each.column for each in _shown(with_baseline)]


def _shown(with_baseline: bool) -> list[RunColumn]:
    """On a terminal of 80 cells the difference to a baseline takes the room of the time left."""
    if not with_baseline:
        return [each for each in _COLUMNS if each.cell is not _difference]
    return [_from(each, _TIME_LEFT_FROM) if each.cell is _left else each for each in _COLUMNS]


def _from(column: RunColumn, width: int) -> RunColumn:
    return replace(column, column=replace(column.column, from_width=width))


def run_list(table: RowTable, baseline: JobRow | None, marks: dict[str, Content]) -> RunList:
    """What rows are drawn with where the table is as wide as now."""
    room = table.width_of("progress") - _STEPS
    bar_width = max(_SHORTEST_BAR, min(_LONGEST_BAR, room))
    return RunList(bar_width, table.width_of("certificate") > 0, baseline, marks)


def cells(row: JobRow, drawn_with: RunList) -> list[Content]:
    return [each.cell(row, drawn_with) for each in _shown(drawn_with.baseline is not None)]


class DrawnCells:
    """Cells of rows, made again only where something of them has changed: of a thousand jobs nearly
    all have ended long ago."""

    def __init__(self) -> None:
        self._cells: dict[str, tuple[JobRow, str, RunList, list[Content]]] = {}

    def of(self, row: JobRow, drawn_with: RunList) -> list[Content]:
        age = number_format.steady_age(row.created)
        drawn = self._cells.get(row.id)
        if drawn is None or drawn[0] is not row or drawn[1:3] != (age, drawn_with):
            drawn = self._cells[row.id] = (row, age, drawn_with, cells(row, drawn_with))
        return drawn[3]


def damaged_cells(damaged: DamagedJob, with_baseline: bool) -> list[Content]:
    state = Content.assemble((glyphs().failed, "$error"), " damaged")
    empty_cells = len(_shown(with_baseline)) - 3
    return [Content(damaged.id), state, Content(damaged.why), *[Content("")] * empty_cells]


def in_order(rows: Sequence[JobRow], order: Order) -> list[JobRow]:
    """The rows sorted by a column; those without a figure there come last, whichever way."""
    key = next((each.sort_key for each in _COLUMNS if each.column.title == order.column), None)
    if key is None:
        return list(rows)
    keyed = [(key(row), row) for row in rows]
    with_figure = [pair for pair in keyed if _is_figure(pair[0])]
    # a column's keys are of one type
    with_figure.sort(
        key=lambda pair: pair[0],  # type: ignore[arg-type, return-value]
        reverse=order.turned,
    )
    return [row for _, row in with_figure] + [row for value, row in keyed if not _is_figure(value)]


def _is_figure(value: object | None) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))
