"""Starting the job of a chapter: a run has one of each kind at a time, and one that was interrupted
continues with the answers that it has."""

from __future__ import annotations

from jobs.home import jobs_directory
from jobs.job import Job, all_jobs, start, submit
from jobs.spec import Spec
from jobs.state import Failed, Lost, Stopped
from models.chapters import Chapter
from models.runs import Run
from serve.certificate.launch import is_about


def begin(run: Run, spec: Spec) -> Job:
    """The job that is at this chapter, or the last one with the same orders if it did not come to
    its end, or a new one."""
    of_run = [job for job in all_jobs(spec.kind) if is_about(job, run)]
    living = next((job for job in of_run if job.alive()), None)
    if living is not None:
        return living
    if of_run and of_run[0].spec.settings == spec.settings:
        last = of_run[0]
        if isinstance(last.state(), Stopped | Failed | Lost):
            start(last)
            return last
    return submit(spec)


def job_behind(chapter: Chapter) -> Job | None:
    """The job that made a chapter; its settings say what was measured. None if it was removed."""
    job = Job(jobs_directory() / chapter.job)
    return job if job.readable() else None
