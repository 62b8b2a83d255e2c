"""A run's events in the API's words."""

from __future__ import annotations

import json
from typing import Any

from jobs.job import Job, create
from jobs.spec import Spec
from models.runs import Run
from workshop.api.run_log import RunLog

SETTINGS = {"model": "builtin", "model_directory": "/models/builtin"}


def run_with(*events: dict[str, Any]) -> Run:
    job = create(Spec("run", "mate", "trainer.worker", dict(SETTINGS)))
    tell(job, *events)
    return Run(job)


def tell(job: Job, *events: dict[str, Any]) -> None:
    with job.events_path.open("a") as file:
        file.writelines(
            json.dumps({"t": 1000.0 + number, **event}) + "\n"
            for number, event in enumerate(events)
        )


def step(number: int, loss: float | str, **more: Any) -> dict[str, Any]:
    return {"kind": "step", "step": number, "total": 9, "loss": loss, **more}


def log_of(run: Run) -> RunLog:
    log = RunLog(run)
    log.read()
    return log


def test_steps_that_are_taken_again_count_once() -> None:
    checkpoint = {"kind": "checkpoint", "path": "x"}
    run = run_with(
        {"kind": "queued", "attempt": 1},
        *(step(number, 3.0 - number / 10, tokens=100 * number) for number in range(1, 5)),
        {"kind": "eval", "step": 3, "loss": 2.0},
        {**checkpoint, "step": 2},
        {**checkpoint, "step": 4},
        {"kind": "queued", "attempt": 2},
        {"kind": "resumed", "step": 2},
        step(3, 1.5, tokens=300),
    )
    log = log_of(run)
    assert log.losses == {1: 2.9, 2: 2.8, 3: 1.5}
    assert log.evaluations == {}
    assert list(log.checkpoints) == [2]
    assert log.tokens == 300
    assert log.results_csv().splitlines()[-1] == b"3,1.5,,,"
    tell(run.job, {"kind": "checkpoint_removed", "step": 2}, step(4, "nan"))
    log.read()
    assert list(log.checkpoints) == []
    assert 4 not in log.losses
    newest = log.event_json(len(log.told) - 1)
    assert (newest["data"]["train_loss"], newest["type"]) == (None, "metrics")
    json.dumps([log.event_json(index) for index in range(len(log.told))], allow_nan=False)


def test_a_pause_holds_until_the_next_attempt_or_a_cancel() -> None:
    run = run_with({"kind": "queued"}, {"kind": "pause_requested"}, {"kind": "exited", "code": 0})
    log = log_of(run)
    assert log.is_pausing
    tell(run.job, {"kind": "cancel_requested"})
    log.read()
    assert not log.is_pausing
    tell(run.job, {"kind": "pause_requested"}, {"kind": "queued", "attempt": 2})
    log.read()
    assert not log.is_pausing


def test_rows_that_are_left_out_are_named_and_counted() -> None:
    totals = {
        "rows": {"kept": 2, "dropped": 30},
        "reasons": {"dropped": {"media": 29, "duplicates": 1}},
        "total_rows": 32,
    }
    run = run_with({"kind": "data", "train": 2, "heldout": 0, "ledger": totals})
    entries = [{"file": "a", "row": row, "state": "kept"} for row in range(2)]
    entries += [
        {"file": "a", "row": row, "state": "dropped", "reasons": ["media"], "detail": "a picture"}
        for row in range(2, 32)
    ]
    run.folder.data.mkdir()
    run.folder.ledger.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    warning = log_of(run).event_json(2)
    assert warning["level"] == "warn"
    assert warning["message"].startswith(
        "30 of 32 rows are left out (counted from 0): row 2 (a picture), row 3 (a picture),"
    )
    assert warning["message"].endswith("row 21 (a picture) and 10 more")
    assert warning["data"]["reasons"]["media"]["rows"] == 29


def test_events_that_are_torn_or_not_known_are_passed_over() -> None:
    run = run_with({"kind": "step", "step": "x"}, {"kind": "of tomorrow"}, {"kind": "eval"})
    with run.job.events_path.open("a") as file:
        file.write('{"t": 1, "kind": "st')
    assert len(log_of(run).told) == 1


def test_a_step_of_preferences_has_their_figures() -> None:
    run = run_with(
        {"kind": "queued", "attempt": 1}, step(1, 0.69), step(2, 0.6, reward_margin=0.2, kl="nan")
    )
    (plain, scored) = [entry.data for entry in log_of(run).told if entry.is_metrics]
    assert plain == {"step": 1, "total_steps": 9, "train_loss": 0.69}
    assert scored == {**plain, "step": 2, "train_loss": 0.6, "reward_margin": 0.2}
