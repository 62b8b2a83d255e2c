"""The ratchet on vague names and nested conditional expressions."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tools.names import Limit, bindings, count, main, nested_conditionals


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("found = 1", ["found"]),
        ("found: int = 1", ["found"]),
        ("first, *rest = values", ["first", "rest"]),
        ("for place, row in enumerate(rows): pass", ["place", "row"]),
        ("ids = [one.id for one in rows]", ["ids", "one"]),
        ("def ask(wanted, *others, told=None): pass", ["others", "told", "wanted"]),
        ("print(found, key=found)", []),
        ("run.found = 1", []),
    ],
)
def test_what_binds_is_counted(line: str, names: list[str]) -> None:
    assert sorted(name for _, name in bindings(ast.parse(line))) == names


@pytest.mark.parametrize(
    ("line", "is_nested"),
    [
        ("x = a if b else c", False),
        ("x = a if b else (c if d else e)", True),
        ("x = (a if b else c) if d else e", True),
        ("x = a if (b if c else d) else e", True),
        ("x = a if b else [c if d else e]", False),
    ],
)
def test_a_conditional_inside_another_is_nested(line: str, is_nested: bool) -> None:
    assert bool(list(nested_conditionals(ast.parse(line)))) == is_nested


def package(root: Path, vague: int, named: int, nested: int) -> None:
    lines = [f"found = {number}" for number in range(vague)]
    lines += [f"row_count = {number}" for number in range(named)]
    lines += ["print(1 if a else 2 if b else 3)"] * nested
    (root / "jobs").mkdir()
    (root / "jobs" / "state.py").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [
        (Limit(2.0, nested=1), 0),
        (Limit(2.2, nested=1), 0),
        (Limit(1.9, nested=1), 1),
        (Limit(2.5, nested=1), 1),
        (Limit(2.0, nested=0), 1),
        (Limit(2.0, nested=2), 1),
    ],
)
def test_the_limit_is_kept_and_follows(limit: Limit, verdict: int, tmp_path: Path) -> None:
    package(tmp_path, vague=2, named=98, nested=1)
    assert main(tmp_path, {"jobs": limit}) == verdict


def test_each_is_named_by_its_line(tmp_path: Path) -> None:
    package(tmp_path, vague=1, named=1, nested=1)
    counted = count(tmp_path / "jobs", tmp_path)
    assert counted.vague == ("jobs/state.py:1: found",)
    assert counted.nested == ("jobs/state.py:3",)
    assert counted.share == 50.0


def test_what_is_wrong_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package(tmp_path, vague=2, named=98, nested=1)
    main(tmp_path, {"jobs": Limit(1.0)})
    assert capsys.readouterr().out.splitlines() == [
        "jobs: 2.00 % of its bindings have vague names (at most 1.0 %). Name what each value is:"
        " `tools/names.py jobs` lists them.",
        "jobs: 1 nested conditional expressions (at most 0). Make them if, match or a function:"
        " jobs/state.py:101",
    ]
    main(tmp_path, {"jobs": Limit(3.0, nested=2)})
    assert capsys.readouterr().out.splitlines() == [
        "jobs: 2.00 % of its bindings have vague names, clearly less than 3.0 %. Lower its limit"
        " in tools/names.py.",
        "jobs: 1 nested conditional expressions, less than 2. Lower its limit in tools/names.py.",
    ]
