"""Main memory: the machine's, or what a container may take of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import memory


def test_a_containers_limit_counts_where_it_is_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_LIMITS", (limit, tmp_path / "missing"))
    machine = memory.main_memory()
    assert machine > 1 << 28
    for text, expected in (
        ("max\n", machine),
        (f"{1 << 27}\n", 1 << 27),
        (f"{1 << 62}\n", machine),
    ):
        limit.write_text(text)
        assert memory.main_memory() == expected
