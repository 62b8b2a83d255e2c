"""The schema of events: every kind is read as it was written, old files are read, and nothing odd
raises."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs import event_kinds
from jobs import job as jobs
from jobs.event_kinds import as_kind, kind_name
from jobs.events import Follower
from jobs.spec import Spec
from jobs.state import derive
from jobs.worker import WorkerContext
from models import events
from models.events import KINDS, Known, kind_of, tell, tell_more, typed
from tools.event_page import PAGE, page
from trainer.plan.compute import Compute
from trainer.plan.plan import Plan
from tui.commands.events import event_line
from tui.commands.progress import JobMeter
from workshop.runs.record import RunRecord

EXAMPLES: list[Known] = [
    events.Queued(attempt=2),
    events.Waiting("gpu-0", ["20261122-1530-captain-7f3a"]),
    events.AskedToSleep("20261122-1530-captain-7f3a"),
    events.Started(5, 4, ["python"], ["gpu-0"]),
    events.Phase("loading", seconds_left=3.0, done=1.0, total=2.0, unit="bytes", port=8000),
    events.Step(step=1, total=9, epoch=0.1, loss="nan", learning_rate=1e-4, tokens=5.0),
    events.StopRequested(grace_seconds=60.0),
    events.Result(),
    events.Error("T", "m", "h"),
    events.Exited(code=-9, stopped=True, swept=3),
    events.ThenFailed("captain", "why"),
    events.Asleep(why="somebody asked for it", by="x", seconds=1.5, freed_bytes=5.0),
    events.Waking(),
    events.Awake(seconds=2.5),
    events.SlotsFreed(["gpu-0"]),
    events.SlotsTaken(["gpu-0"]),
    events.Plan(model="builtin", steps=9, epochs=1.5, global_batch=8, memory={"weights": 5.0}),
    events.Data(train=5, heldout=2, ledger=events.Ledger(rows={"kept": 7}, total_rows=7)),
    events.Template(strategy="once", stop_ids=[2], checks=[events.Check("stop", "ok", "")]),
    events.Calibrated(micro_batch=2, tokens=99, predicted=1.0, measured=2.0, room=3.0),
    events.Trials(chosen="float8", seconds=2.0, contenders=[events.Tried(settings="float8")]),
    events.Eval(step=5, epoch=1.0, loss=1.25, metrics={"bleu": "nan"}, seconds=2.0),
    events.Sample(step=5, index=1, prompt="p", reference="r", answer="a", complete=True),
    events.Checkpoint(step=5, path="checkpoints/step-000005", reason="regular", best=True),
    events.CheckpointRemoved(step=5),
    events.EarlyStop(step=5, reason="no loss better"),
    events.WeightSync(
        step=5, sampler="x", trained="a", sampled="a", tokens=9, difference=0.01, bound=0.05
    ),
    events.Resumed(step=5, checkpoint="x", forced=True, differences=["data"]),
    events.PauseRequested(),
    events.CancelRequested(),
    events.Repair(step=5, what="micro_batch", reason="full", micro_batch=1, accumulation=8),
    events.SleepRefused(by="x", message="why"),
    events.Adapter(name="pirate", path="/x", ok=False, message="why"),
    events.Restart(number=1, most=3, reason="it ended", seconds=5.0),
    events.ModelWarning(message="no pad token"),
]
EARLIER: list[dict[str, Any]] = [
    {"kind": "queued"},
    {"kind": "started", "pid": 5, "shim": 4, "argv": ["python"]},
    {"kind": "phase", "name": "ready", "port": 8000},
    {"kind": "step", "step": 3, "total": 9, "loss": 1, "memory_bytes": None},
    {"kind": "eval", "step": 3, "epoch": 1, "loss": None, "metrics": {}},
    {"kind": "sample", "step": 3, "prompt": "p", "reference": None, "answer": "a"},
    {"kind": "checkpoint", "step": 3, "path": "checkpoints/step-000003"},
    {"kind": "repair", "step": 3, "what": "micro_batch", "micro_batch": 1, "reason": "full"},
    {"kind": "resumed", "step": 3, "checkpoint": "x"},
    {"kind": "data", "train": 5, "heldout": 0, "tokens": 9, "ledger": {"rows": {"kept": 5}}},
    {"kind": "template", "strategy": "once", "checks": [{"name": "a", "status": "ok"}]},
    {"kind": "plan", "steps": 9, "epochs": 3, "global_batch": 8, "slots": ["cpu"]},
    {"kind": "asleep", "by": "", "why": "x", "seconds": 1, "freed_bytes": 0},
    {"kind": "exited", "code": 0, "stopped": False},
    {"kind": "result", "adapter": "x", "loss": 1.0},
    {"kind": "error", "title": "T", "message": "m", "hint": None},
]


@pytest.fixture
def context() -> WorkerContext:
    return WorkerContext(jobs.create(Spec("run", "captain", "m")))


def without_time(event: Known | dict[str, Any]) -> Any:
    assert not isinstance(event, dict)
    fields = msgspec.to_builtins(event)
    return type(event), {name: fields[name] for name in fields if name != "t"}


def test_every_kind_is_read_as_it_was_written(context: WorkerContext) -> None:
    assert {kind_of(type(event)) for event in EXAMPLES} == set(KINDS)
    for event in EXAMPLES:
        tell(context, event)
    lines = Follower(context.job.events_path).read()
    assert [without_time(typed(line)) for line in lines] == [
        without_time(event) for event in EXAMPLES
    ]
    assert all(line["t"] > 0 for line in lines)


def test_a_metric_that_is_no_number_is_written_as_its_name(context: WorkerContext) -> None:
    tell(context, events.Eval(step=1, metrics={"bleu": float("nan")}))
    (line,) = Follower(context.job.events_path).read()
    assert line["metrics"] == {"bleu": "nan"}


@pytest.mark.parametrize("event", EARLIER, ids=lambda event: event["kind"])
def test_what_earlier_versions_wrote_is_of_its_kind(event: dict[str, Any]) -> None:
    assert kind_of(type(typed({"t": 1.0, **event}))) == event["kind"]


def test_a_plan_has_the_fields_that_its_event_names(context: WorkerContext) -> None:
    plan = Plan("builtin", "/m", "cpu", "trl", Compute(), 9, 1, 8, 1.0, 5, ["cpu"])
    tell_more(context, events.Plan, plan.to_json())
    (line,) = Follower(context.job.events_path).read()
    plan_told = typed(line)
    assert isinstance(plan_told, events.Plan) and (plan_told.engine, plan_told.steps) == ("trl", 5)
    assert {"t", "kind", *plan.to_json()} == set(line)
    assert {entry.name for entry in msgspec.structs.fields(events.Plan)} - {"t"} <= set(line)


def test_a_step_of_the_jobs_layer_is_the_same_step() -> None:
    line = {"t": 1.0, "kind": "step", "step": 3, "total": 9, "loss": 1.5}
    step = typed(line)
    counted = as_kind(line, event_kinds.Step)
    assert isinstance(step, events.Step) and counted is not None
    assert (step.step, step.total) == (counted.step, counted.total) == (3, 9)
    assert kind_name(events.Step.__name__) == kind_name(type(counted).__name__)


FIELDS = sorted({name for kind in KINDS.values() for name in kind.__annotations__} - {"t"})
_SINGLE = [None, True, "", "nan", "abc", 3, -(10**25), 10**400, 0.5, 1e300]
_NESTED = [[], [1], ["a"], [{}], {}, {"a": 1}, {"a": "b"}, {"rows": {"kept": 1}}, {"rows": [1]}]
VALUES = st.sampled_from([*_SINGLE, *_NESTED])
ODD = st.builds(
    lambda kind, fields: {"t": 5.0, "kind": kind, **fields},
    st.sampled_from([*KINDS, "new"]),
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4),
)


@given(st.lists(ODD, max_size=4))
@example([{"t": 5.0, "kind": "result", "loss": 10**400, "steps": 3, "seconds": 1}])
def test_no_reader_trips_over_odd_fields(lines: list[dict[str, Any]]) -> None:
    record, meter = RunRecord(), JobMeter()
    for line in lines:
        read = typed(line)
        assert isinstance(read, dict) == (read is line)
        record.add(line)
        meter.take(line)
        event_line(line)
    for locked in (True, False):
        derive("", locked, lines, 0.0, 10.0)


def test_the_page_of_the_events_is_what_the_types_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python tools/event_page.py"
