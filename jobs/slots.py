"""Slots: what a job must have to itself. A slot is a lock file; the supervisor of the job that has it holds the lock."""

from __future__ import annotations

from pathlib import Path

from jobs.gpus import gpus, occupants
from jobs.home import home
from jobs.job import Job, all_jobs
from jobs.locks import Lock, holder
from jobs.spec import Spec
from jobs.state import Queued


def take(job: Job) -> list[Lock] | str:
    """All slots of a waiting job at once, or the reason why not yet.

    Called by the job's supervisor, which holds no slot so far. The first waiting job whose slots are all free takes them.
    """
    if not job.spec.slots:
        return []
    (home() / "slots").mkdir(exist_ok=True)
    queue = Lock(home() / "queue.lock")
    queue.acquire(wait=True)
    try:
        for other in _waiting_before(job):
            if isinstance(_free_slots(other.spec), list):
                return f"{other.id}, which is first in the queue"
        free = _free_slots(job.spec)
        if isinstance(free, str):
            return free
        locks = [Lock(_slot_path(name)) for name in free]
        for lock in locks:
            lock.acquire()
        return locks
    finally:
        queue.release()


def slot_names(locks: list[Lock]) -> list[str]:
    return [lock.path.stem for lock in locks]


def _slot_path(name: str) -> Path:
    return home() / "slots" / f"{name}.lock"


def _waiting_before(job: Job) -> list[Job]:
    """The waiting jobs that come before this one, in the order of the queue."""
    place = (job.order, job.id)
    others = [other for other in all_jobs() if other.id != job.id and other.spec.slots and (other.order, other.id) < place]
    return sorted((other for other in others if isinstance(other.state(), Queued)), key=lambda other: (other.order, other.id))


def _free_slots(spec: Spec) -> list[str] | str:
    """Names of free slots that satisfy the spec, or what it waits for."""
    chosen: list[str] = []
    machine = {gpu.index: gpu for gpu in gpus()} if any(name.startswith("gpu") for name in spec.slots) else {}
    for wanted in sorted(spec.slots, key=lambda name: name == "gpu"):  # named ones first
        candidates = [f"gpu-{index}" for index in machine] if wanted == "gpu" else [wanted]
        reason = "a GPU: nvidia-smi lists none"
        for name in (name for name in candidates if name not in chosen):
            pid = holder(_slot_path(name))
            if pid is not None:
                reason = f"{name}, which {_job_of(pid)} has"
                continue
            gpu = machine.get(int(name.removeprefix("gpu-"))) if name.startswith("gpu-") else None
            if gpu is not None and gpu.free < spec.gpu_bytes:
                reason = f"{spec.gpu_bytes / 1e9:.1f} GB on {name}: {gpu.free / 1e9:.1f} GB are free beside {occupants(gpu.index)}"
                continue
            chosen.append(name)
            break
        else:
            return reason
    return chosen


def _job_of(supervisor: int) -> str:
    """Which job a supervisor belongs to, by its command line."""
    try:
        arguments = Path(f"/proc/{supervisor}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return f"process {supervisor}"
    return Path(arguments[-2].decode(errors="replace")).name if len(arguments) > 1 else f"process {supervisor}"
