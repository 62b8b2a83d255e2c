"""A list of rows under column titles: fixed columns, columns that share what is left, vim keys
beside the arrows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual._widget_navigation import Direction
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Click, Resize
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui import key_bindings
from tui.shared.changed_cells import changed_cells
from tui.shared.glyphs import glyphs
from tui.shared.steady_text import SteadyText

_GAP = 2
_PADDING = 2


@dataclass(frozen=True)
class Column:
    """`width` is in cells; 0 shares the rest by `weight`. In tables narrower than `from_width` the
    column is left out. `sorts`: rows can be sorted by it."""

    title: str
    width: int = 0
    weight: int = 1
    right: bool = False
    from_width: int = 0
    sorts: bool = False


@dataclass(frozen=True)
class Order:
    """By which column rows are sorted, by its title; "" is the order in which they come."""

    column: str = ""
    turned: bool = False
    """Whether what usually comes first comes last."""

    def after_click(self, column: str) -> Order:
        """The same column once more turns it, and then lets go of it."""
        if column != self.column:
            return Order(column)
        return Order() if self.turned else Order(column, turned=True)


@dataclass(frozen=True)
class Row:
    """A `heading` stands above a group of rows: one cell, which the cursor passes over."""

    id: str
    cells: Sequence[Content]
    heading: bool = False


class RowOptions(OptionList, inherit_bindings=False):
    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("list")

    def _move_page(self, direction: Direction) -> None:
        """Textual raises where the list has no room for a line yet."""
        if self.highlighted is None or self.highlighted in self._index_to_line:
            super()._move_page(direction)

    def show_prompt(self, index: int, prompt: Content) -> None:
        """Another text in this row, if it differs: only the cells that change are painted.
        Textual's own way paints the whole list."""
        option = self.get_option_at_index(index)
        before = option.prompt
        assert isinstance(before, Content)
        if before.is_same(prompt):
            return
        height = len(prompt.plain.splitlines())
        if height != len(before.plain.splitlines()) or index not in self._index_to_line:
            self.replace_option_prompt_at_index(index, prompt)
            return
        first = self._index_to_line[index] - self.scroll_offset.y
        rows = [y for y in range(first, first + height) if 0 <= y < self.size.height]
        strips = [self.render_line(y) for y in rows]
        option._set_prompt(prompt)
        self._option_render_cache.clear()
        changes = (
            changed_cells(strip, self.render_line(y), y)
            for y, strip in zip(rows, strips, strict=True)
        )
        if regions := [region for region in changes if region]:
            self.refresh(*regions)


class RowTitles(SteadyText):
    """The titles of the columns."""


