"""A server as a job: `python -P -m serve.worker JOB_DIRECTORY` starts vLLM, loads the adapters,
tells what it serves and watches it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jobs import processes
from jobs.job import descendants_of_own
from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext, run_worker
from models import events
from models.folder import ModelFolder
from models.installation import missing_package
from serve.client import (
    Endpoint,
    ModelCard,
    list_cards,
    load_adapter,
    post,
    server_id,
    server_state,
    unload_adapter,
)
from serve.keeping import why_over
from serve.kernel_build import start_build
from serve.key_files import control_key
from serve.log import (
    FIRST_PHASE,
    READY,
    Phase,
    Phases,
    died_of_fork,
    last_words,
    missing_module,
    root_cause,
)
from serve.plan import DRAIN_SECONDS, STOP_SECONDS, ServedAdapter, ServerPlan, run_of
from serve.ports import port_taken, remember_port, reserved
from serve.restarts import MOST_RESTARTS, Crash, Restarts
from serve.servers import LOOK, ServedModel, base_url, write_server
from serve.sleeper import Sleeper
from serve.vllm_command import command, environment, has_compiled
from serve.vllm_process import START_METHOD

_WHOLE_OUTPUT = "The log has vLLM's whole output."
_POLL_SECONDS = 0.2
_RECONCILE_SECONDS = 1.0
# a vLLM that is starting has nothing to lose, and may not listen for long
_STOP_STARTING_SECONDS = 2.0
_SWEEP_SECONDS = 1.0
_DRAIN_ORDER_SECONDS = 5.0
# Against the 36 s of two CPU cores an H200 takes 42 where kernels are kept, 130 to 180 where not.
_GPU_START_FACTOR, _COMPILING_FACTOR = 1.2, 4.5


class VllmServer:
    """vLLM as a child of this process, from its start to its end."""

    def __init__(self, context: WorkerContext, plan: ServerPlan) -> None:
        self.context = context
        self.plan = plan
        self.endpoint = Endpoint(base_url(plan.host, plan.port), control_key())
        self.served: list[ServedModel] = []
        self.contents: dict[str, str] = {}
        self._written: dict[str, tuple[int, int]] = {}
        self._log_mark = self._log_size()  # what the log says of a death stands after this
        self._slower = 1.0
        if plan.device == "gpu":
            self._slower = _GPU_START_FACTOR if has_compiled() else _COMPILING_FACTOR
        self._variables = environment(plan, context.job.id)
        if plan.device == "gpu":
            start_build(self._variables)
        self._child = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        # Its output is this process's: the job's log, which outlives both.
        return subprocess.Popen(
            command(self.plan, sys.executable),
            stdin=subprocess.DEVNULL,
            env=self._variables,
            preexec_fn=processes.end_with_parent,
        )

    def wait_until_up(self) -> bool:
        """Tell the phases until vLLM answers. False if a stop came first, LuthierError if vLLM
        ends."""
        phases = Phases(self.context.job.log_path, self._log_mark)
        while not self.context.stopping.wait(_POLL_SECONDS):
            for phase in phases.read():
                self.tell(phase)
            if self._must_not_fork():
                phases = self._start_again_without_fork()
            self._check_alive("while starting")
            if self._answers():
                return True
        return False

    def _must_not_fork(self) -> bool:
        """Whether vLLM has ended because its engine was forked from a process that had touched the
        GPU, which neither it nor serve.vllm_plugin had seen."""
        return (
            self._variables.get(START_METHOD) == "fork"
            and self._child.poll() is not None
            and died_of_fork(self.context.job.log_path, self._log_mark)
        )

    def _start_again_without_fork(self) -> Phases:
        self._sweep()
        self._variables[START_METHOD] = "spawn"
        self._log_mark = self._log_size()
        print("The forked engine could not use the GPU: vLLM starts again without a fork.")
        self._child = self._start()
        return Phases(self.context.job.log_path, self._log_mark)

    def tell(self, phase: Phase) -> None:
        self.context.phase(phase.name, seconds_left=phase.seconds_left * self._slower)

    def load(self, adapter: ServedAdapter) -> None:
        """Load an adapter of the plan. One that vLLM refuses fails the server: it was asked for by
        name."""
        self.context.phase(f"loading adapter {adapter.name}")
        try:
            asyncio.run(load_adapter(self.endpoint, adapter.name, adapter.path))
        except LuthierError as error:
            self._check_alive(f"while loading the adapter {adapter.name}")
            self._tell_of(adapter.name, adapter.path, error.message, ok=False)
            raise LuthierError(
                f"vLLM refused the adapter {adapter.name}",
                error.message,
                "The log has the details.",
            ) from error
        self._tell_of(adapter.name, adapter.path)

    def load_again(self, models: list[ServedModel]) -> None:
        """The adapters of a server that crashed; one that has become unservable meanwhile is told,
        as an event, and left out."""
        for model in models:
            if model.kind == "base":
                continue
            try:
                self.load(ServedAdapter(model.id, model.path, model.run))
            except LuthierError:
                self._check_alive("while reloading its adapters")
            else:
                if model.pinned:
                    self.pin(model.id)

    def watch(self, sleeper: Sleeper | None) -> str:
        """Keep server.json true until a stop comes, and let vLLM sleep and wake. Why it is to end
        by itself; empty after a stop. LuthierError if vLLM ends."""
        next_look = 0.0
        while not self.context.stopping.wait(_POLL_SECONDS):
            self._check_alive("while serving")
            if sleeper is not None:
                self._advance(sleeper)
            if time.monotonic() >= next_look and (reason := self._why_over()):
                return reason
            asked = self.context.directory / LOOK
            if (time.monotonic() < next_look and not asked.exists()) or (
                sleeper is not None and sleeper.asleep
            ):
                continue
            asked.unlink(missing_ok=True)
            next_look = time.monotonic() + _RECONCILE_SECONDS
            # busy, or just ended, which the next look at the child tells
            with contextlib.suppress(LuthierError):
                self.reconcile()
        return ""

    def _why_over(self) -> str:
        with contextlib.suppress(LuthierError):  # busy, or just ended
            return why_over(self.context.directory, self.plan.kept_by, self.endpoint)
        return ""

    def _advance(self, sleeper: Sleeper) -> None:
        try:
            sleeper.advance()
        except Crash:
            raise
        except LuthierError:  # the guard does not answer: busy, or just ended
            self._check_alive("while asleep" if sleeper.asleep else "while serving")

    def reconcile(self) -> None:
        """Write down what vLLM says it serves, if that has changed: anybody with the control key
        may load, unload and pin adapters.

        One whose folder is gone is unloaded. The guard lets nobody ask it: the engine would die of
        reading it again. So is one whose folder was written anew: vLLM may read it again at any
        time, and would answer from what the old one had cached under its name.
        """
        cards = asyncio.run(list_cards(self.endpoint, seconds=10.0))
        pinned = asyncio.run(server_state(self.endpoint)).get("pinned", [])
        self._log_mark = self._log_size()
        models = [self._model(card, pinned) for card in cards]
        if models == self.served:
            return
        known = {model.id: model for model in self.served}
        for model in models:
            before = known.get(model.id)
            if model.missing:
                self._unload(model, f"Its folder was deleted, so Luthier unloaded it: {model.path}")
            elif model.changed:
                message = (
                    f"The files in its folder changed, so Luthier unloaded it: {model.path}. Load"
                    " it again to serve the new version under a new name."
                )
                self._unload(model, message)
            elif model.kind == "adapter" and (before is None or before.path != model.path):
                with contextlib.suppress(OSError):
                    self.contents[model.id] = ModelFolder(model.path).identity()
                if self.served:
                    self._tell_of(model.id, model.path, "loaded into the running server")
        write_server(self.context.directory, self.plan, models, self.contents)
        self.served = models

    def _unload(self, model: ServedModel, message: str) -> None:
        with contextlib.suppress(LuthierError):
            asyncio.run(unload_adapter(self.endpoint, model.id))
        self._tell_of(model.id, model.path, message, ok=False)

    def _tell_of(self, name: str, path: Path, message: str = "", *, ok: bool = True) -> None:
        adapter = events.Adapter(name=name, path=str(path), ok=ok, message=message)
        events.tell(self.context, adapter)

    def pin(self, name: str) -> None:
        with contextlib.suppress(LuthierError):  # it answers all the same
            asyncio.run(post(self.endpoint, "/luthier/pin", {"name": name}))

    def drain(self) -> None:
        """Take no more requests, and let those that are being answered finish, for a while."""
        try:
            left = asyncio.run(
                asyncio.wait_for(post(self.endpoint, "/luthier/drain", {}), _DRAIN_ORDER_SECONDS)
            )["in_flight"]
            deadline = time.monotonic() + DRAIN_SECONDS
            while left and time.monotonic() < deadline and self._child.poll() is None:
                self.context.phase(f"finishing {left} answer{'s' if left > 1 else ''}")
                time.sleep(0.5)
                left = asyncio.run(server_state(self.endpoint))["in_flight"]
        # it does not answer any more: there is nothing to wait for
        except (LuthierError, TimeoutError):
            return

    def stop(self) -> None:
        """End vLLM with care, then without, and whatever it leaves: its engine holds the memory,
        and survives it."""
        if self.served and self._child.poll() is None:
            self.drain()
        self._child.terminate()
        try:
            self._child.wait(STOP_SECONDS if self.served else _STOP_STARTING_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._sweep()

    def _sweep(self) -> None:
        """End what a vLLM that has ended left."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + _SWEEP_SECONDS
            for pid in descendants_of_own(self.context.job):
                processes.send_signal(pid, number)
            while descendants_of_own(self.context.job) and time.monotonic() < deadline:
                time.sleep(0.05)

    def _answers(self) -> bool:
        """Whether this server, not another on the same port, answers."""
        try:
            return asyncio.run(server_id(self.endpoint)) == self.context.job.id
        except LuthierError:
            return False

    def root_cause(self) -> str | None:
        """The error that ended vLLM, as its log has it."""
        return root_cause(self.context.job.log_path, self._log_mark)

    def _log_size(self) -> int:
        return self.context.job.log_path.stat().st_size

    def _check_alive(self, when: str) -> None:
        code = self._child.poll()
        if code is None or self.context.stopping.is_set():
            return
        log = self.context.job.log_path
        cause, words = self.root_cause(), "\n".join(last_words(log))
        if cause is not None and "ddress already in use" in cause:
            raise port_taken(self.plan.host, self.plan.port)
        how = (
            f"was killed by {signal.Signals(-code).name}"
            if code < 0
            else f"ended with exit status {code}"
        )
        message = "\n".join(part for part in (f"vLLM {how} {when}.", cause, words) if part)
        kind = Crash if self.served else LuthierError
        missing = missing_module(cause or "")
        hint = f"Install it: {missing_package(missing)}" if missing else _WHOLE_OUTPUT
        raise kind("vLLM ended", message, hint)

    def _model(self, card: ModelCard, pinned: list[str]) -> ServedModel:
        if card.parent is None:
            return ServedModel(card.id, "base", self.plan.base)
        planned = next(
            (
                adapter
                for adapter in self.plan.adapters
                if (adapter.name, str(adapter.path)) == (card.id, card.root)
            ),
            None,
        )
        run = (
            planned.run
            if planned is not None and planned.run is not None
            else run_of(Path(card.root))
        )
        missing = not (Path(card.root) / "adapter_model.safetensors").is_file()
        changed = not missing and self._is_changed(card.id, Path(card.root))
        return ServedModel(
            card.id, "adapter", Path(card.root), run, card.id in pinned, missing, changed
        )

    def _is_changed(self, name: str, path: Path) -> bool:
        """Whether the folder that an adapter was loaded from holds another one by now; read only
        where it was written to."""
        with contextlib.suppress(OSError):
            stat = (path / "adapter_model.safetensors").stat()
            written = (stat.st_mtime_ns, stat.st_ino)
            was_served = any((model.id, model.path) == (name, path) for model in self.served)
            if (
                was_served
                and written != self._written.get(name)
                and ModelFolder(path).identity() != self.contents.get(name)
            ):
                return True
            self._written[name] = written
        return False


