"""What others may have written: one reader, one error, and a job's folder that stands alone."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import events as job_events
from jobs import foreign_json
from jobs import job as jobs
from jobs.events import EventLog, Follower, last_attempt, parse_line
from jobs.foreign_json import Damaged
from jobs.home import jobs_directory
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.queue import left_waiting, waiting
from jobs.spec import Spec
from jobs.state import Done, Failed, Running, Starting, derive
from models.events import typed

DEEP = b"[" * 100_000 + b"]" * 100_000
SPEC = {"kind": "run", "name": "captain", "module": "m", "settings": {"model": "builtin"}}

BROKEN = {
    "nested too deeply": DEEP,
    "not UTF-8": b'{"a": "\xff"}',
    "not JSON": b'{"a": ',
    "not JSON (NaN": b'{"a": NaN}',
    "not JSON (the number": b'{"a": 1e400}',
    "appears twice": b'{"a": 1, "a": 2}',
    "a list, not an object": b"[1]",
    "null, not an object": b"null",
    "not JSON (Exceeds": b'{"a": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("reason", BROKEN)
def test_whatever_is_wrong_is_one_error_that_says_why(reason: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(BROKEN[reason])
    with pytest.raises(Damaged, match=r"x\.json") as caught:
        foreign_json.read_object(path)
    assert reason in caught.value.reason


@given(st.binary(max_size=64))
def test_no_bytes_end_in_another_error(data: bytes) -> None:
    for lenient in (False, True):
        with suppress(Damaged):
            foreign_json.decode_object(data, "x", lenient=lenient)


def test_what_other_libraries_write_is_read_as_they_do() -> None:
    value = foreign_json.decode_object(
        b'\xef\xbb\xbf{"limit": [0.0, Infinity], "a": 1, "a": 2}', "config.json", lenient=True
    )
    assert value == {"limit": [0.0, float("inf")], "a": 2}


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(Damaged, match=r"not a file|directory"):
            foreign_json.read(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        foreign_json.read(tmp_path / "nothing")


def folder(name: str, **files: Any) -> Job:
    directory = jobs_directory() / name
    directory.mkdir(parents=True)
    for file, content in files.items():
        path = directory / {"spec": "spec.json", "events": "events.jsonl"}.get(file, file)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return Job(directory)


WRONG_SPECS = {
    "kind is text, not one of": {**SPEC, "kind": "dance"},
    "name is a list, not text": {**SPEC, "name": []},
    "settings is a list, not an object": {**SPEC, "settings": [1]},
    "settings: model is a list, not text": {**SPEC, "settings": {"model": []}},
    "sweep: number is null": {**SPEC, "settings": {"sweep": {"id": "a", "name": "b"}}},
    "slots is text, not a list of": {**SPEC, "slots": "gpu"},
    "gpu_bytes is a number, not an integer": {**SPEC, "gpu_bytes": 0.5},
    "grace_seconds is text, not a number": {**SPEC, "grace_seconds": "long"},
    "share_gpu is an integer, not true or false": {**SPEC, "share_gpu": 1},
    "then is a list, not a list of": {**SPEC, "then": [1]},
    "it lacks name, module": {"kind": "run"},
    "'x' is not a known key": {**SPEC, "x": 1},
    "it is nested too deeply": DEEP,
    "it is not JSON": b"",
}


@pytest.mark.parametrize("why", WRONG_SPECS)
def test_a_damaged_spec_takes_no_other_job_down(why: str) -> None:
    good = folder("20261122-1530-good-7f3a", spec=SPEC)
    damaged = folder("20261122-1531-damaged-7f3a", spec=WRONG_SPECS[why])
    assert [job.id for job in jobs.all_jobs()] == [good.id]
    (found,) = jobs.damaged_jobs()
    assert found.id == damaged.id and found.why.startswith(f"spec.json: {why}")
    assert jobs.find("7f3a").id == good.id and waiting() == [] and left_waiting() == []
    with pytest.raises(Damaged, match="luthier remove 20261122-1531-damaged-7f3a") as caught:
        jobs.find("damaged")
    assert str(damaged.directory) in str(caught.value)
    jobs.remove(jobs.find_folder("damaged"))
    assert jobs.damaged_jobs() == [] and not damaged.directory.exists()


def test_other_damage_of_a_folder() -> None:
    """A name that is too long, folders where files should be, no spec: each is told."""
    folder(f"20261122-1530-{'x' * 60}-7f3a", spec=SPEC)
    for number, name in enumerate(("lock", "events.jsonl", "output.log", "order")):
        job = folder(f"20261122-154{number}-odd-7f3a", spec=SPEC)
        (job.directory / name).mkdir()
    young = folder("20261122-1550-young-7f3a")
    old = folder("20261122-1551-old-7f3a")
    os.utime(old.directory, (time.time() - 60, time.time() - 60))
    (jobs_directory() / ".removing-x").mkdir()
    (jobs_directory() / "notes").mkdir()  # somebody's own
    whys = [found.why for found in jobs.damaged_jobs()]
    assert whys == [
        "its name is not a job id",
        "lock is not a file",
        "events.jsonl is not a file",
        "output.log is not a file",
        "order is not a file",
        "it has no spec.json",
    ]
    assert jobs.all_jobs() == [] and young.directory.exists()
    for found in jobs.damaged_jobs():
        jobs.remove(found.job)
    assert jobs.damaged_jobs() == []


def test_a_setting_that_is_missing_is_damage() -> None:
    job = folder("20261122-1530-good-7f3a", spec=SPEC)
    with pytest.raises(LuthierError, match="model_directory is missing"):
        job.spec.settings["model_directory"]


def test_a_spec_is_read_as_it_was_written(tmp_path: Path) -> None:
    spec = Spec(
        "run",
        "mine \udce9",
        "m",
        settings={"data": "mine \udce9.jsonl"},
        then=[{"kind": "certify"}],
    )
    spec.write(tmp_path)
    assert Spec.read(tmp_path) == spec


EARLIER = {
    ("import", "trainer.data.worker"): ("inspect", "", False, ""),
    ("import", "models.builtin_worker"): ("prepare", "", False, ""),
    ("import", "models.import_worker"): ("import", "", False, ""),
    ("run", "trainer.worker"): ("run", "asks", True, ""),
    ("server", "serve.worker"): ("server", "never", False, "ready"),
    ("certify", "serve.certificate.worker"): ("certify", "", False, ""),
}


@pytest.mark.parametrize(("kind", "module"), EARLIER)
def test_orders_of_earlier_versions_say_what_their_kind_meant(
    kind: str, module: str, tmp_path: Path
) -> None:
    orders = {"kind": kind, "name": "captain", "module": module}
    (tmp_path / "spec.json").write_text(json.dumps(orders))
    spec = Spec.read(tmp_path)
    assert (spec.kind, spec.preempts, spec.before_resting, spec.ready_phase) == EARLIER[
        kind, module
    ]
    assert Spec.of(orders, "what follows") == spec
    spec.write(tmp_path)
    assert Spec.read(tmp_path) == spec


def test_what_the_orders_say_stands_before_what_their_kind_meant() -> None:
    orders = {"kind": "run", "name": "x", "module": "m", "preempts": "never"}
    assert Spec.of(orders, "orders").preempts == "never"


ODD_EVENTS = [
    b'{"t": 1e400, "kind": "step", "step": 1}',
    b'{"t": NaN, "kind": "step", "step": 1}',
    b'{"t": true, "kind": "step", "step": 1}',
    b'{"t": 1e300, "kind": "started"}',
    b'{"t": -5, "kind": "started"}',
    b'{"t": 1, "kind": ["step"]}',
    b'{"t": ' + b"9" * 400 + b', "kind": "started"}',
    b'{"kind": "started"}',
    b'{"t": 1, "kind": "new", "x": ' + DEEP + b"}",
    b"\xff",
    b"[]",
]
ODD_FIELDS = [
    b'{"t": 1, "kind": "step", "step": "abc"}',
    b'{"t": 1, "kind": "step"}',
    b'{"t": 1, "kind": "step", "step": 1, "total": []}',
    b'{"t": 1, "kind": "data", "ledger": {"rows": [1]}}',
    b'{"t": 1, "kind": "data", "ledger": {"rows": {"kept": "many"}}}',
    b'{"t": 1, "kind": "phase"}',
    b'{"t": 1, "kind": "phase", "name": 5}',
    b'{"t": 1, "kind": "waiting", "waits_for": null}',
    b'{"t": 1, "kind": "exited", "code": "1"}',
    b'{"t": 1, "kind": "error", "title": ["x"]}',
]


def whole_events(path: Path, line: bytes) -> list[dict[str, Any]]:
    """Write events that tell a state, then the line."""
    whole: list[dict[str, Any]] = [
        {"t": 1, "kind": "queued"},
        {"t": 2, "kind": "started"},
        {"t": 3, "kind": "step", "step": 4, "total": 9, "loss": "nan"},
    ]
    path.write_bytes(b"\n".join([*(json.dumps(event).encode() for event in whole), line, b""]))
    return whole


def check_state(events: Path) -> None:
    assert derive("", True, last_attempt(events), 0.0, 10.0) == Running(since=2, step=4, total=9)
    assert not isinstance(derive("", False, last_attempt(events), 0.0, 10.0), Done)


@pytest.mark.parametrize("line", ODD_EVENTS, ids=range(len(ODD_EVENTS)))
def test_an_odd_event_counts_as_none_and_the_state_is_told_by_the_others(
    line: bytes, tmp_path: Path
) -> None:
    assert parse_line(line) is None
    events = tmp_path / "events.jsonl"
    whole = whole_events(events, line)
    follower = Follower(events)
    assert follower.read() == whole and follower.skipped == 1
    check_state(events)


@pytest.mark.parametrize("line", ODD_FIELDS, ids=range(len(ODD_FIELDS)))
def test_an_event_with_odd_fields_is_of_no_kind_and_passes(line: bytes, tmp_path: Path) -> None:
    odd = json.loads(line)
    assert typed(odd) == odd
    events = tmp_path / "events.jsonl"
    whole = whole_events(events, line)
    follower = Follower(events)
    assert follower.read() == [*whole, odd] and follower.skipped == 0
    check_state(events)


@pytest.mark.parametrize("loss", ["[1]", '"abc"'])
def test_a_step_with_an_odd_figure_still_tells_how_far_the_job_is(
    loss: str, tmp_path: Path
) -> None:
    line = f'{{"t": 4, "kind": "step", "step": 5, "total": 9, "loss": {loss}}}'.encode()
    assert typed(json.loads(line)) == json.loads(line)
    events = tmp_path / "events.jsonl"
    whole_events(events, line)
    assert derive("", True, last_attempt(events), 0.0, 10.0) == Running(since=2, step=5, total=9)


def test_kinds_of_later_versions_pass() -> None:
    event = {"t": 1, "kind": "new", "step": "abc"}
    assert parse_line(json.dumps(event).encode()) == event


def test_an_odd_signal_is_told() -> None:
    state = derive("", False, [{"t": 1, "kind": "exited", "code": -200}], 0.0, 10.0)
    assert isinstance(state, Failed) and state.title == "Killed by signal 200"


def test_events_without_progress_are_looked_at_in_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It read the whole file: 1.9 GB of one that was as large."""
    path = tmp_path / "events.jsonl"
    with path.open("wb") as file:
        file.write(
            b'{"t": 1, "kind": "queued", "attempt": 1}\n{"t": 2, "kind": "started", "pid": 1}\n'
        )
        file.writelines(
            b'{"t": 3, "kind": "note", "text": "%s"}\n' % (b"x" * 1000) for _ in range(8000)
        )
    read: list[int] = []
    parse = job_events.parse_line

    def counted(line: bytes) -> job_events.Event | None:
        read.append(len(line))
        return parse(line)

    monkeypatch.setattr(job_events, "parse_line", counted)
    state = derive("", True, last_attempt(path), 0.0, 10.0)
    assert state == Starting(since=2, phase="starting")
    assert sum(read) < 2_500_000 < path.stat().st_size


def test_a_name_of_bytes_that_are_no_text_is_written_and_read(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.append("error", title="No such file", message=os.fsdecode(b"mine \xe9.jsonl"))
    log.close()
    (event,) = Follower(tmp_path / "events.jsonl").read()
    assert os.fsencode(event["message"]) == b"mine \xe9.jsonl"
