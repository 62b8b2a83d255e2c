"""Passages are the text of their document, at the place that they name, within the limits."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workshop.making import written
from workshop.making.documents.document import Block, Document
from workshop.making.documents.reading import read
from workshop.making.passages import passages_of, text_of
from workshop.making.recipe import Passages

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("documents")]

_SENTENCES = st.text(alphabet="abc ,.!?\n\u00e4\u3002\u4ed6-", min_size=1, max_size=400)


@settings(deadline=None)
@given(st.lists(st.tuples(_SENTENCES, st.booleans()), min_size=1, max_size=12))
def test_each_is_cut_from_where_it_says_and_nothing_is_lost(parts: list[tuple[str, bool]]) -> None:
    blocks = [
        Block(" ".join(text.split()), is_heading) for text, is_heading in parts if text.strip()
    ]
    document, limits = Document("a.txt", "text", blocks), Passages(shortest=40, longest=120)
    text = text_of(document)
    passages = passages_of(document, limits, "en", 7)
    covered = ""
    for passage in passages:
        location = passage.location
        assert text[location.start : location.end] == passage.text
        assert 0 < len(passage.text) <= limits.longest
        covered += passage.text
    bodies = "".join(block.text for block in blocks if not block.is_heading)
    assert "".join(covered.split()) == "".join(bodies.split())
    assert [passage.number for passage in passages] == list(range(7, 7 + len(passages)))


def test_short_paragraphs_are_merged_and_long_ones_cut_between_sentences(tmp_path: Path) -> None:
    document = read(written.markdown(tmp_path / "keeper.md"))
    passages = passages_of(document, Passages(shortest=150, longest=300), "en", 0)
    assert [passage.location.chapter for passage in passages] == [
        "Chapter One", "Chapter One", "Chapter Two", "Chapter Two", "Chapter Three",
        "Chapter Three",
    ]  # fmt: skip
    assert passages[1].text == "\n\n".join(written.CHAPTERS["Chapter One"][1:])
    assert passages[1].previous == passages[0].text
    shorter = passages_of(document, Passages(shortest=50, longest=150), "en", 0)
    assert all(len(passage.text) <= 150 for passage in shorter)
    assert shorter[0].text.endswith("to the north.")


def test_a_page_and_a_time_are_kept(tmp_path: Path) -> None:
    printed = read(written.pdf(tmp_path / "keeper.pdf"))
    pages = [each.location.page for each in passages_of(printed, Passages(), "en", 0)]
    assert pages == [1, 2, 3]
    talk = read(written.subtitles(tmp_path / "talk.vtt"))
    spoken = passages_of(talk, Passages(shortest=100, longest=400), "en", 0)
    assert spoken[0].location.begins == 0.0 and spoken[-1].location.ends == 34.5
