"""Messages that more than one module knows: what has happened, in the past tense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from jobs.job import DamagedJob
    from jobs.machine import Machine
    from workshop.job_list import JobRow


@dataclass
class JobsRead(Message):
    """All jobs were read, and the load of the machine. Only the newest reading counts."""

    rows: list[JobRow]
    damaged: list[DamagedJob]
    machine: Machine

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, JobsRead)


@dataclass
class JobRemoved(Message):
    name: str


@dataclass
class JobsChanged(Message):
    """Something was done with jobs."""

    notice: str = ""
    """What, to the user, if it is worth a word."""
