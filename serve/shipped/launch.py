"""Start the certificate of what is shipped. Light: the app and the command line import it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from jobs.job import Job, submit
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from models import foreign
from models.certificate import memory_needed
from models.runs import Run
from serve.shipped.subject import Kind, Subject


@dataclass(frozen=True)
class ShippedSettings:
    """A run's folder, and what is certified: `serve.shipped.subject` has the kinds. The rest is of
    a server: the model to ask it for ("": the only one, or one that is named as the run is), and
    where its key is, if config.toml does not say it."""

    run: str
    model: str
    shipped: str
    kind: Kind
    served_model: str = ""
    key_env: str = ""
    key_file: str = ""


def settings_of(job: Job) -> ShippedSettings:
    """LuthierError if the settings of the job are damaged."""
    return foreign.settings_of(job, ShippedSettings)


def certify_shipped(
    run: Run, subject: Subject, served_model: str = "", key_env: str = "", key_file: str = ""
) -> Job:
    """LuthierError if the run has left nothing to compare with."""
    if not run.folder.has_adapter and not run.has_model:
        raise LuthierError(
            "Nothing to certify",
            f"{run.id} has no adapter and no model.",
            f"`luthier log {run.id}` shows how far it got.",
        )
    settings = ShippedSettings(
        str(run.folder.path),
        run.base_name,
        subject.name,
        subject.kind,
        served_model,
        key_env,
        key_file,
    )
    on_gpu = any(slot.startswith("gpu") for slot in run.slots)
    return submit(
        Spec(
            kind="certify",
            name=f"{run.name[:28]}-shipped",
            module="serve.shipped.worker",
            settings=asdict(settings),
            slots=run.slots,
            gpu_bytes=memory_needed(run.base) if on_gpu else 0,
            grace_seconds=30.0,
        )
    )
