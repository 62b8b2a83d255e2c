"""No word is cut without its "…", no columns run into each other, and nothing lies where it cannot
be seen: on every screen and in every dialog, at every size."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.tui.walk import HUGE, THEMES, Leaf, Painting, filled, paintings
from tui.key_bindings import ACTIONS
from tui.shared.glyphs import glyphs

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1200)]

_APART = re.compile(r"[\s\u2500-\u259f\u2800-\u28ff]+")  # blanks, boxes, bars, braille
_LONG = 20  # cells: more than a word of a language
_FIGURE = re.compile(r"[\d.,:%+/-]+\w{0,3}")  # of an axis, which has other ones at each size
_OF_TOKENS = "TokenView"
"""It breaks its lines between tokens, which are parts of words."""
_FIELD = "Input"
"""It scrolls what has no room, and shows a part of its text."""
_PREVIEW = "Figures"
"""Beside a list it shows the first of its lines that have room; all are on the run's screen."""


def words(text: str) -> list[str]:
    return [word for word in _APART.split(text) if word]


def vocabularies(made: Sequence[Painting]) -> dict[str, set[str]]:
    """The words of each screen: all that it says where nothing is cut. Hints are other ones at each
    size."""
    hints = {word for action in ACTIONS for word in (*words(action.title), *action.key_names)}
    vocabulary_of: dict[str, set[str]] = defaultdict(lambda: set(hints))
    for painting in made:
        if painting.size == HUGE:
            texts = [*painting.lines, *(leaf.text for leaf in painting.leaves)]
            texts += [row for leaf in painting.leaves for row in painting.rows(leaf)]
            vocabulary_of[painting.name].update(word for text in texts for word in words(text))
            # what is broken there, too
            vocabulary_of[painting.name].update(
                "".join(words(leaf.text)) for leaf in painting.leaves
            )
    return vocabulary_of


def strange(rows: Sequence[str], vocabulary: set[str]) -> list[str]:
    """The words of a widget's lines that are none of the screen's. A long one may go on in the next
    line, for it has to somewhere."""
    lines = [words(row) for row in rows]
    long_words = [word for word in vocabulary if len(word) > _LONG]
    strange_words = []
    for number, line in enumerate(lines):
        below = lines[number + 1] if number + 1 < len(lines) else []
        for word in line:
            is_piece = any(
                long_word.endswith(word)
                or (len(word) > _LONG and word in long_word)
                or any(word + continuation in long_word for continuation in below)
                for long_word in long_words
            )
            if not (known(word, vocabulary) or is_piece):
                strange_words.append(f"{word!r} in {rows[number].strip()!r}")
    return strange_words


def known(word: str, vocabulary: set[str]) -> bool:
    return word in vocabulary or glyphs().ellipsis in word or bool(_FIGURE.fullmatch(word))


def is_part(rows: Sequence[str], painting: Painting) -> bool:
    """Whether these lines say what the same widget says there, without a letter less."""
    text = "".join(words("".join(rows)))
    row_blocks = (
        painting.rows(leaf) for leaf in painting.leaves if leaf.name.startswith(_OF_TOKENS)
    )
    return any(text in "".join(words("".join(rows))) for rows in row_blocks)


def overlaps(leaves: Sequence[Leaf]) -> list[str]:
    """Pairs of widgets of which one hides a part of the other, but for what is scrolled away."""
    visible_leaves = [leaf for leaf in leaves if leaf.region.area]
    return [
        f"{leaf.name} and {other.name}"
        for number, leaf in enumerate(visible_leaves)
        for other in visible_leaves[:number]
        if leaf.region.overlaps(other.region)
    ]


@pytest.mark.parametrize("is_foreign", [False, True], ids=["pleasant", "foreign"])
async def test_nothing_is_cut(
    home: Path, is_foreign: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    with filled(home, is_foreign):
        all_paintings = await paintings(THEMES[:1])
    vocabulary = vocabularies(all_paintings)
    uncut = {painting.name: painting for painting in all_paintings if painting.size == HUGE}
    faults = []
    for painting in all_paintings:
        if painting.size == HUGE:
            continue
        flaws = overlaps(painting.leaves)
        for leaf in painting.leaves:
            rows = painting.rows(leaf)
            if leaf.name.startswith(_OF_TOKENS):
                flaws += [] if is_part(rows, uncut[painting.name]) else [f"{leaf.name}: {rows}"]
            elif leaf.name.startswith(_FIELD):
                flaws += [] if "".join(rows).strip() in leaf.text else [f"{leaf.name}: {rows}"]
            else:
                flaws += strange(rows, vocabulary[painting.name])
            if leaf.cut and not leaf.name.startswith(_PREVIEW):
                flaws.append(f"{leaf.name}: {leaf.cut}")
        faults += [f"{painting.name} {painting.size}: {fault}" for fault in flaws]
    assert not faults, "\n".join(faults)


def test_the_definition_finds_what_it_should() -> None:
    vocabulary = {"training", "loss", "on", "/a/path/that/is/longer/than/a/line"}
    assert strange(["trainin"], vocabulary) != []
    assert strange(["traini…  loss on"], vocabulary) == []
    assert strange(["trainingloss"], vocabulary) != []
    assert strange(["/a/path/that/is/lon", "ger/than/a/line on"], vocabulary) == []
    assert strange(["/a/path/that/is/lon", "on"], vocabulary) != []
