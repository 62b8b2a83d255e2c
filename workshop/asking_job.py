"""What jobs that ask a server do alike: they lend themselves one, which they stop at the end if
they started it, and count the answers as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager

from jobs.job import Job, stop, wait
from jobs.luthier_error import LuthierError
from jobs.state import Failed, Lost, Queued, Starting, State
from jobs.state import Stopped as StoppedState
from jobs.worker import WorkerContext
from models.events import Step, tell
from models.registry import resolve
from serve.comparison.journal import Entry
from serve.planning import NamedAdapter
from serve.servers import Server
from workshop import servers

_LOOK_SECONDS = 0.3


class Stopped(Exception):
    """The job is to end; the same job can go on from there."""


class AskingJob:
    """How a job gets a server, and tells how far it is."""

    def __init__(self, context: WorkerContext) -> None:
        self.context = context

    def lend(self, base: str, adapters: list[NamedAdapter]) -> AbstractContextManager[Server]:
        directory = resolve(base).resolve()
        return servers.lent(
            base,
            directory,
            adapters,
            follow=self._follow,
            loaded=lambda server, name: self.context.phase(f"{name} loaded into {server.job.id}"),
            end=_end,
        )

    def _follow(self, job: Job, title: str, is_reached: Callable[[State], bool]) -> None:
        """Wait for the server, and pass on what it does."""
        before = ""
        while True:
            state = job.state()
            if is_reached(state):
                return
            match state:
                case Failed(title=name, message=message, hint=hint):
                    raise LuthierError(name, message, hint)
                case StoppedState() | Lost():
                    message = f"{job.id} ended before it was ready."
                    raise LuthierError("The server has ended", message, "Start it again.")
                case Queued(waits_for=waits_for):
                    phase = f"waiting for {waits_for or 'its turn'}"
                case Starting(phase=starting):
                    phase = f"server: {starting}"
                case _:
                    phase = "waiting for the server"
            if phase != before:
                self.context.phase(phase)
                before = phase
            if self.context.stopping.wait(_LOOK_SECONDS):
                raise Stopped

    def count(
        self, title: str, total: int, work: Callable[[Callable[[Entry], None]], Awaitable[None]]
    ) -> None:
        """A step for each answer or verdict."""
        self.context.phase(title.lower(), total=total)
        if not total:
            return
        done = 0

        def count_entry(entry: Entry) -> None:
            nonlocal done
            done += 1
            tell(self.context, Step(step=done, total=total))
            if entry.get("error") is not None:
                print(f"{entry.get('model')}: {entry['error']}", flush=True)

        asyncio.run(self._until_stopped(work(count_entry)))

    async def _until_stopped(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        while not task.done():
            if self.context.stopping.is_set():
                task.cancel()
            await asyncio.wait({task}, timeout=_LOOK_SECONDS)
        if task.cancelled():
            raise Stopped
        task.result()


def _end(job: Job) -> None:
    stop(job)
    wait(job, 60)
