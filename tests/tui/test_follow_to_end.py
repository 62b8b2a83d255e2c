"""Waiting for a job in a terminal."""

from __future__ import annotations

import pytest

from jobs.job import Job
from tui.commands import progress


def test_who_stops_waiting_reads_that_the_job_keeps_running(
    made: dict[str, Job], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupted)
    job = made["pirate"]
    with pytest.raises(KeyboardInterrupt):
        progress.follow_to_end(job, "Training pirate", "The same command continues it.")
    words = " ".join(capsys.readouterr().err.split())
    assert f"{job.id} keeps running. `luthier log -f {job.id}` follows it" in words
    assert words.endswith(f"`luthier stop {job.id}` stops it. The same command continues it.")


def test_one_that_is_done_gives_its_result(made: dict[str, Job]) -> None:
    job = made["captain"]
    assert progress.follow_to_end(job, "Training captain")["steps"] == 300
