"""The look at a new run's data, which runs as a job: how far it is, and what it has left."""

from __future__ import annotations

from jobs.events import Follower
from jobs.job import Job, stop
from jobs.state import Done, Failed, Lost, State, Stopped
from models.events import Phase, Step, typed
from models.hub_names import HUB
from trainer.data.inspection import Inspection, look_at_same, start
from trainer.recipe import Recipe


class DataLook:
    """`begin` in a thread, then `advance` until it has ended."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.inspection: Inspection | None = None
        self.problem = ""
        """Why there is nothing to see, in words."""
        self._follower: Follower | None = None
        self._phase, self._share = "", 0
        self._is_own = False

    @staticmethod
    def job_for(recipe: Recipe) -> tuple[Job | None, bool]:
        """In a thread: a look at this data, and whether it was started now. None for a data set of
        the hub, which the run fetches. LuthierError if the data is not there."""
        if any(source.path.startswith(HUB) for source in recipe.sources):
            return None, False
        earlier_look = look_at_same(recipe)
        return (earlier_look, False) if earlier_look is not None else (start(recipe), True)

    def follow(self, job: Job | None, is_own: bool) -> None:
        """Another look; one that was begun here and is no longer needed ends."""
        if job is not None and self.job is not None and job.id == self.job.id:
            return
        self.end()
        self.job, self._is_own = job, is_own
        self.inspection, self.problem = None, ""
        self._phase, self._share = "starting", 0
        self._follower = Follower(job.events_path) if job is not None else None

    def end(self) -> None:
        if self.job is not None and self._is_own and self.job.alive():
            stop(self.job)
        self.job = None

    @property
    def is_under_way(self) -> bool:
        return self.job is not None and self.inspection is None and not self.problem

    def advance(self) -> bool:
        """Read what is new, in a thread or here: it is little. Whether something has changed."""
        if self.job is None or self._follower is None or not self.is_under_way:
            return False
        before = self.doing
        for event in self._follower.read():
            match typed(event):
                case Phase(name=name):
                    self._phase, self._share = name, 0
                case Step(step=step, total=total):
                    self._share = round(100 * step / max(1, total))
                case _:
                    pass
        self._ended(self.job, self.job.state())
        return not self.is_under_way or self.doing != before

    def _ended(self, job: Job, state: State) -> None:
        match state:
            case Done():
                self.inspection = Inspection(job)
            case Failed(title=title, message=message, hint=hint):
                self.problem = f"{title}. {message} {hint}"
            case Stopped() | Lost():
                self.problem = "The look at the data was stopped."
            case _:
                pass

    @property
    def doing(self) -> str:
        """What it does now; empty where nothing is looked at, or all was."""
        if not self.is_under_way:
            return ""
        share = f", {self._share} %" if self._share else ""
        return f"{self._phase}{share}"
