"""Long lines go on below their own beginning."""

from __future__ import annotations

import pytest
from textual.content import Content

from tui.shared.hanging_text import hanging


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (30, ["sleep   never: it is for GPUs"]),
        (18, ["sleep   never: it", "        is for", "        GPUs"]),
        (9, ["sleep   never: it is for GPUs"]),  # no room beside the label
        (0, ["sleep   never: it is for GPUs"]),  # not laid out yet
    ],
)
def test_what_follows_a_label_stays_beside_it(width: int, lines: list[str]) -> None:
    text = Content("sleep   never: it is for GPUs")
    assert [line.plain.rstrip() for line in hanging(text, 8, width)] == lines


@pytest.mark.parametrize("width", [0, 1, 5])
def test_a_line_without_a_label_wraps_at_any_width(width: int) -> None:
    assert "".join(line.plain for line in hanging(Content("a failure"), 0, width)).split()
