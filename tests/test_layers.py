"""What runs when the app starts: nothing heavy, and nothing of the user's. The import contracts
themselves are `make layers`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.decoding import decoders

HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "numpy", "vllm", "openai", "httpx")
ROOT = Path(__file__).resolve().parent.parent
COMMANDS = sorted(
    f"tui.commands.{path.stem}" for path in (ROOT / "tui" / "commands").glob("[a-z]*.py")
)


@pytest.mark.parametrize(
    "modules",
    [["tui.app", "tui.runs.runs_screen"], ["tui.cli", *COMMANDS]],
    ids=["the app", "the command line"],
)
def test_importing_loads_no_heavy_library(modules: list[str]) -> None:
    code = (
        f"import sys, {', '.join(modules)}; print(*(name for name in {HEAVY!r} if name in"
        " sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == []


def test_the_command_does_not_run_files_of_the_folder_it_is_called_in(tmp_path: Path) -> None:
    for name in ("jobs", "models", "trainer", "serve", "workshop", "tui"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the decoy ran')")
    command = [str(Path(sys.executable).with_name("luthier")), "runs", "--json"]
    environment = {**os.environ, "LUTHIER_HOME": str(tmp_path / "home")}
    answer = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import json\njson.loads(text)", True),
        ("from json import loads", True),
        ("import msgspec\nread = msgspec.json.Decoder(int).decode", True),
        ("import json\njson.dumps(1)", False),
        ("from jobs import foreign_json\nforeign_json.read(path)", False),
    ],
)
def test_decoding_apart_from_the_one_reader_is_seen(line: str, found: bool, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(line)
    assert bool(list(decoders(tmp_path / "x.py"))) == found
