"""Every row of the state table, and the events that a state is told from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.events import EventLog, Follower, last_attempt, parse_line
from jobs.spec import JOB_ID, new_id, slug
from jobs.state import (
    Done,
    Failed,
    Lost,
    Queued,
    Running,
    Starting,
    Stopped,
    Stopping,
    derive,
    word,
)


def event(kind: str, t: float = 100.0, **fields: Any) -> dict[str, Any]:
    return {"t": t, "kind": kind, **fields}


QUEUED, STARTED = event("queued", 10.0, attempt=1), event("started", 11.0, pid=5, shim=4)
STEP = event("step", 20.0, step=3, total=9)

HELD = [
    ([], Queued(since=1.0)),
    ([QUEUED], Queued(since=10.0)),
    ([QUEUED, event("waiting", waits_for="gpu-0")], Queued(since=10.0, waits_for="gpu-0")),
    ([QUEUED, STARTED], Starting(since=11.0, phase="starting")),
    ([QUEUED, STARTED, event("phase", name="loading")], Starting(since=11.0, phase="loading")),
    (
        [QUEUED, STARTED, event("phase", name="training"), STEP],
        Running(since=11.0, step=3, total=9),
    ),
    ([QUEUED, STARTED, STEP, event("phase", name="saving")], Running(since=11.0, step=3, total=9)),
    ([QUEUED, STARTED, STEP, event("stop_requested", 30.0)], Stopping(since=30.0)),
    ([QUEUED, STARTED, STEP, event("stop_requested", 30.0), STEP], Stopping(since=30.0)),
    (
        [QUEUED, STARTED, STEP, event("result"), event("exited", code=0)],
        Running(since=11.0, step=3, total=9),
    ),
    (
        [QUEUED, STARTED, STEP, event("exited", code=0), event("then_failed")],
        Running(since=11.0, step=3, total=9),
    ),
]

FREE = [
    ([], Lost(at=1.0)),
    ([QUEUED], Lost(at=10.0, waited=True)),
    ([QUEUED, event("waiting", 12.0, waits_for="gpu-0")], Lost(at=12.0, waited=True)),
    ([QUEUED, STARTED], Lost(at=11.0)),
    ([QUEUED, event("phase", 12.0, name="loading")], Lost(at=12.0)),
    ([QUEUED, event("stop_requested", 12.0)], Lost(at=12.0)),
    ([QUEUED, STARTED, STEP], Lost(at=20.0)),
    (
        [QUEUED, STARTED, event("result", loss=1.5), event("exited", code=0)],
        Done(at=100.0, result={"loss": 1.5}),
    ),
    (
        [QUEUED, STARTED, event("stop_requested"), event("exited", code=0, stopped=True)],
        Stopped(at=100.0),
    ),
    (
        [QUEUED, STARTED, event("stop_requested"), event("exited", code=-9, stopped=True)],
        Stopped(at=100.0),
    ),
    (
        [
            QUEUED,
            STARTED,
            event("result"),
            event("stop_requested"),
            event("exited", code=0, stopped=True),
        ],
        Done(at=100.0, result={}),
    ),
    (
        [
            QUEUED,
            STARTED,
            event("error", title="T", message="m", hint="h"),
            event("exited", code=1),
        ],
        Failed(100.0, 1, "T", "m", "h"),
    ),
    (
        [
            QUEUED,
            STARTED,
            event("stop_requested"),
            event("error", title="T", message="m", hint="h"),
            event("exited", code=1, stopped=True),
        ],
        Failed(100.0, 1, "T", "m", "h"),
    ),
]


@pytest.mark.parametrize(("events", "expected"), HELD)
def test_state_while_the_lock_is_held(events: list[dict[str, Any]], expected: object) -> None:
    assert derive("", True, events, created=1.0, now=200.0) == expected


@pytest.mark.parametrize(("events", "expected"), FREE)
def test_state_when_nobody_holds_the_lock(events: list[dict[str, Any]], expected: object) -> None:
    assert derive("", False, events, created=1.0, now=200.0) == expected


@pytest.mark.parametrize(
    ("code", "title"),
    [(3, "Exit status 3"), (-9, "Killed by SIGKILL"), (0, "Ended without a result")],
)
def test_an_end_without_an_error_event_tells_the_last_words(code: int, title: str) -> None:
    state = derive(
        "", False, [QUEUED, STARTED, event("exited", code=code)], 1.0, 200.0, ["one", "two"]
    )
    assert isinstance(state, Failed)
    assert (state.title, state.message, state.code) == (title, "one\ntwo", code)


def test_a_young_job_without_supervisor_is_queued() -> None:
    assert derive("", False, [], created=195.0, now=200.0) == Queued(since=195.0)


@pytest.mark.parametrize("now", [1_000.0, 100_000.0])
def test_a_clock_that_was_set_back_leaves_no_job_queued_for_ever(now: float) -> None:
    assert derive("", False, [], created=50_000.0, now=now) == Lost(at=50_000.0)


def test_the_order_of_events_counts_not_their_times() -> None:
    events = [
        event("queued", 300.0),
        event("started", 200.0),
        event("step", 100.0, step=1, total=2),
    ]
    assert derive("", True, events, 1.0, 50.0) == Running(since=200.0, step=1, total=2)
    assert derive(
        "", False, [*events, event("result", 90.0), event("exited", 80.0, code=0)], 1.0, 50.0
    ) == Done(at=80.0, result={})


def test_a_server_runs_from_ready_on() -> None:
    loading, ready = event("phase", name="loading"), event("phase", name="ready")
    assert word(derive("ready", True, [QUEUED, STARTED, loading], 1.0, 200.0)) == "starting"
    assert word(derive("ready", True, [QUEUED, STARTED, loading, ready], 1.0, 200.0)) == "running"


def test_only_the_last_attempt_counts(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    for kind in ("queued", "started", "error", "exited", "queued", "started"):
        log.append(kind)
    assert [found["kind"] for found in last_attempt(log.path)] == ["queued", "started"]


def test_the_last_attempt_of_a_long_file_is_read_from_its_end(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.append("queued")
    for step in range(20_000):
        log.append("step", step=step, total=20_000)
    log.append("exited", code=0)
    events = last_attempt(log.path)
    assert [event["step"] for event in events[:-1]] == [*range(19_950, 20_000)]
    assert events[-1]["kind"] == "exited"


def test_a_server_that_has_loaded_a_thousand_adapters_still_runs(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.append("queued")
    log.append("phase", name="ready")
    for number in range(1000):
        log.append(
            "adapter",
            name=f"adapter-{number}",
            path=f"/home/somebody/adapters/adapter-{number}",
            ok=True,
            message="",
        )
    assert log.path.stat().st_size > 100_000
    assert isinstance(derive("ready", True, last_attempt(log.path), 0.0, 1.0), Running)


@given(
    st.lists(st.one_of(st.binary(max_size=60), st.just(b'{"t": 1, "kind": "step"}')), max_size=20),
    st.data(),
)
def test_a_follower_reads_every_whole_event_once_wherever_the_writes_are_cut(
    lines: list[bytes], data: st.DataObject
) -> None:
    import tempfile

    content = b"".join(line.replace(b"\n", b" ") + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=5)))
    expected = [
        found
        for line in content.splitlines(keepends=True)
        if (found := parse_line(line)) is not None
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        follower, seen = Follower(path), []
        for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
            with path.open("ab") as file:
                file.write(content[start:end])
            seen += follower.read(max_seconds=60)
        assert seen + follower.read(max_seconds=60) == expected


def test_a_torn_line_is_ended_first_and_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"t": 1, "kind": "queued"}\n{"t": 2, "kind": "st')
    EventLog(path).append("exited", code=0, loss=float("nan"))
    follower = Follower(path)
    assert [found["kind"] for found in follower.read()] == ["queued", "exited"]
    assert follower.skipped == 1


def test_a_follower_reads_in_bounded_bites(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    for step in range(250):
        log.append("step", step=step)
    follower = Follower(log.path)
    assert [len(follower.read(max_records=100, max_seconds=60)) for _ in range(4)] == [
        100,
        100,
        50,
        0,
    ]


@given(st.text(max_size=80))  # an id takes 40 of it
def test_every_name_gives_an_id_that_is_safe_as_a_folder(name: str) -> None:
    assert JOB_ID.fullmatch(new_id(name))
    assert slug(slug(name)) == slug(name)
