"""What is known of a subject before its agreement is judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.export.commands import commands_for, run_all
from models.export.formats import Form
from serve.certificate.stoppable import Stopped
from serve.shipped.measured import Said

if TYPE_CHECKING:
    from models.certificate import Check
    from serve.shipped.worker import ShippedCertifier


@dataclass(frozen=True)
class Evidence:
    """`title` is the subject in a sentence, `checks` those of its own files, `twin` what the
    program says of the base in the same form (None: `uncalibrated` says why there is none)."""

    title: str
    checks: list[Check]
    shipped: Said
    twin: Said | None
    calibration: str
    uncalibrated: str = ""


def base_in(form: Form, certifier: ShippedCertifier, out: Path) -> Path:
    """The base in a form, made as an export makes it. LuthierError where that is not possible."""
    samples = certifier.run.folder.train_samples
    return run_commands(
        commands_for(certifier.began_from, out, form, samples if samples.is_file() else None),
        certifier,
        out,
    )


def run_commands(commands: list[list[str]], certifier: ShippedCertifier, out: Path) -> Path:
    """Raises Stopped when the job is to end."""
    certifier.phase("writing the base in the same form", 60.0)
    context = certifier.context
    if not run_all(commands, out, context.job.log_path, context.stopping.wait):
        raise Stopped
    return out
