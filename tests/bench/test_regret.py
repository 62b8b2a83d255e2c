"""The grid of bench/gpu/regret.py survives the processes that measure for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.gpu import regret

pytestmark = pytest.mark.heavy

# stands where the script starts itself for a model: half a line, an end in the midst of a setting
_MEASURES = """
import json, sys, time
if "--make" in sys.argv:
    sys.exit("no space is left" if "huge" in sys.argv else 0)
names = sys.argv[sys.argv.index("--settings") + 1].split(",")
print("a library greets")
for name in names:
    print("\\nRESULT " + json.dumps({"line": "started", "model": "m", "setting": name}), flush=True)
    if name == "3x3":
        print("RESULT {", end="", flush=True)
        sys.exit("CUDA error")
    if name == "9x9":
        time.sleep(60)
    fields = {"regret": 0.01 * int(name[0]), "predicted_regret": 0.2, "partial": name == "8x8"}
    line = {"line": "setting", "model": "m", "setting": name, **fields}
    print("\\nRESULT " + json.dumps(line), flush=True)
"""


@pytest.fixture
def lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    script = tmp_path / "measures.py"
    script.write_text(_MEASURES)
    monkeypatch.setattr(regret, "__file__", str(script))
    monkeypatch.delenv("OUT", raising=False)

    def told(*options: str) -> list[dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", ["regret.py", "--work", str(tmp_path), *options])
        regret.main()
        printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        written = (tmp_path / "regret.jsonl").read_text().splitlines()
        assert printed == [json.loads(line) for line in written]
        return printed

    return told


def test_a_setting_that_ends_the_process_is_a_line_and_the_next_ones_go_on(lines: Any) -> None:
    *settings_lines, total = lines("--only", "8b", "--settings", "2x2,3x3,4x4,8x8")
    kinds = [(line["line"], line.get("setting")) for line in settings_lines]
    assert kinds == [
        ("made", None),
        ("setting", "2x2"),
        ("lost", "3x3"),
        ("setting", "4x4"),
        ("setting", "8x8"),
    ]
    assert "CUDA error" in settings_lines[2]["failed"]
    # one that time ran out for is not counted
    assert (total["settings"], total["worst_regret"], total["within_3_percent"]) == (2, 0.04, 1)
    assert total["failed"] == ["8b 3x3"]


def test_a_model_that_cannot_be_made_does_not_end_the_others(lines: Any) -> None:
    *settings_lines, total = lines("--only", "huge,8b", "--settings", "3x3")
    assert "no space is left" in settings_lines[0]["failed"]
    assert [line["model"] for line in settings_lines if line["line"] == "lost"] == ["huge", "8b"]
    assert total["settings"] == 0 and total["worst_regret"] is None


def test_the_limit_ends_it_with_what_there_is(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regret, "_GRACE", 0)
    *settings_lines, total = lines("--only", "8b", "--settings", "2x2,9x9,4x4", "--limit-s", "12")
    assert [line["setting"] for line in settings_lines if line["line"] == "setting"] == ["2x2"]
    assert total["settings"] == 1 and total["seconds"] < 30
