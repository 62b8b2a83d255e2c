"""First contact with the command line: what is misspelt or in the wrong place is told with what to
type."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tui.cli import luthier


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["runz"], "'runs'"),
        (["data", "shwo"], "Did you mean 'show'?"),
        (["train", "--folow"], "Did you mean '--follow'?"),
        (
            ["recipe.toml"],
            "luthier train recipe.toml trains it, luthier plan recipe.toml plans it.",
        ),
        (["talk.jsonl"], "luthier data check talk.jsonl inspects data."),
        (["status"], "Did you mean 'luthier server status'"),
        (["export", "mine"], "'luthier models export' or"),
        (["qwertz"], "No such command 'qwertz'."),
    ],
)
def test_a_misspelt_command_is_told_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talk.jsonl").write_text("{}\n")
    answer = CliRunner().invoke(luthier, arguments)
    assert answer.exit_code == 2
    assert told in answer.output
