"""Layouts that people have: what becomes of each row of each, and that the guide's table says
so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainer.data.layout_table import BEGIN, END, GUIDE, Layout, layouts, read, table

LAYOUTS = layouts()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_what_becomes_of_each_row(layout: Layout, tmp_path: Path) -> None:
    reading = read(layout, tmp_path)
    if layout.error:
        assert reading.error is not None
        assert (
            layout.error in f"{reading.error.title}\n{reading.error.message}\n{reading.error.hint}"
        )
    else:
        assert reading.error is None, reading.error
        assert reading.outcome == layout.outcome, [row.detail for row in reading.rows]


def test_the_guides_table_is_made_of_them() -> None:
    told = GUIDE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert told == table(), "run: python -m tests.trainer.data.layout_table"
