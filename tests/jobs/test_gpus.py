"""Which GPUs there are, with an nvidia-smi that lists two."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs.gpus import compute_capability, gpus


@pytest.fixture(autouse=True)
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    identified, told = (
        f"'0, {first}' '1, {second}'"
        for first, second in (("GPU-3a9c, H", "GPU-77de, H"), ("H, 80000, 79000", "H, 80000, 7"))
    )
    capable = "'0, H, 9.0' '1, H, 8.6'"
    cases = (
        f"*uuid*) printf '%s\\n' {identified};; *compute_cap*) printf '%s\\n' {capable};; *) printf"
        f" '%s\\n' {told};;"
    )
    program.write_text(f'#!/bin/sh\ncase "$1" in {cases} esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("named", "indices"),
    [
        (None, [0, 1]),
        ("1", [1]),
        ("1,0", [0, 1]),
        ("GPU-77", [1]),
        ("GPU-3a9c, 1", [0, 1]),
        ("", []),
        ("-1", []),
        ("7", []),
    ],
)
def test_only_those_that_may_be_used(
    monkeypatch: pytest.MonkeyPatch, named: str | None, indices: list[int]
) -> None:
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert [gpu.index for gpu in gpus()] == indices


@pytest.mark.parametrize(
    ("named", "lowest"), [(None, (8, 6)), ("0", (9, 0)), ("1", (8, 6)), ("", (0, 0))]
)
def test_the_least_that_they_can(
    monkeypatch: pytest.MonkeyPatch, named: str | None, lowest: tuple[int, int]
) -> None:
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert compute_capability() == lowest


def test_a_driver_that_does_not_say(tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nprintf '%s\\n' '0, H, 9.0' '1, K, [N/A]'\n")
    assert compute_capability() == (0, 0)
