"""The pages of docs/ that are made of the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.doc_pages import ROOT, outdated, recipe_table, with_region


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


@pytest.mark.heavy
def test_the_site_asks_no_network_and_has_its_search_on_the_disk(tmp_path: Path) -> None:
    """Styles, scripts and pictures come with it, also what Material's plugins would fetch."""
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, env={"NO_MKDOCS_2_WARNING": "1"})
    pages = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.html")}
    assert len(pages) > 30
    fetched = re.compile(r"<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//")
    assert {name: found for name, text in pages.items() if (found := fetched.findall(text))} == {}
    assert (tmp_path / "search" / "search_index.js").stat().st_size > 100_000
    assert '<script src="iframe-worker.js">' in pages["index.html"]
