"""The job that makes a certificate: `python -P -m serve.certificate.worker JOB_DIRECTORY`.

First the bytes, then transformers with PEFT in a process that ends, then a vLLM of its own with
base and adapter, then another with the merged model if there is one. Each is a child of this
process and is gone before the next begins.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from jobs import processes
from jobs.job import Job, stop
from jobs.luthier_error import LuthierError
from jobs.state import Queued, Running, Starting
from jobs.worker import WorkerContext, run_worker
from models import certificate, provenance
from models.adapters import MustBeMerged, check_servable, read_adapter
from models.certificate import Certificate
from models.folder import ModelFolder
from models.hashing import file_hashes
from models.merge import receipt
from models.merge.launch import merge_settings, start_merge
from models.model_directory import is_model_directory
from models.runs import Run
from serve.certificate import asking, checks, kept
from serve.certificate.launch import merged_directory
from serve.certificate.measured import (
    Broken,
    Orders,
    Reference,
    Served,
)
from serve.certificate.planning import server_plan
from serve.certificate.stoppable import Stopped, run_reference, wait_for
from serve.certificate.turns import PROBES, choose_samples
from serve.client import Endpoint
from serve.log import Phase, is_second_hand
from serve.plan import BASE, ServerPlan
from serve.planning import NamedAdapter
from serve.servers import Server
from serve.worker import VllmServer

_TUNED = "tuned"
# What two CPU cores take, for the time left: the built-in model's figures.
_BYTES_SECONDS, _REFERENCE_SECONDS, _VLLM_SECONDS, _ASKING_SECONDS = 1.0, 25.0, 40.0, 35.0
_QUEUED_SECONDS = 30.0  # how long the chat's server may wait for the GPU beside this job
_LOOK_SECONDS = 0.2

_Result = TypeVar("_Result")


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
        self.kept: Job | None = None

    def make(self) -> Certificate:
        """Measure and checks. Raises Stopped when it is to end."""
        began = time.monotonic()
        if self.gpu:  # it starts beside all that comes before; two CPU cores have enough with one
            self._start_kept()
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
                if not self.gpu:
                    self._start_kept()
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
        return run_reference(self.context, orders)

    def _trained(self) -> Path:
        """What training had: the adapter, or the checkpoint that a model was made of, while that is
        there."""
        if not self.full:
            return self.made
        checkpoint = self.run.folder.checkpoint(ModelFolder(self.made).card.step)
        return checkpoint if is_model_directory(checkpoint) else self.made

    # vLLM

    def _start_kept(self) -> None:
        if self.context.settings.get("keeps_server"):
            self.kept = kept.have_server(self.run, self.context_length, self.context.job)

    def end_kept(self) -> None:
        """Stop the server that this certificate has started, if nobody has come for it."""
        if self.kept is not None and kept.is_for_nobody(self.kept, self.context.job):
            stop(self.kept)

    def _ask_kept(self, job: Job, evidence: checks.Evidence) -> bool:
        """Base and tuned, both from the server that the chat has next. False if that has not
        started or was stopped meanwhile: then nothing that it said counts."""
        server = self._once_kept_runs(job)
        if server is None:
            return False
        try:
            tuned = kept.served_name(server, self.run)
        except LuthierError:
            return False
        try:
            endpoint = server.control_endpoint
            rendered = self._run(asking.rendered(endpoint, BASE, self.samples, self.probes))
            base = self._served(endpoint, BASE, "the base model")
            tuned_served = self._served(endpoint, tuned, "the tuned model")
        except LuthierError:
            if isinstance(job.state(), Running):
                raise
        if not isinstance(job.state(), Running):
            return False
        evidence.rendered, evidence.base, evidence.tuned = rendered, base, tuned_served
        return True

    def _once_kept_runs(self, job: Job) -> Server | None:
        deadline = time.monotonic() + _QUEUED_SECONDS
        while isinstance(state := job.state(), Queued | Starting):
            if isinstance(state, Queued) and time.monotonic() > deadline:
                self.end_kept()  # the GPU has no room for it after all
                return None
            self._phase("waiting for the server", _ASKING_SECONDS)
            self.context.stopping.wait(_LOOK_SECONDS)
        return kept.server_of(job) if isinstance(state, Running) else None

    def _ask_tuned(self, evidence: checks.Evidence) -> None:
        """Base and tuned, both from one server."""
        if self.kept is not None and self._ask_kept(self.kept, evidence):
            return
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
            evidence.base = self._served_by(server, BASE, "the base model")
            for adapter in server.plan.adapters:
                try:
                    server.load(adapter)
                except LuthierError as error:
                    evidence.tuned = Served(scores=Broken(error.message), answers=[])
                else:
                    evidence.tuned = self._served_by(server, _TUNED, "the tuned model")
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
            evidence.merged = self._served_by(server, BASE, "the merged model")
        finally:
            server.stop()

    def _plan(self, directory: Path, adapters: list[NamedAdapter]) -> ServerPlan:
        return server_plan(directory.resolve(), adapters, self.context_length, gpu=self.gpu)

    def _await(self, server: VllmServer) -> None:
        if not server.wait_until_up():
            raise Stopped

    def _served(self, endpoint: Endpoint, model: str, title: str) -> Served:
        """Scores and answers of one model of a server."""
        tell = _Counter(
            self.context,
            f"{title} in vLLM",
            len(self.samples) + len(asking.generated(self.samples)),
        )
        scores = self._run(asking.scores(endpoint, model, self.samples, tell))
        if isinstance(scores, Broken):
            return Served(scores=scores, answers=[])
        return Served(
            scores=scores,
            answers=self._run(
                asking.answers(endpoint, model, self.samples, self.context_length, tell)
            ),
        )

    def _served_by(self, server: VllmServer, model: str, title: str) -> Served:
        """The same from a server of this certificate's own: if that ends, its log has the cause."""
        served = self._served(server.endpoint, model, title)
        if (
            isinstance(served.scores, Broken)
            and is_second_hand(served.scores.reason)
            and (cause := server.root_cause())
        ):
            return Served(scores=Broken(cause), answers=[])
        return served

    def _run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return wait_for(self.context, work)


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
        certifier.end_kept()
        return None
    finally:
        if certifier.began_from != certifier.base:
            shutil.rmtree(certifier.began_from, ignore_errors=True)
    certificate.write(certifier.run.folder.path, written)
    way_out = _merge_instead(certifier.run, written)
    return {
        **({"merging": way_out} if way_out else {}),
        "verdict": written.verdict,
        "reasons": written.reasons,
        "certificate": str(certifier.run.folder.path / certificate.CERTIFICATE_FILE),
        "seconds": written.seconds,
    }


def _merge_instead(run: Run, written: Certificate) -> str:
    """Where vLLM ignores the adapter, have it merged, which is certified again then and served as a
    model of its own: the id of that job, "" where there is nothing to mend, or no room."""
    if written.merged is not None or not written.ignored_by_server:
        return ""
    try:
        return start_merge(merge_settings(run), run, certify=True).id
    except LuthierError as error:  # the certificate stands all the same
        print(error, file=sys.stderr, flush=True)
        return ""


if __name__ == "__main__":
    run_worker(main)
