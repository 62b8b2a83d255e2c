"""The checker of words: what it finds, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

from tools.words import hits, violations

CODE = '''"""What is told in a docstring, anew, is for developers."""
import click

@click.command()
def serve():
    """Start a server anew."""

KEY = "is_told"
ERROR = f"{KEY} is no number, and the server is told of it"
'''
PAGE = """# Title
It begins again. You are told.

```
anew
```
`anew` is fine, <!-- anew --> too.
"""


def test_texts_for_people_are_searched_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "serve").mkdir()
    (tmp_path / "serve" / "run.py").write_text(CODE)
    assert sorted((hit.where, hit.phrase) for hit in hits("serve", tmp_path)) == [
        ("serve/run.py:6", "anew"),
        ("serve/run.py:9", "is no ..."),
        ("serve/run.py:9", "passive of to tell"),
    ]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text(PAGE)
    (tmp_path / "docs" / "style.md").write_text("Not: anew.")
    (tmp_path / "README.md").write_text("# Short")
    assert [(hit.where, hit.phrase) for hit in hits("docs", tmp_path)] == [
        ("docs/page.md:2", "passive of to tell"),
        ("docs/page.md:2", "begins again"),
    ]


def test_a_limit_only_falls(tmp_path: Path) -> None:
    (tmp_path / "serve").mkdir()
    (tmp_path / "serve" / "run.py").write_text(CODE)
    assert "3 phrases" in next(violations({"serve": 2}, tmp_path))
    assert not [*violations({"serve": 3}, tmp_path)]
    assert "Lower its limit" in next(violations({"serve": 9}, tmp_path))
