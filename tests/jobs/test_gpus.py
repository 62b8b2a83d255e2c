"""Which GPUs there are, with an nvidia-smi that lists two."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs.gpus import gpus


@pytest.fixture(autouse=True)
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    identified, told = (
        f"'0, {first}' '1, {second}'" for first, second in (("GPU-3a9c, H", "GPU-77de, H"), ("H, 80000, 79000", "H, 80000, 7"))
    )
    program.write_text(f"#!/bin/sh\ncase \"$1\" in *uuid*) printf '%s\\n' {identified};; *) printf '%s\\n' {told};; esac\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("named", "indices"),
    [(None, [0, 1]), ("1", [1]), ("1,0", [0, 1]), ("GPU-77", [1]), ("GPU-3a9c, 1", [0, 1]), ("", []), ("-1", []), ("7", [])],
)
def test_only_those_that_may_be_used(monkeypatch: pytest.MonkeyPatch, named: str | None, indices: list[int]) -> None:
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert [gpu.index for gpu in gpus()] == indices
