"""The pages of docs/ that are made of the code."""

from __future__ import annotations

import pytest

from tools.doc_pages import outdated, recipe_table, with_region


def test_every_page_says_what_the_code_says() -> None:
    assert outdated() == [], "python tools/doc_pages.py"


def test_a_region_that_is_missing_is_an_error_and_one_that_is_there_is_replaced() -> None:
    page = (
        "a\n<!-- Made by tools/doc_pages.py from x. Do not edit. -->\nold\n<!-- end of x -->\nb\n"
    )
    assert with_region(page, "x", lambda written: written.upper()).splitlines()[2] == "OLD"
    with pytest.raises(ValueError, match="no region"):
        with_region(page, "y", str)


def test_rows_that_are_written_by_hand_stay_below_theirs() -> None:
    table = recipe_table("| `gpus` | 7 | stale |\n| `mine` | 1 | by hand |").splitlines()
    below = table.index("| `mine` | 1 | by hand |")
    assert table[below - 1].startswith("| `gpus` | 1 |")
