"""What RUN and RUN@STEP stand for: a run's adapter, or one of its checkpoints, also while it is
still training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import LuthierError
from jobs.job import Job, all_jobs, find
from serve.planning import NamedAdapter
from serve.servers import Server
from trainer.launch import ADAPTER_FOLDER, adapter_directory
from workshop.job_list import has_adapter
from workshop.number_format import age
from workshop.serving import base_of

LAST = "last"


@dataclass(frozen=True)
class AdapterChoice:
    """`name` is what it is served as, or will be."""

    name: str
    note: str
    path: Path
    pinned: bool = False


def adapters_named(texts: Sequence[str]) -> tuple[str, list[NamedAdapter]]:
    """The base that these runs share, and their adapters by the names they are served under: the
    run's, with @STEP for a checkpoint.

    Of two with one name the later ones go by the run's id. LuthierError if the bases differ, or if
    a run has nothing to serve.
    """
    found = [_named(text) for text in texts]
    bases = {str(run.spec.settings["model_directory"]) for run, _, _ in found}
    if len(bases) > 1:
        raise LuthierError(
            "More than one base model",
            f"The runs have {', '.join(sorted(bases))}.",
            "Serve them one base at a time.",
        )
    adapters: list[NamedAdapter] = []
    for run, suffix, path in found:
        taken = [name for name, _, _ in adapters]
        name = run.spec.name + suffix
        adapters.append((run.id + suffix if name in taken else name, path, run.id))
    return base_of(found[0][0]), adapters


def complete_checkpoints(run: Job) -> list[tuple[int, Path]]:
    """Step and folder of each checkpoint that is whole, the newest first."""
    marks = (run.directory / "checkpoints").glob("step-*/COMPLETE")
    steps = [(mark.parent.name.removeprefix("step-"), mark.parent) for mark in marks]
    return sorted(((int(step), path) for step, path in steps if step.isdigit()), reverse=True)


def loadable(server: Server) -> list[AdapterChoice]:
    """What a server could load: adapters and checkpoints of runs of its base model, the newest run
    first."""
    base, served = server.plan.base, {model.path for model in server.models}
    taken = {model.id for model in server.models}
    found = []
    for run in all_jobs("run"):
        if Path(str(run.spec.settings.get("model_directory", ""))).resolve() != base.resolve():
            continue
        whole = [("", run.directory / ADAPTER_FOLDER)] if has_adapter(run) else []
        for suffix, path in [
            *whole,
            *((checkpoint_suffix(step), path) for step, path in complete_checkpoints(run)),
        ]:
            if path.resolve() in served:
                continue
            name = next(
                (name for name in (run.spec.name + suffix, run.id + suffix) if name not in taken),
                "",
            )
            if name:
                taken.add(name)
                what = "checkpoint" if suffix else "run"
                found.append(
                    AdapterChoice(
                        name,
                        f"{what}, {age(run.created)}{', still training' if run.alive() else ''}",
                        path,
                    )
                )
    return found


def checkpoint_suffix(step: int) -> str:
    return f"@{step}"


def _named(text: str) -> tuple[Job, str, Path]:
    """The run, what its name gets, and the folder."""
    name, at, step = text.rpartition("@")
    if not at:
        run = find(text, "run")
        saved = complete_checkpoints(run)
        if has_adapter(run) or not saved:
            return run, "", adapter_directory(run)
        return run, checkpoint_suffix(saved[0][0]), saved[0][1]
    run = find(name, "run")
    saved = complete_checkpoints(run)
    wanted = (
        saved[:1]
        if step == LAST
        else [one for one in saved if step.isdigit() and one[0] == int(step)]
    )
    if not wanted:
        has = ", ".join(str(number) for number, _ in saved)
        hint = (
            f"Complete ones: {has}. {run.spec.name}@last is the newest."
            if saved
            else "It has no checkpoints: name it without @."
        )
        what = "no complete one" if step == LAST else f"none of step {step}"
        raise LuthierError("No such checkpoint", f"{run.id} has {what}.", hint)
    return run, checkpoint_suffix(wanted[0][0]), wanted[0][1]
