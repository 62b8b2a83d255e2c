"""Starting a certificate, and finding what it is about. Light: the app and the command line import
it."""

from __future__ import annotations

from pathlib import Path

from jobs.home import models_directory
from jobs.job import Job, all_jobs, submit
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from models import certificate
from models.merge import receipt
from models.run_folder import RunFolder
from models.runs import Run


def certify(run: Run) -> Job:
    """The job that certifies a run's model: the one that is at it already, or a new one.
    LuthierError if there is nothing to certify."""
    living = living_job(run)
    if living is not None:
        return living
    if not run.folder.has_adapter and not run.has_model:
        raise LuthierError(
            "Nothing to certify",
            f"{run.id} has no adapter and no model.",
            f"`luthier log {run.id}` shows how far it got.",
        )
    return submit(Spec(**certificate.order_for(run)))


def living_job(run: Run) -> Job | None:
    """The certificate of a run that is being made or waits for its turn."""
    certificate_jobs = (job for job in all_jobs("certify") if is_about(job, run))
    return next((job for job in certificate_jobs if job.alive()), None)


def is_about(certificate_job: Job, run: Run) -> bool:
    """Whether a job certifies this run, not something that was shipped of it."""
    settings = certificate_job.spec.settings
    return bool(settings.get("run") == str(run.folder.path) and not settings.get("shipped"))


def merged_directory(run_directory: Path) -> Path | None:
    """A run's merged model: in its own folder, or one in the home's models folder whose receipt
    names the run."""
    merged_of_run = RunFolder(run_directory).merged
    if (merged_of_run / "config.json").is_file():
        return merged_of_run
    for receipt_path in sorted(models_directory().glob(f"*/{receipt.RECEIPT_FILE}")):
        try:
            if receipt.read(receipt_path.parent).run == run_directory.name:
                return receipt_path.parent
        except LuthierError:
            continue
    return None