def main(context: WorkerContext) -> dict[str, Any] | None:
    """Serve until stopped. A vLLM that ends while it serves is started again, a few times; one that
    does not come up is not. The reason where it ends by itself."""
    plan = ServerPlan.from_json(context.settings)
    with reserved(plan.host, plan.port):
        reason = _serve(context, plan)
    return {"reason": reason} if reason else None


def _serve(context: WorkerContext, plan: ServerPlan) -> str:
    # what vLLM leaves is this process's to end, also when the supervisor is gone
    processes.adopt_orphans()
    restarts, before = Restarts(), None
    sleeper = (
        Sleeper(context, Endpoint(base_url(plan.host, plan.port), control_key()))
        if plan.sleeps
        else None
    )
    while True:
        server = VllmServer(context, plan)
        try:
            if _brought_up(server, before):
                return server.watch(sleeper)
            return ""
        except Crash as crash:
            pause = restarts.pause(time.monotonic())
            if pause is None:
                message = (
                    f"{crash.message}\nLuthier restarted it {MOST_RESTARTS} times within an hour."
                )
                raise LuthierError("vLLM keeps crashing", message, crash.hint) from crash
            reason = crash.message.split("\n", 2)
            restart = events.Restart(
                number=restarts.count,
                most=MOST_RESTARTS,
                reason=" ".join(reason[:2]),
                seconds=pause,
            )
            events.tell(context, restart)
            context.phase(
                f"restarting in {pause:.0f} s after a crash ({restarts.count} of {MOST_RESTARTS})"
            )
            before = server
        finally:
            server.stop()
        if context.stopping.wait(pause) or (sleeper is not None and not sleeper.regain()):
            return ""


def _brought_up(server: VllmServer, before: VllmServer | None) -> bool:
    """Whether it serves: what the plan says, or what the one `before` it served when it crashed.
    False if a stop came first."""
    server.tell(FIRST_PHASE)
    if not server.wait_until_up():
        return False
    if before is None:
        for adapter in server.plan.adapters:
            if server.context.stopping.is_set():
                return False
            server.load(adapter)
    else:
        server.contents = dict(before.contents)
        server.load_again(before.served)
    server.reconcile()
    remember_port(server.plan.port)
    server.context.phase(READY, port=server.plan.port)
    return True


if __name__ == "__main__":
    run_worker(main)
