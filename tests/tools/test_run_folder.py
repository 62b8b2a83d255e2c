"""The check that nobody reads a run's folder past its reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.run_folder import findings


@pytest.mark.parametrize(
    ("line", "is_finding"),
    [
        ('path = job.directory / "adapter"', True),
        ('path = run_directory / "heldout.jsonl"', True),
        ('path = settings_path / "adapter"', False),
        ("path = RunFolder(job.directory).adapter", False),
        ('model = job.spec.settings["model"]', True),
        ('model = job.spec.settings.get("model", "")', True),
        ("settings = job.spec.settings", True),
        ("plan = ServerPlan.from_json(job.spec.settings)", False),
        ("model = Run(job).base_name", False),
    ],
)
def test_a_second_reader_is_seen(line: str, is_finding: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(line)
    assert bool(list(findings(path, "trainer/x.py"))) == is_finding
