"""GPU slots, with an nvidia-smi that says what the test wants."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs import job as jobs
from jobs import locks, queue, slots
from jobs.job import Job
from jobs.state import Done, Queued, Running
from tests.jobs.acting import ended, in_state, spec, wait_for

pytestmark = pytest.mark.heavy

GIB = 1 << 30


class Machine:
    """GPUs of 80 GB, and what is free on each, in MiB."""

    def __init__(self, folder: Path) -> None:
        self._free = folder / "free"
        program = folder / "nvidia-smi"
        program.write_text(
            "#!/bin/sh\ncase \"$1\" in *compute*) echo '812, /usr/bin/python, 70000';; *) cat"
            f" {self._free};; esac\n"
        )
        program.chmod(0o755)

    def has(self, *free: int) -> None:
        self._free.write_text(
            "".join(f"{index}, H, 80000, {each}\n" for index, each in enumerate(free))
        )


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Machine(tmp_path)


def started(
    conduct: str = "steps", slots: str = "gpu", gigabytes: int = 20, share: bool = False
) -> Job:
    return jobs.submit(spec(conduct, slots=[slots], gpu_bytes=gigabytes * GIB, share_gpu=share))


def gpus_of(job: Job) -> list[str]:
    in_state(job, Running, Done)
    slots: list[str] = next(event["slots"] for event in job.events() if event["kind"] == "started")
    return slots


def waits_for(job: Job) -> str:
    return str(wait_for(lambda: isinstance(state := job.state(), Queued) and state.waits_for))


def test_a_gpu_without_enough_memory_counts_as_taken_and_the_one_it_has_is_all_it_sees(
    machine: Machine,
) -> None:
    machine.has(1000, 79_000)
    state = ended(started("well"))
    assert isinstance(state, Done) and state.result["gpus"] == "1"
    assert (
        waits_for(started(slots="gpu-0"))
        == "21.5 GB on gpu-0: 1.0 GB are free beside python (pid 812, 68.4 GB)"
    )


def test_a_job_of_several_gpus_has_them_all_at_once(machine: Machine) -> None:
    machine.has(79_000, 79_000, 79_000)
    state = ended(jobs.submit(spec("well", slots=["gpu", "gpu"], gpu_bytes=20 * GIB)))
    assert isinstance(state, Done) and state.result["gpus"] == "0,1"
    first = started()
    assert gpus_of(first) == ["gpu-0"]
    assert gpus_of(jobs.submit(spec("steps", slots=["gpu", "gpu"], gpu_bytes=20 * GIB))) == [
        "gpu-1",
        "gpu-2",
    ]
    waiting = jobs.submit(spec("steps", slots=["gpu", "gpu"], gpu_bytes=20 * GIB))
    assert "on gpu-0" in waits_for(waiting)


def test_a_job_starts_when_memory_comes_free(machine: Machine) -> None:
    machine.has(1000)
    job = started()
    waits_for(job)
    machine.has(60_000)
    in_state(job, Running)


def test_without_a_gpu_the_job_says_so() -> None:
    assert waits_for(started()) == "a GPU: nvidia-smi lists none"


def test_one_job_a_gpu(machine: Machine) -> None:
    machine.has(79_000, 79_000)
    first, second, third = started(), started(), started()
    assert {*gpus_of(first), *gpus_of(second)} == {"gpu-0", "gpu-1"}
    names = {job.short_id for job in (first, second)}
    told = waits_for(third)
    assert all(name in told for name in names) and "on gpu-0" in told and "on gpu-1" in told


def test_jobs_that_may_share_do_and_others_do_not(machine: Machine) -> None:
    machine.has(79_000)
    first, second = started(share=True), started(share=True)
    assert gpus_of(first) == gpus_of(second) == ["gpu-0"]
    alone = started()
    told = waits_for(alone)
    assert first.short_id in told and second.short_id in told and "on gpu-0" in told
    late = started(share=True)  # would keep the one before it waiting for ever
    assert "to have gpu-0 to itself" in waits_for(late)
    for job in (first, second):
        jobs.stop(job)
    in_state(alone, Running)
    assert alone.short_id in wait_for(lambda: alone.short_id in waits_for(late) and waits_for(late))


def test_a_gpu_that_comes_free_while_a_job_looks_goes_to_the_one_before_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.has(79_000)
    first = started(share=True)
    in_state(first, Running)
    alone = started()
    waits_for(alone)
    late = jobs.create(spec("steps", slots=["gpu"], gpu_bytes=20 * GIB, share_gpu=True))
    queue.enter(late)
    looks: list[Path] = []

    def looked(path: Path) -> list[tuple[int, bool]]:
        found = locks.holders(path)
        if not looks:
            jobs.stop(first)
            ended(first)
        looks.append(path)
        return found

    monkeypatch.setattr(slots, "holders", looked)
    taken = slots.SlotTaker(late).take()
    assert taken == slots.Wait("steps, before it in the queue, to have gpu-0 to itself", 1)
    in_state(alone, Running)


def test_a_job_that_may_share_does_not_join_one_that_may_not(machine: Machine) -> None:
    machine.has(79_000)
    alone = started()
    in_state(alone, Running)
    assert waits_for(started(share=True)) == f"{alone.short_id} on gpu-0"


def test_memory_that_a_sharing_job_has_not_taken_yet_is_not_given_twice(machine: Machine) -> None:
    machine.has(60_000)
    first = started("starting", gigabytes=40, share=True)
    wait_for(lambda: first.order is None)
    second = started(gigabytes=40, share=True)
    assert waits_for(second).startswith("42.9 GB on gpu-0: 20.0 GB are free")
    jobs.stop(first)
    in_state(second, Running)


def test_a_job_that_may_share_takes_the_gpu_with_most_room(machine: Machine) -> None:
    machine.has(30_000, 70_000)
    assert gpus_of(started(share=True)) == ["gpu-1"]
