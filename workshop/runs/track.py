"""A run that is shown: its job, its record, and its number among up to four."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobs.job import Job
from workshop.runs.events import RunReader
from workshop.runs.record import RunRecord


@dataclass
class Track:
    """`reader` is None while the run's long past is read elsewhere; `share` tells how far that
    is."""

    job: Job
    slot: int = 0
    reader: RunReader | None = None
    share: float = 0.0
    alive: bool = True
    _empty: RunRecord = field(default_factory=RunRecord)

    @property
    def name(self) -> str:
        return self.job.spec.name

    @property
    def record(self) -> RunRecord:
        return self.reader.record if self.reader is not None else self._empty


def names(tracks: list[Track]) -> list[str]:
    """The runs' names, those that two runs share told apart by the ends of their ids."""
    track_names = [track.name for track in tracks]
    return [
        track.name if track_names.count(track.name) == 1 else f"{track.name} {track.job.id[-4:]}"
        for track in tracks
    ]
