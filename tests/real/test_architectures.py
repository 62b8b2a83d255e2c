"""One architecture of docs/models.md again, the whole way: a mixture whose experts are trained,
merged and served as a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.conftest import ROOT

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def test_it_comes_out_as_the_table_says(tmp_path: Path) -> None:
    out = tmp_path / "models.json"
    names = ("qwen3_moe",)
    command = [sys.executable, "-m", "bench.architectures", *names]
    command += ["--out", str(out), "--folder", str(tmp_path / "walk")]
    answer = subprocess.run(
        command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr[-4000:]
    results = json.loads(out.read_text())["results"]
    kept = json.loads((ROOT / "docs" / "models.json").read_text())["results"]
    for name in names:
        for stage in ("mask", "train", "merge", "adapter", "merged"):
            assert results[name][stage] == kept[name][stage], results[name]
        faults = [fault for fault in results[name]["faults"] if not fault.startswith("stopping")]
        assert results[name]["certificate"] in ("green", "amber", "red") and not faults
