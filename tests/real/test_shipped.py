"""What is shipped, from the export to the verdict, by the command line: a healthy GGUF file is not
red. What is planted in one is in tests/serve/shipped, and in bench/certificate.py with figures."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.job import Job
from models import chapters
from models.merge.merging import merge
from models.merge.plan import plan_merge
from models.runs import Run
from tests.real.conftest import LUTHIER

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def luthier(*arguments: str, status: int = 0) -> dict[str, Any]:
    answer = subprocess.run([*LUTHIER, *arguments], capture_output=True, text=True, check=False)
    assert answer.returncode == status, answer.stderr
    value: dict[str, Any] = json.loads(answer.stdout)
    return value


@pytest.fixture
def run(listed_run: Job) -> Iterator[Job]:
    """A merged copy of a run."""
    directory = listed_run.directory.with_name("20261122-0000-shipping-0001")
    shutil.copytree(listed_run.directory, directory)
    base, adapter = Run(listed_run).base, directory / "adapter"
    merge(plan_merge(base, adapter), directory / "merged", run=directory.name)
    yield Job(directory)
    shutil.rmtree(directory)


def test_a_gguf_file_from_its_export_to_its_verdict(run: Job, tmp_path: Path) -> None:
    file = tmp_path / "captain.gguf"
    export = luthier("models", "export", run.id, "--out", str(file), "--as", "gguf:q8_0", "--json")
    assert export["path"] == str(file) and export["bytes"] == file.stat().st_size
    chapter = luthier("certify", run.id, "--shipped", str(file), "--json")
    faults = {check["name"] for check in chapter["checks"] if check["verdict"] != "green"}
    # transformers dequantised it: no word about llama.cpp's kernels; and four conversations are few
    assert faults <= {"kernels", "tokens compared"}, chapter["reasons"]
    assert chapter["figures"]["bytes"] < 0.6 * chapter["figures"]["bytes_trained"]
    assert 0.1 < chapter["figures"]["distance_in_noise"] < 1.5
    written = chapters.read(run.directory, "shipped", str(file))
    assert written is not None and not written.outdated
