"""Waiting for a job in a terminal."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from jobs.event_kinds import Phase
from jobs.job import Job
from models.events import Eval, Evaluations, Known, Plan, Step, kind_of
from tui.commands import progress


def test_who_stops_waiting_reads_that_the_job_keeps_running(
    jobs_by_name: dict[str, Job],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupted)
    job = jobs_by_name["pirate"]
    with pytest.raises(KeyboardInterrupt):
        progress.follow_to_end(job, "Training pirate", "The same command continues it.")
    words = " ".join(capsys.readouterr().err.split())
    assert f"{job.id} keeps running. `luthier log -f {job.id}` follows it" in words
    assert words.endswith(f"`luthier stop {job.id}` stops it. The same command continues it.")


def test_one_that_is_done_gives_its_result(jobs_by_name: dict[str, Job]) -> None:
    job = jobs_by_name["captain"]
    assert progress.follow_to_end(job, "Training captain")["steps"] == 300


def as_line(event: Known | Phase) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(event)
    return {name: value for name, value in fields.items() if value is not None}


def meter_after(*job_events: Known | Phase) -> progress.JobMeter:
    """Each event came ten seconds after the one before it, the last one just now."""
    meter, now = progress.JobMeter(), time.time()
    for number, event in enumerate(job_events):
        line = {**as_line(event), "kind": kind_of(type(event))}
        meter.take({**line, "t": now - 10.0 * (len(job_events) - 1 - number)})
    return meter


PLAN = Plan(steps=9, evaluation=Evaluations(evaluations=2, answers=3, seconds=60.0))
LOADING = Phase("loading the model", seconds_left=2)


def test_a_run_that_answers_before_its_first_step_is_not_nearly_done() -> None:
    meter = meter_after(PLAN, LOADING, Phase("evaluating: answers 1 to 3 of 3", done=0, total=3))
    assert (meter.share(), meter.seconds_left()) == (0.0, None)


def test_a_run_counts_its_steps_and_the_evaluations_that_are_due() -> None:
    steps = [Step(step=number, total=9, loss=2.0) for number in (1, 2, 3)]
    meter = meter_after(PLAN, LOADING, Eval(step=0, loss=3.0, seconds=30.0), *steps)
    assert meter.share() == 3 / 9
    assert meter.seconds_left() == pytest.approx(6 * 10.0 + 30.0, abs=1)


def test_a_phase_of_unknown_length_has_no_share_and_no_time() -> None:
    meter = meter_after(Phase("loading the tokenizer", seconds_left=4), Phase("asking the base"))
    assert (meter.share(), meter.seconds_left()) == (None, None)


def test_a_phase_that_counts_begins_again_at_nothing() -> None:
    answers = [Step(step=number, total=4) for number in (1, 2, 3, 4)]
    asking = Phase("asking", total=4)
    assert meter_after(asking, *answers).share() == 1.0
    assert meter_after(asking, *answers, Phase("judging", total=4)).share() == 0.0
    assert meter_after(Phase("copying", done=3, total=4, unit="bytes")).share() == 0.75
    assert meter_after(LOADING).share() == pytest.approx(0.0, abs=0.1)
