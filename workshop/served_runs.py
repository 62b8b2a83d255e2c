"""What RUN and RUN@STEP stand for when they are served: an adapter, a checkpoint (also of a run
that still trains), or a model of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.luthier_error import LuthierError
from models.runs import AsModel, NeedsMerge, Run, one_base
from serve.planning import NamedAdapter
from serve.servers import Server
from workshop.number_format import age

LAST = "last"


@dataclass(frozen=True)
class AdapterChoice:
    """An adapter that a server can load, unload or pin."""

    name: str
    """What it is served as, or will be."""
    note: str
    path: Path
    pinned: bool = False


def adapters_of(runs: Sequence[Run]) -> tuple[str, list[NamedAdapter]]:
    """The base that these runs share, and their adapters, each served under its run's name (of two
    of a name: under the run's id).

    LuthierError if the bases differ or a run has no adapter.
    """
    base = one_base(runs).base_name
    names = [run.model_name() for run in runs]
    adapters: list[NamedAdapter] = [
        (name if names.count(name) == 1 else run.id, run.adapter(), run.id)
        for name, run in zip(names, runs, strict=True)
    ]
    return base, adapters


def adapters_named(texts: Sequence[str]) -> tuple[str, list[NamedAdapter]]:
    """The base that these runs share, and their adapters by the names they are served under: the
    run's, with @STEP for a checkpoint.

    Of two with one name the later ones go by the run's id. LuthierError if the bases differ, or if
    a run has nothing to serve.
    """
    named_runs = [_named(text) for text in texts]
    base = one_base(run for run, _, _ in named_runs).base_name
    adapters: list[NamedAdapter] = []
    for run, suffix, path in named_runs:
        taken = [name for name, _, _ in adapters]
        name = run.model_name(suffix)
        adapters.append((run.id + suffix if name in taken else name, path, run.id))
    return base, adapters


def own_model(run: Run, merge: Callable[[Run], object] | None = None) -> AsModel | None:
    """The model that a run is served as, where it is not an adapter beside its base. If that must
    be merged first, `merge` does it and waits; LuthierError without one."""
    served = run.served_as()
    if isinstance(served, NeedsMerge):
        if merge is None:
            raise LuthierError(
                "Not merged yet",
                f"vLLM cannot load the adapter of {run.id} beside its base, so it must be merged"
                " first.",
                f"`luthier serve {run.id}` merges and serves it; in the app, press m on Models.",
            )
        merge(run)
        served = AsModel(served.name, run.folder.merged)
    return served if isinstance(served, AsModel) else None


def loadable(server: Server) -> list[AdapterChoice]:
    """What a server could load: adapters and checkpoints of runs of its base model, the newest run
    first."""
    base, served = server.plan.base.resolve(), {model.path for model in server.models}
    taken = {model.id for model in server.models}
    choices = []
    for run in Run.all():
        if not run.names_its_base or run.base.resolve() != base:
            continue
        for suffix, path in _adapters(run):
            names = (run.model_name(suffix), run.id + suffix)
            name = next((name for name in names if name not in taken), "")
            if not name or path.resolve() in served:
                continue
            taken.add(name)
            kind = "checkpoint" if suffix else "run"
            training = ", still training" if run.job.alive() else ""
            note = f"{kind}, {age(run.job.created)}{training}"
            choices.append(AdapterChoice(name, note, path))
    return choices


def _adapters(run: Run) -> list[tuple[str, Path]]:
    """What stands behind the run's name, and the folder: its adapter, then its checkpoints, the
    newest first."""
    adapter = [("", run.folder.adapter)] if run.folder.has_adapter else []
    checkpoints = reversed(run.folder.complete_checkpoints())
    return adapter + [(_suffix(step), path) for step, path in checkpoints]


def _suffix(step: int) -> str:
    return f"@{step}"


def _named(text: str) -> tuple[Run, str, Path]:
    """The run, what its name gets, and the folder."""
    name, at, step = text.rpartition("@")
    run = Run.named(name if at else text)
    checkpoints = run.folder.complete_checkpoints()
    if not at:
        if run.folder.has_adapter or not checkpoints:
            return run, "", run.adapter()
        step = LAST
    if step == LAST:
        matching = checkpoints[-1:]
    else:
        matching = [entry for entry in checkpoints if step.isdigit() and entry[0] == int(step)]
    if not matching:
        raise _no_such_checkpoint(run, step, [number for number, _ in reversed(checkpoints)])
    saved_step, path = matching[0]
    return run, _suffix(saved_step), path


def _no_such_checkpoint(run: Run, step: str, complete: list[int]) -> LuthierError:
    hint = "It has no checkpoints: write its name without @."
    if complete:
        numbers = ", ".join(map(str, complete))
        hint = f"Complete checkpoints: {numbers}. {run.name}@last is the newest."
    missing = "no complete checkpoint" if step == LAST else f"no checkpoint of step {step}"
    return LuthierError("No such checkpoint", f"{run.id} has {missing}.", hint)
