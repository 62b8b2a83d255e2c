"""Numbers with what they count."""

import pytest

from jobs.counting import counted


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 pairs"), (1, "1 pair"), (1.0, "1 pair"), (1.5, "1.5 pairs"), (1200, "1,200 pairs")],
)
def test_one_is_singular(number: float, text: str) -> None:
    assert counted(number, "pair") == text


def test_a_noun_of_its_own_for_several() -> None:
    assert counted(1, "entry", "entries") == "1 entry"
    assert counted(2, "entry", "entries") == "2 entries"
