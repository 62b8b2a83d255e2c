"""A style sheet counts for the whole app as soon as its screen has been opened: what a room's sheet
names must be the room's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import tui

_ROOT = Path(tui.__file__).parent
_EVERYWHERE = {"shared", ""}  # their sheets are meant for all rooms


def _room(path: Path) -> str:
    return path.relative_to(_ROOT).parts[0] if path.parent != _ROOT else ""


def _selectors(path: Path) -> Iterator[str]:
    """What stands before each brace that is in no other one."""
    text, depth, start = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL), 0, 0
    for at, character in enumerate(text):
        if character == "{":
            if depth == 0:
                yield from text[start:at].split(",")
            depth += 1
        elif character == "}":
            depth -= 1
            start = at + 1


def test_no_room_styles_what_another_room_has() -> None:
    ids: dict[str, set[str]] = {}
    for path in _ROOT.rglob("*.py"):
        names = re.findall(r"""\bid=f?["']([a-z][a-z0-9-]*)["']""", path.read_text())
        names += re.findall(r"""RowTable\([^)]*["']([a-z-]+)["']\)""", path.read_text())
        for name in names:
            ids.setdefault(name, set()).add(_room(path))
    foreign = [
        f"{sheet.relative_to(_ROOT)}: {selector.strip()}"
        for sheet in _ROOT.rglob("*.tcss")
        if _room(sheet) not in _EVERYWHERE
        for selector in _selectors(sheet)
        # one that begins with a class or a widget of the screen's own counts there alone
        if (name := re.match(r"\s*#([a-z-]+)", selector)) is not None
        if ids.get(name[1], set()) - {_room(sheet)} - _EVERYWHERE
    ]
    assert foreign == []


def test_a_text_that_does_not_wrap_ends_with_its_dots() -> None:
    """Textual folds it otherwise: a line becomes two, or its end is cut off."""
    for path in (*_ROOT.rglob("*.tcss"), *_ROOT.rglob("*.py")):
        rules = re.findall(r"text-wrap: nowrap;\s*([a-z-]*)", path.read_text())
        assert set(rules) <= {"text-overflow"}, path
