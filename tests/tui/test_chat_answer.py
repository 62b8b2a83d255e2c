"""Text on its way into rows: wrapping as it comes, widths, Markdown."""

from __future__ import annotations

import random

import pytest
from rich.cells import cell_len
from rich.style import Style

from tui.chat.answer import FlowingText, flowing, wrap
from tui.chat.markdown import markdown_rows

PIECES = [
    "a",
    "word ",
    "longerword ",
    "  ",
    "\n",
    "\n\n",
    "你",
    "好世界",
    "👩‍👩‍👧 ",
    "🙂",
    "é",
    "e\u0301",
    "x" * 30,
    "\t",
    "안녕 ",
    "-",
]
STYLES = {"none": Style(color="#ffffff"), "markdown.code_block": Style(bgcolor="#202020")}


def rows_of(text: str, width: int = 60) -> list[str]:
    return [
        "".join(segment.text for segment in row).rstrip()
        for row in markdown_rows(text, width, STYLES, "monokai")
    ]


def test_rows_do_not_depend_on_how_the_text_came() -> None:
    chance = random.Random(1)
    for _ in range(300):
        text = "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 40)))
        width = chance.randint(4, 20)
        at_once, piecewise = FlowingText(width), FlowingText(width)
        at_once.append(text)
        start = 0
        while start < len(text):
            length = chance.randint(1, 5)
            piecewise.append(text[start : start + length])
            start += length
        assert piecewise.rows == at_once.rows
        assert all(cell_len(row.rstrip()) <= width for row in at_once.rows)
        assert "".join(at_once.rows) == flowing(text).replace("\n", "")


def test_only_the_last_row_is_wrapped_again() -> None:
    flowing = FlowingText(10)
    assert flowing.append("one two three four") == 0
    assert flowing.append(" five") == len(["one two ", "three four"]) - 1
    assert flowing.rows == ["one two ", "three four ", "five"]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", [""]),
        ("    indented text here", ["    indented ", "text here"]),
        ("你好世界你好世界", ["你好世界你好", "世界"]),
        ("abcdefghijklmnopqrstuvwxyz", ["abcdefghijkl", "mnopqrstuvwx", "yz"]),
        ("see 🙂🙂🙂🙂🙂🙂🙂", ["see ", "🙂🙂🙂🙂🙂🙂", "🙂"]),
    ],
)
def test_wrap(text: str, rows: list[str]) -> None:
    assert wrap(text, 13 if text.startswith(" ") else 12) == rows


def test_an_answer_cannot_steer_the_terminal() -> None:
    assert flowing("a\x1b[31mb\x07\r\n\x9bc\u202ed") == "a␛[31mb␇\n\ufffdc\ufffdd"
    assert not any("\x1b" in row for row in rows_of("`\x1b]0;title\x07` **\x1b[2J**"))


def test_markdown_loses_nothing() -> None:
    text = (
        "<think>hm</think>\nfirst\nsecond ![alt](http://x/y.png)"
        " [docs](http://x)\n\n<div>block</div>"
    )
    shown = "\n".join(rows_of(text))
    for part in (
        "<think>hm</think>",
        "first\nsecond",
        "alt",
        "http://x/y.png",
        "docs",
        "<div>block</div>",
    ):
        assert part in shown


def test_markdown_blocks() -> None:
    rows = rows_of(
        "# Title\n\n- a\n- b\n\n| k | v |\n|---|--:|\n| x | 1 |\n\n```python\nx = 1\n```\n\n>"
        " quoted"
    )
    assert rows == [
        "Title",
        "",
        " • a",
        " • b",
        "",
        "k  v",
        "────",
        "x  1",
        "",
        " x = 1",
        "",
        "▌ quoted",
    ]


def test_nesting_deeper_than_the_pane_is_shown_as_it_came() -> None:
    text = "> " * 30 + "deep"
    assert "".join(rows_of(text, 40)).replace(" ", "") == text.replace(" ", "")
