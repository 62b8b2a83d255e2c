"""The job of a reproduction: it checks the ingredients, has the run trained again (and one of
another seed), and measures how far the results are apart. Its runs are jobs of their own, which it
finds again when it is resumed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from jobs import foreign_json
from jobs.events import Follower
from jobs.files import write_json
from jobs.job import Job, find, stop, wait
from jobs.luthier_error import LuthierError
from jobs.state import Done, Failed, Lost, Queued, Starting
from jobs.state import Stopped as StoppedState
from jobs.worker import WorkerContext, run_worker
from models.certificate import Check
from models.events import Step, of_kind, tell
from models.folder import ModelFolder
from models.hub_names import HUB
from models.registry import resolve
from models.runs import Run
from serve.certificate.models_apart import Apart, ModelsApart, measure
from serve.certificate.turns import choose_samples
from trainer import launch as training
from trainer.recipe import Recipe
from trainer.resume import recorded
from workshop.reproduction import checks as judged
from workshop.reproduction.launch import Order, order_of, read_original, refuse_others
from workshop.reproduction.original import Original
from workshop.reproduction.result import Reproduction, write

RUNS_FILE = "runs.json"
_LOOK_SECONDS = 0.3
_STOP_SECONDS = 140.0
ORIGINAL, AGAIN, SEED = "original", "again", "another seed"


class Stopping(Exception):
    """The reproduction is to end; the same job can continue from there."""


class Reproducer:
    def __init__(self, context: WorkerContext) -> None:
        self.context = context
        self.order: Order = order_of(context.job)
        self._runs: dict[str, str] = {}
        if (context.directory / RUNS_FILE).is_file():
            self._runs = {
                part: str(name)
                for part, name in foreign_json.read_object(context.directory / RUNS_FILE).items()
            }

    def reproduce(self) -> Reproduction:
        began = time.monotonic()
        original = self._original()
        self.context.phase("checking base, data and versions", seconds_left=2)
        checks = judged.ingredients(original)
        refuse_others(checks, self.order)
        recipe = msgspec.structs.replace(original.recipe, name=f"{original.name[:30]}-again")
        again = self.trained(AGAIN, recipe)
        seed_run = self._seed_run(original)
        result = _result_of(again)
        if original.samples is not None:
            checks += judged.prepared(original.samples, again.folder.data)
        checks += judged.threads(original.threads, recorded(again.folder.path).get("threads"))
        same_bits, check = judged.weights(original.result, result)
        reproduction = Reproduction(
            self.order.source,
            original.run,
            again.id,
            [*checks, check],
            same_bits,
            seed_run.id if seed_run is not None else "",
        )
        apart = self._apart(original, again, seed_run, same_bits)
        if apart is not None:
            reproduction = _with_distances(reproduction, apart)
        return replace(reproduction, seconds=round(time.monotonic() - began, 1))

    def _original(self) -> Original:
        if not self.order.source.startswith(HUB):
            return read_original(self.order)
        from models.imports.papers import fetch_papers
        from models.imports.progress import ByteProgress, Stopped
        from models.imports.source import Hub, parse_source

        self.context.phase("downloading from the hub", seconds_left=5)
        source, folder = parse_source(self.order.source), self.context.directory / "source"
        assert isinstance(source, Hub)
        try:
            fetch_papers(source, folder, ByteProgress(self.context))
        except Stopped:
            raise Stopping from None
        return read_original(self.order, folder)

    def _seed_run(self, original: Original) -> Run | None:
        if self.order.seed_run:
            return Run.named(self.order.seed_run)
        if not self.order.another_seed:
            return None
        seed = original.recipe.train.seed + 1
        train = msgspec.structs.replace(original.recipe.train, seed=seed)
        name = f"{original.name[:26]}-seed-{seed}"
        return self.trained(SEED, msgspec.structs.replace(original.recipe, train=train, name=name))

    def trained(self, part: str, recipe: Recipe) -> Run:
        """The run of this recipe, done: started, followed, or resumed where it ended early."""
        job = self._job(part, recipe)
        title = "training again" if part == AGAIN else "training another seed"
        follower, before = Follower(job.events_path), ""
        while True:
            state = job.state()
            match state:
                case Done():
                    return Run(job)
                case Failed(title=name, message=message, hint=hint):
                    raise LuthierError(name, f"{job.id}: {message}", hint)
                case StoppedState() | Lost():
                    raise LuthierError(
                        "The run has ended early",
                        f"{job.id} ended before it was done.",
                        f"`luthier resume {self.context.job.id}` continues it.",
                    )
                case Queued(waits_for=waits_for):
                    phase = f"{title}: waiting for {waits_for or 'its turn'}"
                case Starting(phase=starting):
                    phase = f"{title}: {starting}"
                case _:
                    phase = title
                    for step in of_kind(follower.read(), Step):
                        tell(self.context, Step(step=step.step, total=step.total, loss=step.loss))
            if phase != before:
                self.context.phase(phase)
                before = phase
            if self.context.stopping.wait(_LOOK_SECONDS):
                stop(job)
                wait(job, _STOP_SECONDS)
                raise Stopping

    def _job(self, part: str, recipe: Recipe) -> Job:
        name = self._runs.get(part)
        if name is not None:
            job = find(name, "run")
            if isinstance(job.state(), StoppedState | Failed | Lost):
                training.resume(job)
            return job
        job = training.train(recipe)
        self._runs[part] = job.id
        write_json(self.context.directory / RUNS_FILE, self._runs)
        return job

    def _apart(
        self, original: Original, again: Run, seed_run: Run | None, same_bits: bool
    ) -> Apart | None:
        """None where nothing needs measuring, or the original's weights are not here: the same
        bits are as good as the original."""
        first = _result_of(again) if same_bits else original.weights
        if first is None or (same_bits and seed_run is None):
            return None
        models = {ORIGINAL: str(first), AGAIN: str(_result_of(again))}
        if seed_run is not None:
            models[SEED] = str(_result_of(seed_run))
        if same_bits:
            del models[AGAIN]
        self.context.phase("measuring the distance", seconds_left=20 * len(models))
        base = resolve(original.recipe.model).resolve()
        try:
            _, samples = choose_samples(again.folder.data, ModelFolder(base).context_length)
        except LuthierError as error:  # damaged, or nothing that fits
            return Apart(error.message)
        device = "cuda" if again.on_gpu else "cpu"
        orders = ModelsApart(str(base), models, ORIGINAL, device, samples)
        apart = measure(orders, self.context.directory, self.context.stopping.wait)
        if apart is None:
            raise Stopping
        return apart


def _with_distances(reproduction: Reproduction, apart: Apart) -> Reproduction:
    of_seeds = apart.distances.get(SEED)
    measured = 0.0 if reproduction.same_bits else apart.distances.get(AGAIN)
    checks: Sequence[Check] = reproduction.checks
    if measured is not None:
        checks = [*checks, judged.distance(measured, of_seeds)]
    if apart.problem:
        checks = [*checks, Check("measuring", "amber", apart.problem)]
    return replace(
        reproduction,
        checks=list(checks),
        distance=measured,
        seed_distance=of_seeds,
        tokens=apart.tokens,
        nll=apart.nll,
    )


def _result_of(run: Run) -> Path:
    return run.folder.model if run.has_model else run.adapter()


def main(context: WorkerContext) -> dict[str, Any] | None:
    reproducer = Reproducer(context)
    try:
        reproduction = reproducer.reproduce()
    except Stopping:
        return None
    write(context.directory, reproduction)
    return {
        "again": reproduction.again,
        "seed_run": reproduction.seed_run,
        "same_bits": reproduction.same_bits,
        "distance": reproduction.distance,
        "seed_distance": reproduction.seed_distance,
        "verdict": reproduction.verdict,
        "seconds": reproduction.seconds,
    }


if __name__ == "__main__":
    run_worker(main)
