"""Slots: what a job must have to itself. A slot is a lock file; the supervisor of the job that has
it holds the lock.

A GPU may be shared by jobs whose specs all say so: each holds a lock of its own on the slot's file,
and its planned memory must be free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs import giving_way, queue
from jobs.gpus import Gpu, gpus, occupants
from jobs.home import home
from jobs.job import Job
from jobs.locks import Lock, holders
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from jobs.state import Running


@dataclass(frozen=True)
class Wait:
    """Why a job does not start yet, and how many waiting jobs stand before it. `in_the_way` are
    jobs that could give way to it at once."""

    waits_for: str
    ahead: int
    in_the_way: tuple[Job, ...] = ()


class SlotTaker:
    """For the supervisor of a job, which holds no slot so far."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._machine: dict[str, Gpu] = {}
        self._users: dict[str, str] = {}
        self._held: dict[str, list[tuple[int, bool]]] = {}
        self._room: dict[str, Gpu] = {}

    def take(self) -> list[Lock] | Wait:
        """All slots of the job at once, or the reason why not yet. The first waiting job whose
        slots are all free takes them."""
        if not self.job.spec.slots:
            return []
        (home() / "slots").mkdir(parents=True, exist_ok=True)
        self._look(giving_way.orders(self.job))
        with queue.locked():
            spec = giving_way.orders(self.job)  # it may have been edited
            self._held = {}
            self._room = {
                name: replace(gpu, free=gpu.free - self._claimed(name))
                for name, gpu in self._machine.items()
            }
            ahead: list[Spec] = []
            for other in queue.before(self.job):
                try:
                    other_spec = giving_way.orders(other)
                except LuthierError:  # damaged since the queue was read
                    continue
                if isinstance(self._free(other_spec, ahead), list):
                    return Wait(f"{other.short_id}, before it in the queue", len(ahead) + 1)
                ahead.append(other_spec)
            free = self._free(spec, ahead)
            if isinstance(free, str):
                return Wait(free, len(ahead), () if ahead else self._in_the_way(spec))
            for lock in free:
                lock.acquire(wait=True)  # free it is: slots are taken under the queue's lock only
            queue.leave(self.job)
            return free

    def _look(self, spec: Spec) -> None:
        """See which GPUs there are and what is free on them, before the queue is locked: it may
        take seconds.

        While jobs have all of them to themselves, nothing is asked.
        """
        if not any(name.startswith("gpu") for name in spec.slots):
            self._machine = {}
        elif not self._machine or not all(_owner(name) for name in self._machine):
            self._machine = {f"gpu-{gpu.index}": gpu for gpu in gpus()}
            full = [gpu for gpu in self._machine.values() if gpu.free < spec.gpu_bytes]
            self._users = {f"gpu-{gpu.index}": occupants(gpu.index) for gpu in full}

    def _free(self, spec: Spec, ahead: Sequence[Spec]) -> list[Lock] | str:
        """Locks of free slots that satisfy the spec, not yet taken, or what it waits for. `ahead`
        are the specs before it in the queue."""
        locks: dict[str, Lock] = {}
        machine = self._room if spec.share_gpu else self._machine
        by_room = (
            sorted(machine, key=lambda name: -machine[name].free)
            if spec.share_gpu
            else list(machine)
        )
        for slot in sorted(spec.slots, key=lambda name: name == "gpu"):  # named ones first
            reasons = []
            for name in (
                name for name in (by_room if slot == "gpu" else [slot]) if name not in locks
            ):
                reason = self._taken(name, spec, ahead) or self._too_little(name, machine, spec)
                if reason is None:
                    locks[name] = Lock(
                        _slot_path(name), shared=spec.share_gpu and name.startswith("gpu-")
                    )
                    break
                reasons.append(reason)
            else:
                return "; ".join(reasons) or "a GPU: nvidia-smi lists none"
        return list(locks.values())

    def _in_the_way(self, spec: Spec) -> tuple[Job, ...]:
        """The jobs that would have to give way for all slots of the spec to be free; none if others
        hold them, too."""
        holders: dict[str, Job] = {}
        free_slots: set[str] = set()
        for slot in sorted(spec.slots, key=lambda name: name == "gpu"):
            for name in (
                name
                for name in (self._machine if slot == "gpu" else [slot])
                if name not in free_slots
            ):
                held_by = taken_by([name])
                if all(job.spec.gives_way for job in held_by):
                    free_slots.add(name)
                    holders |= {job.id: job for job in held_by}
                    break
            else:
                return ()
        return tuple(holders.values())

    def _too_little(self, name: str, machine: Mapping[str, Gpu], spec: Spec) -> str | None:
        """What is missing on a GPU, and who uses it."""
        if name not in machine or machine[name].free >= spec.gpu_bytes:
            return None
        free = max(0.0, machine[name].free / 1e9)
        users = self._users.get(name, "jobs that are starting")
        return f"{spec.gpu_bytes / 1e9:.1f} GB on {name}: {free:.1f} GB are free beside {users}"

    def _holders(self, name: str) -> list[tuple[int, bool]]:
        """Who has a slot, looked up once a turn: one that comes free meanwhile would be taken for
        those before this job and free for it."""
        if name not in self._held:
            self._held[name] = holders(_slot_path(name))
        return self._held[name]

    def _taken(self, name: str, spec: Spec, ahead: Sequence[Spec]) -> str | None:
        """Who has the slot, or who is to have it to itself first; None if it can be had."""
        holders = self._holders(name)
        if not holders:
            return None
        if spec.share_gpu and name.startswith("gpu-") and all(shared for _, shared in holders):
            alone = next(
                (
                    other
                    for other in ahead
                    if not other.share_gpu and ("gpu" in other.slots or name in other.slots)
                ),
                None,
            )
            return (
                f"{alone.name}, before it in the queue, to have {name} to itself" if alone else None
            )
        names = " and ".join(_job_of(pid) for pid, _ in holders)
        return f"{names} on {'the CPU' if name == 'cpu' else name}"

    def _claimed(self, name: str) -> int:
        """What the sharing jobs on a GPU that have not made a step yet have not taken but will, in
        bytes."""
        sharing = [_supervised(pid) for pid, shared in self._holders(name) if shared]
        return sum(
            job.spec.gpu_bytes
            for job in sharing
            if job is not None and not isinstance(job.state(), Running)
        )


def slot_names(locks: Sequence[Lock]) -> list[str]:
    return [lock.path.stem for lock in locks]


def taken_by(names: Sequence[str]) -> list[Job]:
    """The jobs that have one of these slots. Not to be asked by the supervisor of one of them."""
    pids = {pid for name in names for pid, _ in holders(_slot_path(name))}
    return [job for pid in sorted(pids) if (job := _supervised(pid)) is not None]


def _slot_path(name: str) -> Path:
    return home() / "slots" / f"{name}.lock"


def _owner(name: str) -> int | None:
    """The supervisor that has a slot to itself."""
    return next((pid for pid, shared in holders(_slot_path(name)) if not shared), None)


def _supervised(supervisor: int) -> Job | None:
    """The job of a supervisor, by its command line."""
    try:
        arguments = Path(f"/proc/{supervisor}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    return Job(Path(arguments[-2].decode(errors="replace"))) if len(arguments) > 1 else None


def _job_of(supervisor: int) -> str:
    job = _supervised(supervisor)
    return job.short_id if job is not None else f"process {supervisor}"
