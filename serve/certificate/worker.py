"""The job that makes a certificate: `python -P -m serve.certificate.worker JOB_DIRECTORY`.

First the bytes, then transformers with PEFT in a process that ends, then a vLLM of its own with
base and adapter, then another with the merged model if there is one. Each is a child of this
process and is gone before the next begins.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from jobs import processes
from jobs.files import tail_lines
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext, run_worker
from models import certificate, foreign, provenance
from models.adapters import MustBeMerged, check_servable, read_adapter
from models.certificate import Certificate
from models.folder import ModelFolder
from models.hashing import file_hashes
from models.merge import receipt
from models.registry import is_model_directory
from models.runs import Run
from serve.certificate import asking, checks
from serve.certificate.launch import merged_directory
from serve.certificate.measured import (
    ORDERS_FILE,
    REFERENCE_FILE,
    Broken,
    Orders,
    Reference,
    Served,
    write,
)
from serve.certificate.planning import server_plan
from serve.certificate.turns import PROBES, choose_samples
from serve.log import Phase
from serve.plan import BASE, ServerPlan
from serve.planning import NamedAdapter
from serve.worker import VllmServer

_TUNED = "tuned"
# What two CPU cores take, for the time left: the built-in model's figures.
_BYTES_SECONDS, _REFERENCE_SECONDS, _VLLM_SECONDS, _ASKING_SECONDS = 1.0, 25.0, 40.0, 35.0

_Result = TypeVar("_Result")


class Stopped(Exception):
    """The job was asked to stop."""


class Certifier:
    """One certificate, from the files of a run to its verdict."""

    def __init__(self, context: WorkerContext) -> None:
        self.context = context
        self.run = Run(Job(Path(context.settings["run"])))
        self.base = self.run.base
        self.full = self.run.has_model
        self.made = self.run.folder.model if self.full else self.run.folder.adapter
        self.merged = self.made if self.full else merged_directory(self.run.folder.path)
        # the process with transformers makes it
        self.began_from = (
            context.directory / "base" if ModelFolder(self.made).has_tokenizer else self.base
        )
        self.gpu = self.run.on_gpu
        limit = ModelFolder(self.base).context_length
        self.source, self.samples = choose_samples(self.run.folder.data, limit)
        longest = max(len(sample.input_ids) for sample in self.samples) + asking.ROOM
        self.context_length = longest if limit is None else min(longest, limit)
        sorts = {sample.sort for sample in self.samples}
        has = {
            "several turns": any("several" in sort for sort in sorts),
            "a system prompt": any("system" in sort for sort in sorts),
        }
        has["tools"] = any("tools" in sort for sort in sorts)
        self.probes = [probe for probe in PROBES if not has[probe.name]]

    def make(self) -> Certificate:
        """Measure and checks. Raises Stopped when it is to end."""
        began = time.monotonic()
        self._phase(
            "comparing the files with the run's records", _BYTES_SECONDS, *self._after_bytes
        )
        evidence = checks.Evidence(
            self.samples,
            self.probes,
            self._changes(),
            self.merged is not None,
            merged_name="saved" if self.full else "merged",
        )
        evidence.merged_changes, readable = self._merged_changes()
        if not any(map(provenance.weight_damage, self.base.glob("*.safetensors"))):
            evidence.reference = self._reference(with_merged=readable)
            if not isinstance(evidence.reference.base, Broken):
                self._ask_tuned(evidence)
            if (
                self.merged is not None
                and readable
                and not isinstance(evidence.reference.merged, Broken)
            ):
                self._ask_merged(evidence, self.merged)
        folders = dict.fromkeys(
            [self.base, self.made, *([self.merged] if self.merged is not None else [])]
        )
        return Certificate(
            run=self.run.id,
            base=str(self.base),
            adapter=str(self.made),
            merged=None if self.merged is None else str(self.merged),
            made=time.time(),
            seconds=round(time.monotonic() - began, 1),
            sample={
                "file": self.source,
                "conversations": len(self.samples),
                "turns": sum(len(sample.turns) for sample in self.samples),
                "tokens": sum(len(sample.scored) for sample in self.samples),
            },
            columns=checks.columns(evidence),
            checks=checks.all_checks(evidence),
            versions={
                **(evidence.reference.versions if evidence.reference else {}),
                "device": "gpu" if self.gpu else "cpu",
            },
            files=certificate.stamps(*folders),
        )

    @property
    def _after_bytes(self) -> tuple[float, ...]:
        models = 2 if self.merged is not None else 1
        return (_REFERENCE_SECONDS, models * (_VLLM_SECONDS + _ASKING_SECONDS))

    def _phase(self, name: str, *seconds: float) -> None:
        if self.context.stopping.is_set():
            raise Stopped
        self.context.phase(name, seconds_left=sum(seconds))

    # Bytes

    def _changes(self) -> dict[str, list[str]] | None:
        recorded = provenance.read(self.run.folder.path)
        return None if recorded is None else provenance.changes(recorded, self.base, self.made)

    def _merged_changes(self) -> tuple[list[str] | None, bool]:
        """How the merged model differs from its receipt (None: it has none), and whether its
        weights can be read at all."""
        if self.merged is None:
            return None, False
        damage = {
            path.name: provenance.weight_damage(path)
            for path in sorted(self.merged.glob("*.safetensors"))
        }
        complaints = [f"{name} is cut off or damaged: {why}" for name, why in damage.items() if why]
        readable = not complaints
        if self.full:
            return [], readable
        try:
            written = receipt.read(self.merged)
        except LuthierError:
            return complaints or None, readable
        complaints += [
            line
            for line in receipt.differences(self.merged, written)
            if not damage.get(line.partition(" ")[0])
        ]
        if file_hashes(self.made, *written.adapter.files) != written.adapter.files:
            complaints.append("it was made from another adapter, not this run's")
        return complaints, readable

    # Transformers

    def _reference(self, *, with_merged: bool) -> Reference:
        """What transformers and PEFT say, from a process that has ended when this returns."""
        self._phase("loading transformers", _REFERENCE_SECONDS)
        merged = str(self.merged) if with_merged else None
        orders = Orders(
            base=str(self.base),
            adapter=str(self._trained()),
            merged=merged,
            device="cuda" if self.gpu else "cpu",
            samples=self.samples,
            probes=self.probes,
            grown="" if self.began_from == self.base else str(self.began_from),
            stop_ids=self.run.trained_stops or [],
        )
        write(self.context.directory / ORDERS_FILE, orders)
        command = [
            sys.executable,
            "-P",
            "-m",
            "serve.certificate.reference",
            str(self.context.directory),
        ]
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, preexec_fn=processes.end_with_parent
        )
        while child.poll() is None:
            if self.context.stopping.wait(0.1):
                child.kill()
                child.wait()
                raise Stopped
        if child.returncode != 0:
            words = "\n".join(tail_lines(self.context.job.log_path, 8))
            message = (
                f"The process that runs transformers ended with status {child.returncode}.\n{words}"
            )
            raise LuthierError("transformers could not run", message, "The log has the details.")
        return foreign.read(self.context.directory / REFERENCE_FILE, Reference)

    def _trained(self) -> Path:
        """What training had: the adapter, or the checkpoint that a model was made of, while that is
        there."""
        if not self.full:
            return self.made
        checkpoint = self.run.folder.checkpoint(ModelFolder(self.made).card.step)
        return checkpoint if is_model_directory(checkpoint) else self.made

    # vLLM

    def _ask_tuned(self, evidence: checks.Evidence) -> None:
        """Base and tuned, both from one server."""
        adapters: list[NamedAdapter] = []
        try:
            if not self.full:
                check_servable(read_adapter(self.made), self.base)
                adapters = [(_TUNED, self.made, self.run.id)]
        except MustBeMerged as error:
            evidence.unservable = error.message
        except LuthierError as error:
            evidence.tuned = Served(scores=Broken(error.message), answers=[])
        server = _Server(
            self.context, self._plan(self.began_from, adapters), "vLLM", _ASKING_SECONDS
        )
        try:
            self._await(server)
            evidence.rendered = self._run(
                asking.rendered(server.endpoint, BASE, self.samples, self.probes)
            )
            evidence.base = self._served(server, BASE, "the base model")
            for adapter in server.plan.adapters:
                try:
                    server.load(adapter)
                except LuthierError as error:
                    evidence.tuned = Served(scores=Broken(error.message), answers=[])
                else:
                    evidence.tuned = self._served(server, _TUNED, "the tuned model")
        finally:
            server.stop()

    def _ask_merged(self, evidence: checks.Evidence, merged: Path) -> None:
        server = _Server(
            self.context, self._plan(merged, []), "vLLM, merged model", _ASKING_SECONDS / 2
        )
        try:
            try:
                self._await(server)
            except LuthierError as error:
                evidence.merged = Served(scores=Broken(error.message), answers=[])
                return
            evidence.merged_rendered = self._run(
                asking.rendered(server.endpoint, BASE, self.samples, self.probes)
            )
            evidence.merged = self._served(server, BASE, "the merged model")
        finally:
            server.stop()

    def _plan(self, directory: Path, adapters: list[NamedAdapter]) -> ServerPlan:
        return server_plan(directory.resolve(), adapters, self.context_length, gpu=self.gpu)

    def _await(self, server: VllmServer) -> None:
        if not server.wait_until_up():
            raise Stopped

    def _served(self, server: VllmServer, model: str, title: str) -> Served:
        """Scores and answers of one model of the server."""
        tell = _Counter(
            self.context,
            f"{title} in vLLM",
            len(self.samples) + len(asking.generated(self.samples)),
        )
        scores = self._run(asking.scores(server.endpoint, model, self.samples, tell))
        if isinstance(scores, Broken):
            return Served(scores=scores, answers=[])
        return Served(
            scores=scores,
            answers=self._run(
                asking.answers(server.endpoint, model, self.samples, self.context_length, tell)
            ),
        )

    def _run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run a coroutine unless the job is to stop."""

        async def watched() -> _Result:
            task = asyncio.ensure_future(work)
            while not task.done():
                await asyncio.wait({task}, timeout=0.2)
                if self.context.stopping.is_set():
                    task.cancel()
                    raise Stopped
            return task.result()

        return asyncio.run(watched())


