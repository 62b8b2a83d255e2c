"""`luthier merge`, as far as its job."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.job import create
from models.merge import launch
from tests.models.merge.headers import write_adapter, write_base
from tui.commands.merge import merge


@pytest.mark.parametrize(("said", "noted"), [("acme/Other-1B", True), ("somebody/the-base", False)])
def test_an_adapter_that_says_it_is_of_another_base_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, noted: bool
) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(launch, "submit", create)
    base = write_base(tmp_path / "the-base")
    (base / "tokenizer.json").write_text("{}")
    adapter = write_adapter(tmp_path / "adapter", base_model_name_or_path=said)
    command = [
        "--base",
        str(base),
        "--adapter",
        str(adapter),
        "--out",
        str(tmp_path / "out"),
        "--detach",
    ]
    answer = CliRunner().invoke(merge, command)
    assert answer.exit_code == 0, answer.output
    words = f"names {said} as its base, not {base}"
    assert (words in " ".join(answer.stderr.split())) == noted
