"""What CONTRIBUTING.md says of the code is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return GUIDE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(title: str) -> Iterator[list[str]]:
    """The cells of a section's table, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("| ")]
    for line in lines[1:]:
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def defined(path: Path) -> set[str]:
    """The names that a module defines, those in its classes too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def test_the_table_has_every_behaviour() -> None:
    assert len(list(rows("Where does it live?"))) == 27


@pytest.mark.parametrize("row", rows("Where does it live?"), ids=lambda row: row[0])
def test_it_lives_there(row: list[str]) -> None:
    path, names = None, 0
    for quoted in re.findall(r"`([^`]+)`", row[1]):
        if "/" in quoted:
            path = ROOT / quoted
            assert path.is_file()
        elif path is not None and not quoted.endswith(".py"):
            assert quoted in defined(path), f"{path} has no {quoted}"
            names += 1
    assert names


def test_every_file_and_tool_of_the_guide_exists() -> None:
    paths = set(re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|md|toml|jsonl))`", GUIDE))
    assert len(paths) > 30
    missing = [path for path in sorted(paths) if "NAME" not in path and not (ROOT / path).exists()]
    assert missing == []


def test_the_files_to_touch_are_counted() -> None:
    """In the table of what to add: the parts of the second column, as many as the third says."""
    for task, files, count, _ in rows("How to add ..."):
        assert len(files.split("; ")) == int(count), task
