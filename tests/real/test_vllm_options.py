"""The flags that Luthier knows are those of the vLLM that is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(200)]

ROOT = Path(__file__).parents[2]


def test_the_stored_flags_are_those_of_vllms_parser() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "tests.real.vllm_options"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert answer.stdout == (ROOT / "serve" / "vllm_options.toml").read_text()
