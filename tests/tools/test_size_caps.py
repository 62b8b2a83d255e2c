"""The check of sizes: a class that is spread over its bases counts as one."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from tools.size_caps import Source, all_methods, class_violations, classes, main


def methods(count: int, prefix: str = "m") -> str:
    return "\n".join(f"    def {prefix}{number}(self): ..." for number in range(count))


def source(name: str, text: str) -> Source:
    return Source(name, dedent(text))


BASE = source("tui/base.py", f"class Base:\n{methods(25, 'base')}\n")
IMPORTS = {
    "by name": "from tui.base import Base\nclass Screen(Base):",
    "under another name": "from tui.base import Base as B\nclass Screen(B):",
    "by its module": "import tui.base\nclass Screen(tui.base.Base):",
    "by its module's name": "from tui import base\nclass Screen(base.Base):",
    "by another name of its module": "import tui.base as b\nclass Screen(b.Base):",
    "from beside it": "from .base import Base\nclass Screen(Base):",
    "from above": "from ..base import Base\nclass Screen(Base):",
    "with parameters": "from tui.base import Base\nclass Screen(Base[int, str]):",
    "within a function": "def f():\n    from tui.base import Base\nclass Screen(Base):",
    "through another module": "from tui.again import Base\nclass Screen(Base):",
    "through a class between": (
        "from tui.base import Base\nclass Between(Base): ...\nclass Screen(Between):"
    ),
    "twice": (
        "from tui.base import Base\nclass A(Base): ...\nclass B(Base): ...\nclass Screen(A, B):"
    ),
}


@pytest.mark.parametrize("text", IMPORTS.values(), ids=IMPORTS)
def test_inherited_methods_count_however_the_base_is_imported(text: str) -> None:
    name = "tui/room/screen.py" if "from .." in text else "tui/screen.py"
    screen = Source(name, f"{text}\n    def own(self): ...\n")
    by_name = classes([BASE, source("tui/again.py", "from tui.base import Base"), screen])
    cls = by_name[f"{screen.module}.Screen"]
    assert len(all_methods(cls, by_name)) == 26


def test_an_overridden_method_is_one() -> None:
    screen = source("tui/s.py", f"from tui.base import Base\nclass S(Base):\n{methods(9, 'base')}")
    by_name = classes([BASE, screen])
    assert len(all_methods(by_name["tui.s.S"], by_name)) == 25


def test_a_class_of_another_project_counts_as_nothing() -> None:
    screen = Source(
        "tui/s.py", "from textual.screen import Screen\nclass S(Screen):\n    def a(self): ..."
    )
    by_name = classes([screen])
    assert all_methods(by_name["tui.s.S"], by_name) == {"a"}


def test_a_class_that_has_the_name_of_its_base() -> None:
    screen = Source(
        "tui/s.py", "from tui.base import Base\nclass Base(Base):\n    def a(self): ..."
    )
    by_name = classes([BASE, screen])
    assert len(all_methods(by_name["tui.s.Base"], by_name)) == 26


def test_a_nested_class_is_counted_and_finds_the_one_beside_it() -> None:
    text = """
        class Outer:
            class A:
                def a(self): ...
            class B(A):
                def b(self): ...
    """
    by_name = classes([source("tui/s.py", text)])
    assert all_methods(by_name["tui.s.Outer.B"], by_name) == {"a", "b"}


@pytest.mark.parametrize(
    ("own", "parts", "count"), [(30, [], 0), (31, [], 1), (30, [30], 0), (30, [30, 1], 1)]
)
def test_caps_of_own_and_of_inherited_methods(own: int, parts: list[int], count: int) -> None:
    bases = [f"class P{n}:\n{methods(size, f'p{n}_')}" for n, size in enumerate(parts)]
    names = ", ".join(f"P{n}" for n in range(len(parts)))
    text = "\n".join([*bases, f"class Screen({names}):", methods(own)])
    assert len(list(class_violations([Source("tui/screen.py", text)]))) == count


def test_files_and_functions_over_their_caps_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tui").mkdir()
    (tmp_path / "tui" / "long.py").write_text("def f():\n" + "    x = 1\n" * 600)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_long.py").write_text("def f():\n" + "    x = 1\n" * 100)
    assert main(tmp_path) == 1
    assert capsys.readouterr().out.splitlines() == [
        "tui/long.py: 601 lines (at most 600)",
        "tui/long.py:1: f() has 601 lines (at most 80)",
    ]