class RowTable(Vertical):
    """Set what it shows with `show`; the highlighted row stays the same one while rows come and
    go. Who owns it sorts the rows, and says by what in `order`."""

    @dataclass
    class TitleClicked(Message):
        """The title of a column that sorts was clicked."""

        column: str

    def __init__(self, columns: Sequence[Column], name: str) -> None:
        super().__init__(id=name)
        self.columns = columns
        self.order = Order()
        self._rows: list[Row] = []
        self._drawn_widths: list[int] = []
        self._prompts: dict[str, tuple[Sequence[Content], Content]] = {}
        """Of each row the cells that were drawn last, in these widths, and the line of them."""

    def compose(self) -> ComposeResult:
        yield RowTitles(classes="row-titles")
        yield RowOptions()

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Other columns from the next `show` on."""
        if columns != self.columns:
            self.columns = columns
            self._rows, self._prompts = [], {}

    @on(Click, ".row-titles")
    def title_clicked(self, event: Click) -> None:
        column = self._column_at(event.x - 1)
        if column is not None and column.sorts:
            self.post_message(self.TitleClicked(column.title))

    def _column_at(self, x: int) -> Column | None:
        """The column of a cell of the title line."""
        start = 0
        for column, width in zip(self.columns, self._widths(), strict=True):
            if width and start <= x < start + width + _GAP:
                return column
            start += width + _GAP if width else 0
        return None

    def sorting_columns(self) -> list[str]:
        """The titles of the columns that rows can be sorted by, and that are seen."""
        return [
            column.title
            for column, width in zip(self.columns, self._widths(), strict=True)
            if width and column.sorts
        ]

    def width_of(self, title: str) -> int:
        """The cells of a column, 0 where it is left out."""
        titles = [column.title for column in self.columns]
        return self._widths()[titles.index(title)]

    @property
    def options(self) -> RowOptions:
        return self.query_one(RowOptions)

    @property
    def highlighted_id(self) -> str | None:
        option = self.options.highlighted_option
        return None if option is None else option.id

    def show(self, rows: Sequence[Row]) -> None:
        before, self._rows = self._rows, list(rows)
        if [row.id for row in before] == [row.id for row in rows]:
            self._redraw(before)
            return
        self._show_titles(self._widths())
        highlighted, index, scroll = (
            self.highlighted_id,
            self.options.highlighted,
            self.options.scroll_y,
        )
        widths = self._widths()
        drawn = self._prompts if widths == self._drawn_widths else {}
        self._drawn_widths = widths
        self._prompts = {row.id: self._drawn(row, widths, drawn) for row in rows}
        self.options.set_options(
            Option(self._prompts[row.id][1], id=row.id, disabled=row.heading) for row in rows
        )
        ids = [row.id for row in rows]
        if highlighted in ids:
            self.options.highlighted = ids.index(highlighted)
        elif ids:
            near = min(index or 0, len(ids) - 1)
            self.options.highlighted = next(
                (index for index in range(near, len(rows)) if not rows[index].heading), None
            )
        self.options.scroll_to(y=scroll, animate=False)

    def highlight(self, row_id: str) -> None:
        """Put the cursor on this row, if it is there."""
        ids = [row.id for row in self._rows]
        if row_id in ids:
            self.options.highlighted = ids.index(row_id)

    def on_resize(self, event: Resize) -> None:
        self._redraw()

    def _redraw(self, before: Sequence[Row] = ()) -> None:
        """Those rows that have other cells than `before`; all, if the widths have changed."""
        widths = self._widths()
        self._show_titles(widths)
        if widths != self._drawn_widths:
            before = ()
        self._drawn_widths = widths
        for index, row in enumerate(self._rows):
            if not before or before[index].cells is not row.cells:
                self._prompts[row.id] = self._drawn(row, widths, {})
                self.options.show_prompt(index, self._prompts[row.id][1])

    def _show_titles(self, widths: Sequence[int]) -> None:
        titles = [self._title(column) for column in self.columns]
        self.query_one(RowTitles).update(self._line(titles, widths))

    def _title(self, column: Column) -> Content:
        """With a mark on the one that rows are sorted by. It is in the same direction for all: up
        as they are usually sorted by it."""
        if not column.title or column.title != self.order.column:
            return Content.styled(column.title, "$foreground-muted")
        sign = glyphs().sorted_down if self.order.turned else glyphs().sorted_up
        return Content.styled(f"{column.title}{sign}", "bold $foreground")

    def _widths(self) -> list[int]:
        """The cells of each column; 0 for one that is left out."""
        visible = [column for column in self.columns if column.from_width <= self.size.width]
        fixed = sum(column.width for column in visible) + _GAP * (len(visible) - 1)
        room = max(0, self.size.width - _PADDING - 1 - fixed)
        weights = sum(column.weight for column in visible if not column.width) or 1
        return [
            0 if column not in visible else column.width or max(4, room * column.weight // weights)
            for column in self.columns
        ]

    def _drawn(
        self,
        row: Row,
        widths: Sequence[int],
        earlier: Mapping[str, tuple[Sequence[Content], Content]],
    ) -> tuple[Sequence[Content], Content]:
        """The row's cells and their line; that of the same cells, if they were drawn earlier."""
        if row.id in earlier and earlier[row.id][0] is row.cells:
            return earlier[row.id]
        return row.cells, row.cells[0] if row.heading else self._line(row.cells, widths)

    def _line(self, cells: Sequence[Content], widths: Sequence[int]) -> Content:
        """A row's cells side by side. A text that is too long runs on over the empty cells after
        it."""
        visible = [
            (column, cell, width)
            for column, cell, width in zip(self.columns, cells, widths, strict=True)
            if width
        ]
        parts: list[Content] = []
        while visible:
            column, cell, width = visible.pop(0)
            while not column.right and cell.cell_length > width and visible and not visible[0][1]:
                width += _GAP + visible.pop(0)[2]
            short = cell.truncate(width, ellipsis=True)
            missing = width - short.cell_length
            parts.append(short.pad_left(missing) if column.right else short.pad_right(missing))
        return Content(" " * _GAP).join(parts)
