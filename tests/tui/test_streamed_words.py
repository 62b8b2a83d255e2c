"""An answer of `luthier chat` at a terminal, piece by piece."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tui.commands.streamed_words import StreamedWords


def printed(*pieces: str, width: int = 20) -> str:
    words = StreamedWords(width)
    return "".join([*map(words.take, pieces), words.rest()])


def test_a_word_that_does_not_fit_begins_the_next_line() -> None:
    assert printed("We use a special", "ly made bra", "ke.") == "We use a specially\nmade brake."
    assert printed("  indented\n\n  code   end") == "  indented\n\n  code   end"


def test_a_word_that_fits_exactly_stays() -> None:
    assert printed("12345 ", "1234", " 123456789", " x") == "12345 1234 123456789\nx"


def test_text_without_spaces_does_not_wait_for_its_end() -> None:
    words = StreamedWords(20)
    assert words.take("一" * 8) == ""
    assert words.take("一" * 8) == "一" * 16  # the terminal breaks it
    assert words.take("一。") == "" and words.rest() == "一。"


@given(st.text("ab一 \n", max_size=80), st.lists(st.integers(0, 80)), st.integers(4, 30))
def test_only_blanks_become_ends_of_lines(text: str, cuts: list[int], width: int) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    result = printed(*(text[start:end] for start, end in pairwise(places)), width=width)
    assert result.split() == text.split()
    assert result == printed(text, width=width)
