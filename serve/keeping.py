"""When a server that a certificate has started ends by itself: nobody has come for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from jobs import queue
from jobs.home import jobs_directory
from jobs.job import Job
from serve.client import Endpoint, server_state

KEPT_SECONDS = 600.0
"""How long it waits for somebody who asks it something."""

_WAITED_FOR_SECONDS = 5.0  # the same where another job waits for its GPU
_CLAIM = "claimed"


def claim(job: Job) -> None:
    """Have a server stay until it is stopped, as one does that a person has started."""
    if job.directory.is_dir():
        (job.directory / _CLAIM).touch()


def is_claimed(directory: Path) -> bool:
    return (directory / _CLAIM).exists()


def why_over(directory: Path, kept_by: str, endpoint: Endpoint) -> str:
    """Why the server of this job folder, which the certificate `kept_by` has started, is to end
    now; empty while it is to go on."""
    if not kept_by or is_claimed(directory):
        return ""
    if Job(jobs_directory() / kept_by).supervisor() is not None:  # it may be removed by now
        return ""
    quiet_seconds = asyncio.run(server_state(endpoint))["quiet_seconds"]
    if quiet_seconds >= KEPT_SECONDS:
        return f"nobody used it for {KEPT_SECONDS / 60:.0f} minutes after the certificate"
    if quiet_seconds >= _WAITED_FOR_SECONDS and somebody_waits_for_gpu():
        return "nobody used it, and another job needs the GPU"
    return ""


def somebody_waits_for_gpu() -> bool:
    return any(slot.startswith("gpu") for job in queue.waiting() for slot in job.spec.slots)
