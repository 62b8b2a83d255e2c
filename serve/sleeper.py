"""A server's sleep: vLLM frees the GPU while a run trains, and has it again afterwards. The
worker's side.

A server is awake, asleep, or waking. It is asked to sleep by a job that waits for its GPU or by a
person (jobs.giving_way); it finishes its answers first. Asleep, its slots are free for others. It
wants them back when the job that asked is done, or as soon as somebody asks it for an answer; then
its supervisor takes them again when its turn comes, and vLLM wakes. Whether it then says what it
said before is tried: a wake that corrupts the adapters without a word has been seen (vllm issue
53888).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

from jobs import giving_way, queue, slots
from jobs.event_kinds import first
from jobs.giving_way import Resting, Wish
from jobs.gpus import gpus
from jobs.home import jobs_directory
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.state import Queued
from jobs.worker import WorkerContext
from models import events
from serve.client import Endpoint, list_models, post, server_state, sleep, wake_up
from serve.restarts import Crash

FINISH_SECONDS = 60.0
"""How long answers that are being written may take; then they are cut off."""

QUIET_SECONDS = 60.0
"""A server that somebody has woken up, or that a job of another kind than a run asks, goes to sleep
once it was not used for so long."""

_LOOK_SECONDS = 1.0
_HOLDING_SECONDS = 0.1  # while somebody may wait for it
_ORDER_SECONDS = 300.0  # weights go to main memory and back: seconds, on slow machines more
_PROBE = {"prompt": "The capital of France is", "max_tokens": 8, "temperature": 0.0, "seed": 1}
_MOST_PROBED = 5


class Sleeper:
    """One for the life of the job; vLLM may be started anew meanwhile."""

    def __init__(self, context: WorkerContext, endpoint: Endpoint) -> None:
        self._context = context
        self._endpoint = endpoint
        self._job = context.job
        started = first(self._job.events(), events.Started)
        self._slots = started.slots if started is not None else []
        self._wakes: Resting | None = None  # while it is asleep
        self._said: dict[str, str] = {}
        self._told: tuple[str, bool] = ("", False)
        # somebody has woken it up: it does not go to sleep in the middle of a talk
        self._patient = False
        self._next_look = 0.0

    @property
    def asleep(self) -> bool:
        return self._wakes is not None

    def advance(self) -> None:
        """Do what is to be done now. It may take a while. `Crash` if vLLM does not wake up as it
        was."""
        # the supervisor has its slots again
        if self._wakes is not None and giving_way.resting(self._job) is None:
            self._wake()
        if time.monotonic() < self._next_look:
            return
        _, holding = self._told
        self._next_look = time.monotonic() + (_HOLDING_SECONDS if holding else _LOOK_SECONDS)
        wish = giving_way.wish_of(self._job)
        if self._wakes is None:
            self._look_awake(wish)
        else:
            self._look_asleep(wish, self._wakes)

    def regain(self) -> bool:
        """After a crash: have the slots again, if it was asleep. False if a stop came first."""
        self._told = "", False  # a new vLLM lets everybody pass
        if self._wakes is None:
            return True
        self._context.phase("waiting for the GPU, to start again")
        self._rest("after runs")
        while giving_way.resting(self._job) is not None:
            if self._context.stopping.wait(_LOOK_SECONDS):
                return False
        self._wakes = None
        return True

    # Awake

    def _look_awake(self, wish: Wish | None) -> None:
        if wish is None or wish.refused:
            return
        if wish.what == "wake" or not _still_wanted(wish):
            giving_way.grant(self._job, wish)
        elif not self._must_be_quiet(wish) or self._state()["quiet_seconds"] >= QUIET_SECONDS:
            self._sleep(wish)

    def _must_be_quiet(self, wish: Wish) -> bool:
        asker = _job(wish.by)
        return asker is not None and (self._patient or asker.spec.kind != "run")

    def _sleep(self, wish: Wish) -> None:
        asker = _job(wish.by)
        self._tell(f"The server is going to sleep: {_why(asker)}.", hold=False)
        try:
            self._finish_answers()
            # a stop has its own patience with answers, and nothing to sleep for
            if self._context.stopping.is_set():
                return
            self._said = self._probe()
            before = self._free()
            sleep_began = time.monotonic()
            asyncio.run(sleep(self._endpoint, _ORDER_SECONDS))
        except LuthierError as error:
            self._stay_awake(wish, error)
            return
        freed = max(0, self._free() - before) or self._job.spec.gpu_bytes
        self._wakes = Resting(self._slots, freed, "no", wish.by)
        took = round(time.monotonic() - sleep_began, 2)
        self._rest("after runs" if asker is not None else "no")
        giving_way.grant(self._job, wish)
        try:
            # whoever is told that it sleeps may ask it at once, and is held
            self._look_asleep(None, self._wakes)
        finally:
            asleep = events.Asleep(why=_why(asker), by=wish.by, seconds=took, freed_bytes=freed)
            events.tell(self._context, asleep)

    def _stay_awake(self, wish: Wish, error: LuthierError) -> None:
        """It cannot sleep. Whoever asked is told; if it lies down after all, it is woken."""
        try:
            asyncio.run(wake_up(self._endpoint, _ORDER_SECONDS))
            self._tell("", hold=False)
        except LuthierError as problem:
            raise Crash(
                "vLLM neither goes to sleep nor wakes up", problem.message, problem.hint
            ) from problem
        finally:
            refusal = events.SleepRefused(by=wish.by, message=error.message)
            events.tell(self._context, refusal)
            giving_way.ask(self._job, Wish("rest", wish.by, refused=error.message))

    def _finish_answers(self) -> None:
        deadline = time.monotonic() + FINISH_SECONDS
        while (
            self._state()["in_flight"]
            and time.monotonic() < deadline
            and not self._context.stopping.is_set()
        ):
            time.sleep(0.2)

    # Asleep

    def _look_asleep(self, wish: Wish | None, now: Resting) -> None:
        must_wake = bool(self._state()["wanted"]) or (wish is not None and wish.what == "wake")
        if must_wake and now.wakes != "first":
            self._rest("first")
        if wish is not None:
            giving_way.grant(self._job, wish)
        other_jobs = [job for job in slots.taken_by(self._slots) if job.id != self._job.id]
        if other_jobs:
            names = " and ".join(f"{job.short_id} ({job.spec.kind})" for job in other_jobs)
            self._tell(
                f"The server sleeps while {names} uses the GPU, and wakes afterwards.",
                hold=False,
            )
        else:
            self._tell("The server is asleep. It is waking up now.", hold=True)

    def _wake(self) -> None:
        events.tell(self._context, events.Waking())
        began = time.monotonic()
        self._tell("The server is waking up.", hold=True)
        try:
            asyncio.run(wake_up(self._endpoint, _ORDER_SECONDS))
            probed = self._probe()
        except LuthierError as error:
            self._wakes = None  # it has its slots: it can be started again with them
            raise Crash("vLLM did not wake up", error.message, error.hint) from error
        self._patient = self._wakes is not None and self._wakes.wakes == "first"
        self._wakes = None
        changed = [
            name for name, text in self._said.items() if name in probed and probed[name] != text
        ]
        if changed:
            message = (
                f"After waking, {', '.join(changed)} gives a different answer than before: vLLM"
                " did not restore it."
            )
            raise Crash("vLLM woke up changed", message, "Luthier restarts it.")
        self._tell("", hold=False)
        seconds = round(time.monotonic() - began, 2)
        events.tell(self._context, events.Awake(seconds=seconds))

    # Both

    def _rest(self, wakes: Any) -> None:
        assert self._wakes is not None
        with queue.locked():
            self._wakes = replace(self._wakes, wakes=wakes)
            giving_way.rest(self._job, self._wakes)

    def _tell(self, why: str, hold: bool) -> None:
        """Have the guard turn requests away, hold them, or (with an empty `why`) let them pass."""
        if (why, hold) != self._told:
            asyncio.run(post(self._endpoint, "/luthier/rest", {"why": why, "hold": hold}, 10.0))
            self._told = why, hold

    def _state(self) -> dict[str, Any]:
        return asyncio.run(server_state(self._endpoint))

    def _probe(self) -> dict[str, str]:
        """What the base and some of the tuned models say, always the same without sampling."""

        async def ask() -> dict[str, str]:
            names = (await list_models(self._endpoint))[:_MOST_PROBED]
            answers = [
                await post(self._endpoint, "/v1/completions", {**_PROBE, "model": name}, 60.0)
                for name in names
            ]
            return {
                name: str(answer["choices"][0].get("text"))
                for name, answer in zip(names, answers, strict=True)
            }

        return asyncio.run(ask())

    def _free(self) -> int:
        """What is free on each of its GPUs, in bytes."""
        return min((gpu.free for gpu in gpus() if f"gpu-{gpu.index}" in self._slots), default=0)


def _job(job_id: str) -> Job | None:
    return Job(jobs_directory() / job_id) if job_id else None


def _still_wanted(wish: Wish) -> bool:
    """Whether the job that asked still waits; a person's wish stands."""
    asker = _job(wish.by)
    return asker is None or (asker.readable() and isinstance(asker.state(), Queued))


def _why(asker: Job | None) -> str:
    return (
        "somebody asked for it"
        if asker is None
        else f"{asker.short_id} ({asker.spec.kind}) needs the GPU"
    )
