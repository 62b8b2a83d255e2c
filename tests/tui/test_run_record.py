"""What a run's events add up to, and how they are read."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from models.events import Step
from tests.tui import folders
from tui.runs.moment_marks import marks
from tui.shared.log_index import LogIndex
from tui.shared.log_search import LogSearch
from workshop.runs.chart_metrics import COLUMNS, STEP_FIGURES
from workshop.runs.events import RunReader
from workshop.runs.pace import TimeLeft, is_late, is_stalled
from workshop.runs.record import RunRecord


def record_of(*events: dict[str, Any]) -> RunRecord:
    record = RunRecord()
    for event in events:
        record.add(event)
    return record


def step(number: int, **fields: Any) -> dict[str, Any]:
    return folders.event(
        "step", 1000 - number, **({"step": number, "total": 20, "loss": 1.0} | fields)
    )


def test_a_loss_that_is_no_number_is_left_out() -> None:
    record = record_of(step(1, loss="nan"), step(2, loss=float("inf")))
    assert not record.curve("loss") and record.step == 2


def test_a_resumed_run_takes_its_last_steps_again() -> None:
    evaluation = folders.event("eval", 90, step=8, loss=1.0, metrics={"exact_match": 0.5})
    sample = folders.event("sample", 90, step=8, index=0, prompt="p", reference="r", answer="a")
    checkpoints = [
        folders.event("checkpoint", 90, step=number, path="", reason="regular", best=False)
        for number in (6, 8)
    ]
    record = record_of(*(step(number) for number in range(1, 11)), evaluation, sample, *checkpoints)
    record.add(
        folders.event("resumed", 80, step=6, checkpoint="step-000006", forced=False, differences=[])
    )
    assert (
        list(record.curve("loss").steps) == [1, 2, 3, 4, 5, 6]
        and record.eval_loss is None
        and record.step == 6
    )
    assert not record.curve("eval.exact_match") and record.samples[0].answers == {}
    assert [(moment.kind, moment.step) for moment in record.moments if moment.on_chart] == [
        ("checkpoint", 6),
        ("resumed", 6),
    ]
    record.add(step(7, loss=0.5))
    assert list(record.curve("loss").values)[-1] == 0.5


def test_an_attempt_without_a_checkpoint_begins_again() -> None:
    record = record_of(*(step(number, loss=2.0) for number in range(1, 6)))
    record.add(folders.event("queued", 50, attempt=2))
    record.add(folders.event("started", 49, pid=1))
    record.add(step(1, loss=3.0))
    assert list(record.curve("loss").values) == [3.0] and record.step == 1


def test_a_removed_checkpoint_leaves_the_chart_but_not_the_timeline() -> None:
    saved = [
        folders.event("checkpoint", 90, step=number, path="", reason="regular", best=number == 4)
        for number in (2, 4)
    ]
    record = record_of(*saved, folders.event("checkpoint_removed", 80, step=2))
    assert [mark.step for mark in marks(record.moments)] == [4] and record.checkpoint == 4
    assert [(moment.step, moment.gone, moment.best) for moment in record.moments] == [
        (2, "removed", False),
        (4, "", True),
    ]


def test_a_repair_says_what_was_done() -> None:
    batch = folders.event(
        "repair",
        9,
        step=3,
        what="micro_batch",
        micro_batch=2,
        accumulation=8,
        gradient_checkpointing="none",
        reason="full",
    )
    recompute = batch | {"what": "gradient_checkpointing", "gradient_checkpointing": "standard"}
    record = record_of(step(3), batch, recompute)
    assert [moment.title for moment in record.moments] == [
        "out of memory: micro-batch 2, accumulation 8",
        "out of memory: gradient checkpointing on",
    ]
    assert all(mark.important for mark in marks(record.moments))


def test_the_memory_that_was_measured_is_told() -> None:
    record = record_of(
        folders.event(
            "calibrated", 9, predicted=64_000_000_000, measured=65_100_000_000, room=150_000_000_000
        )
    )
    assert [(moment.title, moment.detail) for moment in record.moments] == [
        ("memory measured: 65.1 GB of 150.0 GB", "predicted: 64.0 GB")
    ]
    assert not marks(record.moments)


def test_what_was_tried_before_the_first_step_is_a_moment_with_its_figures() -> None:
    tried = [
        {"settings": "float8, 8 at a time", "tokens_per_second": 21_284.0},
        {"settings": "16-bit products, 8 at a time", "outcome": "out of memory"},
    ]
    fields = {"chosen": "float8, 8 at a time", "seconds": 7.2, "contenders": tried}
    record = record_of(folders.event("trials", 9, **fields))
    assert [(moment.title, moment.detail) for moment in record.moments] == [
        (
            "settings tried: float8, 8 at a time",
            "float8, 8 at a time: 21,284 tokens/s; 16-bit products, 8 at a time: out of memory",
        )
    ]
    assert not marks(record.moments)


def test_a_run_that_begins_again_has_a_mark_at_its_beginning() -> None:
    record = record_of(
        step(1),
        step(2),
        folders.event("resumed", 9, step=0, checkpoint="", forced=False, differences=[]),
    )
    assert [(mark.step, mark.important) for mark in marks(record.moments)] == [
        (0, True)
    ] and record.step == 0
    assert record.moments[-1].title == "starts from the beginning: no checkpoint yet"


def test_only_the_newest_best_checkpoint_has_the_sign() -> None:
    saved = [
        folders.event("checkpoint", 90, step=number, path="", reason="evaluation", best=True)
        for number in (2, 4)
    ]
    record = record_of(*saved)
    assert [moment.best for moment in record.moments] == [False, True]


def test_an_evaluation_without_a_loss_has_its_metrics() -> None:
    record = record_of(
        folders.event("eval", 9, step=5, epoch=1.0, loss=None, metrics={"bleu": 12.5})
    )
    assert (
        record.eval_loss is None
        and record.curve("eval.bleu").value_at(5) == 12.5
        and record.moments[0].detail == "bleu 12.5000"
    )


def test_time_left_goes_by_the_pace_of_this_attempt_only() -> None:
    slow = [
        {"t": float(100 * number), "kind": "step", "step": number, "total": 20, "loss": 1.0}
        for number in range(1, 6)
    ]
    record = record_of(*slow)
    assert record.time_left(500.0) == TimeLeft(1500)
    record.add({"t": 1000.0, "kind": "queued", "attempt": 2})
    record.add({"t": 1000.0, "kind": "started"})
    record.add({"t": 1001.0, "kind": "resumed", "step": 5})
    assert record.time_left(1001.0) is None
    for number in range(6, 11):
        record.add(
            {"t": 1000.0 + 2 * number, "kind": "step", "step": number, "total": 20, "loss": 1.0}
        )
    assert record.time_left(1020.0) == TimeLeft(20)


def test_elapsed_time_leaves_out_the_wait_between_attempts() -> None:
    record = record_of(
        {"t": 100.0, "kind": "queued"},
        {"t": 100.0, "kind": "started"},
        {"t": 160.0, "kind": "exited"},
        {"t": 900.0, "kind": "queued"},
    )
    assert record.elapsed(950.0) == 60
    record.add({"t": 1000.0, "kind": "started"})
    assert record.elapsed(1030.0) == 90


def evaluated(number: int, t: float, **fields: Any) -> dict[str, Any]:
    return {"t": t, "kind": "eval", "step": number, "loss": 1.0, **fields}


def paced(first: int, last: int, began: float, pace: float = 2.0) -> list[dict[str, Any]]:
    """Steps of twenty, told at a steady pace."""
    return [
        {"t": began + pace * number, "kind": "step", "step": number, "total": 20, "loss": 1.0}
        for number in range(first, last + 1)
    ]


def test_time_left_counts_the_evaluations_that_are_due() -> None:
    plan = {"t": 1.0, "kind": "plan", "evaluation": {"evaluations": 5, "seconds": 500.0}}
    record = record_of({"t": 0.0, "kind": "started"}, plan, *paced(1, 10, 0.0))
    assert record.time_left(20.0) == TimeLeft(10 * 2.0 + 5 * 100.0, about=True)
    record.add(evaluated(0, 1.0, seconds=30.0))
    record.add(evaluated(10, 50.0, seconds=50.0))
    assert record.time_left(50.0) == TimeLeft(10 * 2.0 + 3 * 40.0)
    # the evaluation between two steps does not make a usual step longer
    for event in paced(11, 12, 48.0):
        record.add(event)
    assert record.usual_step == 2.0
    record.add({"t": 73.0, "kind": "phase", "name": "evaluating: answers 1 to 3 of 3"})
    assert record.activity == "evaluating: answers 1 to 3 of 3"
    assert record.time_left(87.0) == TimeLeft(8 * 2.0 + 3 * 40.0 - 15.0)
    assert record.time_left(987.0) == TimeLeft(8 * 2.0 + 2 * 40.0, about=True)


def test_no_time_is_left_that_nobody_knows() -> None:
    plan = {"t": 1.0, "kind": "plan", "evaluation": {"evaluations": 2, "seconds": 60.0}}
    record = record_of({"t": 0.0, "kind": "started"}, plan, evaluated(0, 0.0, seconds=30.0))
    for event in paced(1, 20, 0.0):
        record.add(event)
    record.add({"t": 40.0, "kind": "phase", "name": "evaluating: answers 1 to 3 of 3"})
    assert record.time_left(50.0) == TimeLeft(20.0)
    assert record.time_left(90.0) is None  # it takes longer than the first one
    record.add(evaluated(20, 95.0, seconds=55.0))
    assert record.time_left(96.0) is None  # it is being saved


def test_evaluations_of_an_earlier_attempt_are_not_due_again() -> None:
    plan = {"t": 1.0, "kind": "plan", "evaluation": {"evaluations": 5, "seconds": 0.0}}
    record = record_of({"t": 0.0, "kind": "started"}, plan, *paced(1, 10, 0.0))
    for number in (0, 5, 10):
        record.add(evaluated(number, 21.0, seconds=10.0))
    record.add({"t": 100.0, "kind": "queued", "attempt": 2})
    record.add({"t": 100.0, "kind": "started"})
    record.add({"t": 101.0, "kind": "resumed", "step": 5})
    assert record.evaluations_due == 3
    for event in paced(6, 8, 100.0):
        record.add(event)
    assert record.time_left(116.0) == TimeLeft(12 * 2.0 + 3 * 10.0)


def test_a_step_after_the_last_phase_is_training() -> None:
    record = record_of({"t": 1.0, "kind": "phase", "name": "preparing the data"})
    assert record.activity == "preparing the data"
    record.add(paced(1, 1, 0.0)[0])
    assert record.activity == "training"


def test_a_lost_attempt_lived_until_it_was_last_heard_of() -> None:
    record = record_of(
        {"t": 100.0, "kind": "queued"},
        {"t": 100.0, "kind": "started"},
        *paced(1, 10, 100.0),
        {"t": 150.0, "kind": "phase", "name": "evaluating: answers 1 to 3 of 3"},
    )
    assert record.heard == 150.0 and record.elapsed(record.heard) == 50.0
    record.add({"t": 900.0, "kind": "queued", "attempt": 2})
    assert record.elapsed(950.0) == 50.0


def test_a_run_of_an_earlier_version_does_not_tell_its_tensors() -> None:
    """On a CPU it told the memory of the whole process."""
    record = record_of(step(1, memory_bytes=4_400_000_000))
    assert record.step == 1 and not record.curve("tensor_bytes")


def test_when_a_step_is_late_and_a_run_silent() -> None:
    assert not is_late(2.0, 4.0) and is_late(2.0, 4.1) and not is_late(None, 1e6)
    assert not is_stalled(2.0, 70.0) and is_stalled(2.0, 70.1) and not is_stalled(None, 1e6)


def test_the_reader_takes_whole_lines_and_waits_for_torn_ones(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    reader = RunReader(path)
    assert not reader.read()
    path.write_text(json.dumps(step(1)) + "\n" + '{"t": 1, "kind": "step", "st')
    assert reader.read() and reader.record.step == 1 and not reader.read()
    with path.open("a") as file:
        file.write(
            "\nno json\n"
            + json.dumps(step(2, loss="nan"))
            + "\n"
            + json.dumps(step(3)).replace('": ', '":')
            + "\n"
        )
    assert reader.read() and reader.record.step == 3 and reader.skipped == 2
    assert list(reader.record.curve("loss").steps) == [1, 3]


def test_what_is_read_in_bites_is_what_is_read_at_once(made_events: Path) -> None:
    at_once, in_bites = RunReader(made_events), RunReader(made_events)
    assert at_once.read(1 << 24)
    bites = 0
    while in_bites.read(700):
        bites += 1
    assert bites > 50 and at_once.record.curves.keys() == in_bites.record.curves.keys()
    for key, curve in at_once.record.curves.items():
        assert (
            curve.steps == in_bites.record.curves[key].steps
            and curve.values == in_bites.record.curves[key].values
        ), key
    assert at_once.record.moments == in_bites.record.moments


def test_a_bite_may_end_in_a_letter_of_several_bytes(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(
        json.dumps({"t": 1, "kind": "phase", "name": "wärmt auf ü"}, ensure_ascii=False) + "\n"
    )
    reader = RunReader(path)
    while reader.read(7):
        pass
    assert reader.record.phase == "wärmt auf ü" and reader.skipped == 0


# The log


def test_the_log_index_reads_lines_as_a_terminal_shows_them(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_bytes(b"first\r\n 10%\r 99%\r100%\n\x1b[32mgreen\x1b[0m\ttab\nunfin")
    index = LogIndex(path)
    assert index.extend() and len(index) == 4
    assert (
        index.lines(0, 4) == ["first", "100%", "green   tab", "unfin"] and index.lines(2, 2) == []
    )
    with path.open("ab") as file:
        file.write(b"ished\nnext\n")
    assert index.extend() and not index.extend()
    assert [index.line(3), index.line(4)] == ["unfinished", "next"] and len(index) == 5
    path.unlink()
    assert index.lines(0, 2) == ["", ""] and not index.extend()


def test_a_search_goes_round_and_finds_what_a_terminal_shows(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_bytes(
        b"".join(f"line {number}\n".encode() for number in range(2000))
        + b"\x1b[31mERROR\x1b[0m 7\nhalf an Err"
    )
    index = LogIndex(path)
    index.extend(1.0)
    search = LogSearch(index, "error")
    while not search.whole:
        search.extend()
    assert list(search.lines) == [2000]
    with path.open("ab") as file:
        file.write(b"or\n")
    index.extend(1.0)
    search.look_again_from(2001)
    search.extend(1.0)
    assert list(search.lines) == [2000, 2001] and search.places("half an Error") == [(8, 13)]
    assert [search.after(2000), search.after(2001), search.before(2000)] == [
        2001,
        2000,
        2001,
    ] and search.number_of(2001) == 2


def test_every_figure_of_a_step_is_in_the_table_of_figures() -> None:
    figures = {entry.name for entry in fields(Step)} - {"t", "step", "total"}
    assert {metric.key for metric in STEP_FIGURES} == figures
    assert COLUMNS == (
        "epoch",
        "tokens",
        "loss",
        "learning_rate",
        "grad_norm",
        "tokens_per_second",
        "tensor_bytes",
        "reward_margin",
        "reward_accuracy",
        "reward_chosen",
        "reward_rejected",
        "kl",
        "sample_length",
        "sample_stopped",
        "sampler_difference",
        "eval_loss",
    )


def test_a_step_without_a_time_counts_as_no_step(tmp_path: Path) -> None:
    lines = [b'{"kind": "step", "step": 1}', b'{"t": 5, "kind": "step", "step": 2, "loss": 1.5}']
    (tmp_path / "events.jsonl").write_bytes(b"\n".join([*lines, b""]))
    reader = RunReader(tmp_path / "events.jsonl")
    reader.read()
    assert (reader.skipped, reader.record.step) == (1, 2)
    assert list(reader.record.curve("loss").values) == [1.5]