class _Server(VllmServer):
    """A server of the certificate's own: its phases are told with what comes after them."""

    def __init__(
        self, context: WorkerContext, plan: ServerPlan, title: str, seconds_after: float
    ) -> None:
        self._title, self._seconds_after = title, seconds_after
        super().__init__(context, plan)

    def tell(self, phase: Phase) -> None:
        self.context.phase(
            f"{self._title}: {phase.name}", seconds_left=phase.seconds_left + self._seconds_after
        )


class _Counter:
    """Tells how far the questions are, once a second."""

    def __init__(self, context: WorkerContext, title: str, total: int) -> None:
        self._context, self._title, self._total = context, title, total
        self._done, self._began, self._told = 0, time.monotonic(), 0.0

    def __call__(self) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._told >= 1.0:
            self._told = now
            left = (now - self._began) / self._done * (self._total - self._done)
            self._context.phase(
                self._title, seconds_left=round(left), done=self._done, total=self._total
            )


def main(context: WorkerContext) -> dict[str, Any] | None:
    """Make the certificate and write it into the run's folder. None if it was stopped first: then
    the earlier one stays."""
    processes.adopt_orphans()  # what vLLM leaves is this process's to end
    certifier = Certifier(context)
    try:
        written = certifier.make()
    except Stopped:
        return None
    finally:
        if certifier.began_from != certifier.base:
            shutil.rmtree(certifier.began_from, ignore_errors=True)
    certificate.write(certifier.run.folder.path, written)
    return {
        "verdict": written.verdict,
        "reasons": written.reasons,
        "certificate": str(certifier.run.folder.path / certificate.CERTIFICATE_FILE),
        "seconds": written.seconds,
    }


if __name__ == "__main__":
    run_worker(main)
