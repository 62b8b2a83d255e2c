"""A home of its own with a base model, and rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.home import models_directory
from jobs.job import all_jobs, stop, wait
from tests.tui.folders import base_model


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    base_model(models_directory() / "builtin")
    yield tmp_path / "home"
    living = [job for job in all_jobs() if stop(job, now=True)]
    assert all(wait(job, 20) for job in living)


def row(question: str, answer: str, **more: Any) -> dict[str, Any]:
    """A conversation as OpenAI's files have it."""
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer, **more},
        ]
    }


def rows(count: int = 20) -> list[dict[str, Any]]:
    return [row(f"What is {number}?", f"Number {number} it is.") for number in range(count)]


def pairs(count: int = 20) -> list[dict[str, Any]]:
    """Preference rows as OpenAI's files have them."""
    return [
        {
            "input": {
                "messages": [{"role": "user", "content": f"What is {number}?"}],
                "tools": [],
                "parallel_tool_calls": True,
            },
            "preferred_output": [{"role": "assistant", "content": f"Number {number} it is."}],
            "non_preferred_output": [{"role": "assistant", "content": "I cannot say."}],
        }
        for number in range(count)
    ]


def lines(values: list[Any]) -> bytes:
    return "".join(f"{json.dumps(value)}\n" for value in values).encode()
