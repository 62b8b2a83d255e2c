"""What "auto" leaves behind: its choice against the best of all candidates, over a grid of models
and batches on one GPU.

    python -P bench/gpu/regret.py                        # all of it, at most --limit-s seconds
    python -P bench/gpu/regret.py --only 8b --settings 2x1024,8x2048
    # on a CPU: that it runs
    python -P bench/gpu/regret.py --only tiny --settings 2x64,4x64 --engine trl --work DIR

A setting is CONVERSATIONSxTOKENS of a step; the models are the shapes of bench/gpu/speed.py with
random weights, made in --work if they are not there. Each model is loaded once, in a process of its
own. For each setting auto tries its contenders as a run does (trainer.run.trials, with the time
that a run of 2,000 steps gives it), then every candidate is measured on other batches: float8
products or not, every micro-batch that divides the conversations, and, at the largest one,
gradient checkpointing. One that is predicted to be 2.5 times as slow as the best is left out, and
one that takes 1.3 times as long as the best so far is not measured further; those within 30 % of
the best are measured three times more, by turns, and the best counts. Forward and backward passes,
settled ones.

One JSON line for each candidate ("candidate"), setting ("setting") and at the end ("summary"), on
stdout and in --out as it goes. regret = 1 - chosen / best, wanted at most 0.03; "predicted" is that
of the plan's choice without any trial. A candidate that fails is a line; a setting that ends the
process is a line, and the next ones go on in a new process.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bench.gpu.candidates import Grid, ReadyTrainer, tell  # noqa: E402

GRID = ("2x1024", "4x1024", "8x2048", "16x512", "1x4096", "8x512", "4x4096", "1x512")
WANTED = 0.03
_SLOWEST = 2.5  # times the best prediction
_GRACE = 15  # seconds that a process may take to end by itself
_SHARE = 0.65  # of the time, for a model that is not the last


@dataclass(frozen=True)
class Setting:
    conversations: int
    tokens: int

    @classmethod
    def of(cls, text: str) -> Setting:
        conversations, tokens = text.split("x")
        return cls(int(conversations), int(tokens))

    def __str__(self) -> str:
        return f"{self.conversations}x{self.tokens}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="8b,1b", help="the models, in this order")
    parser.add_argument("--settings", default=",".join(GRID))
    parser.add_argument("--limit-s", type=float, default=480.0, help="seconds, all together")
    parser.add_argument("--work", type=Path, default=Path("/dev/shm/luthier-bench"))
    parser.add_argument("--out", type=Path, help="default: regret.jsonl in $OUT or --work")
    parser.add_argument("--engine", default="unsloth", choices=["unsloth", "trl"])
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--make", action="store_true", help="only make the models, and end")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.inside:
        grid(options)
        return
    if options.make:
        from bench.gpu.byte_tokenizer import make_tokenizer
        from bench.gpu.speed import make_models

        tokenizer = make_tokenizer(options.work / "tokenizer")
        make_models(options.work, tokenizer, options.only.split(","))
        return
    out = options.out or Path(os.environ.get("OUT", options.work)) / "regret.jsonl"
    ends = time.monotonic() + options.limit_s
    lines: list[dict[str, Any]] = []
    with out.open("a", encoding="utf-8") as file:
        for line in _lines(options, ends):
            lines.append(line)
            text = json.dumps(line)
            print(text, flush=True)
            file.write(text + "\n")
            file.flush()
        total = summary(lines, options.limit_s - (ends - time.monotonic()))
        print(json.dumps(total), flush=True)
        file.write(json.dumps(total) + "\n")


def summary(lines: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
    rows = [line for line in lines if line.get("regret") is not None and not line["partial"]]
    regrets = [row["regret"] for row in rows]
    return {
        "line": "summary",
        "settings": len(rows),
        "worst_regret": max(regrets, default=None),
        "mean_regret": round(sum(regrets) / len(regrets), 4) if regrets else None,
        "within_3_percent": sum(regret <= WANTED for regret in regrets),
        "worst_predicted_regret": max(
            (row["predicted_regret"] for row in rows if row["predicted_regret"] is not None),
            default=None,
        ),
        "failed": [f"{line['model']} {line['setting']}" for line in lines if "failed" in line],
        "seconds": round(seconds),
    }


def _lines(options: argparse.Namespace, ends: float) -> Iterator[dict[str, Any]]:
    """Of every model, each in processes of its own: as many as it takes."""
    models = options.only.split(",")
    all_end = ends
    for model in models:
        left = all_end - time.monotonic()
        ends = all_end if model == models[-1] else time.monotonic() + _SHARE * left
        if not (options.work / model / "config.json").exists():
            yield from _made(options, model, ends)
        missing = options.settings.split(",")
        while missing and time.monotonic() < ends - 10:
            done: list[str] = []
            started = ""
            for line in _process(options, model, missing, ends):
                if line["line"] == "started":
                    started = line["setting"]
                    continue
                yield line
                if line["line"] == "setting":
                    done.append(line["setting"])
            missing = [setting for setting in missing if setting not in done]
            if missing and time.monotonic() < ends - 10:
                lost = started if started in missing else missing[0]
                yield {
                    "line": "lost",
                    "model": model,
                    "setting": lost,
                    "failed": _tail(options, model),
                }
                missing.remove(lost)
                if not started:  # not even the model was loaded
                    break


def _made(options: argparse.Namespace, model: str, ends: float) -> Iterator[dict[str, Any]]:
    """Make a model, in a process of its own: one that made another has other defaults."""
    began = time.monotonic()
    command = [sys.executable, "-P", __file__, "--make", "--only", model]
    try:
        done = subprocess.run(
            [*command, "--work", str(options.work)],
            capture_output=True,
            text=True,
            check=False,
            timeout=max(1.0, ends - began),
        )
        output, failed = done.stdout + done.stderr, done.returncode != 0
    except subprocess.TimeoutExpired:
        output, failed = "it took too long", True
    if failed:  # what is there is not whole
        shutil.rmtree(options.work / model, ignore_errors=True)
    seconds = round(time.monotonic() - began, 1)
    yield {
        "line": "made",
        "model": model,
        "seconds": seconds,
        **({"setting": "all", "failed": output[-1500:]} if failed else {}),
    }


def _process(
    options: argparse.Namespace, model: str, settings: Sequence[str], ends: float
) -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-P", __file__, "--inside", "--only", model, "--engine"]
    command += [options.engine, "--settings", ",".join(settings), "--work", str(options.work)]
    left = ends - time.monotonic()
    command += ["--limit-s", f"{left:.1f}"]
    environment = {
        **os.environ,
        "LUTHIER_HOME": str(options.work / "home"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "HF_HUB_OFFLINE": "1",
    }
    with _log(options, model).open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            ["timeout", "--signal=TERM", "--kill-after=5", f"{left + _GRACE:.0f}", *command],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
        assert process.stdout is not None
        for text in process.stdout:
            line = _result(text)
            if line is None:
                log.write(text)
            else:
                yield line
        process.wait()


def _result(text: str) -> dict[str, Any] | None:
    """What a line of the process tells; None for others, and for half a one of a killed process."""
    try:
        line: dict[str, Any] = json.loads(text.removeprefix("RESULT "))
    except ValueError:
        return None
    return line if text.startswith("RESULT ") else None


def _log(options: argparse.Namespace, model: str) -> Path:
    return Path(os.environ.get("OUT", options.work)) / f"regret-{model}.log"


def _tail(options: argparse.Namespace, model: str) -> str:
    return _log(options, model).read_text(encoding="utf-8", errors="replace")[-1500:]


# ---- in the process of one model


def grid(options: argparse.Namespace) -> None:
    """Every setting with one loaded model."""
    ends = time.monotonic() + options.limit_s
    began = time.monotonic()
    model_name = options.only
    settings = [Setting.of(text) for text in options.settings.split(",")]
    bench = Bench(model_name, options.work, options.engine, max(each.tokens for each in settings))
    tell(
        line="loaded", model=model_name, seconds=round(time.monotonic() - began, 1), **bench.card()
    )
    for setting in settings:
        if time.monotonic() > ends - 5:
            return
        tell(line="started", model=model_name, setting=str(setting))
        began = time.monotonic()
        try:
            figures = bench.measure(setting, ends)
        except Exception as error:  # noqa: BLE001 - the next setting may do
            figures = {"failed": f"{type(error).__name__}: {error}"[:500]}
            import traceback

            traceback.print_exc()
        is_lost = bench.is_lost()
        seconds = round(time.monotonic() - began, 1)
        head = {"line": "setting", "model": model_name, "setting": str(setting)}
        tell(**head, **figures, seconds=seconds)
        if is_lost:
            sys.exit("the GPU does not answer this process any more")


class Bench:
    """One loaded model and what is measured with it. Everything heavy is imported here, Unsloth
    first."""

    def __init__(self, name: str, work: Path, engine: str, longest: int) -> None:
        if engine == "unsloth":
            from trainer.run import unsloth_engine as loaded
        else:
            from trainer.run import trl_engine as loaded  # type: ignore[no-redef]
        import msgspec
        import torch
        from transformers import AutoTokenizer

        from jobs.gpus import compute_capability, gpus
        from jobs.memory import main_memory
        from trainer.kernels.float8_model import Products
        from trainer.plan.compute import Compute
        from trainer.plan.memory.shape import read_shape
        from trainer.plan.plan import Plan
        from trainer.recipe import Recipe

        self.name, self.work, self.engine_name, self.engine = name, work, engine, loaded
        self.torch = torch
        self.on_gpu = torch.cuda.is_available()
        self.folder = work / name
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
        self.capability = compute_capability() if self.on_gpu else None
        self.memory = gpus()[0].total if self.on_gpu else main_memory()
        shape = read_shape(self.folder)
        assert shape is not None
        self.shape = shape
        self._recipe, self._convert = Recipe, msgspec.convert
        compute = Compute(padding_free=True)
        self.plan = Plan(
            model=str(self.folder),
            model_directory=str(self.folder),
            device="gpu" if self.on_gpu else "cpu",
            engine=engine,
            compute=compute,
            conversations=0,
            heldout=0,
            global_batch=1,
            epochs=1.0,
            steps=0,
            slots=[],
            learning_rate=1e-4,
        )
        self.model = loaded.load_model(self.plan, self.recipe(Setting(1, longest)), self.tokenizer)
        self.products = Products(self.model, keeps=True)

    def is_lost(self) -> bool:
        """Whether an error has left the GPU useless for this process."""
        try:
            if self.on_gpu:
                self.torch.cuda.synchronize()
        except RuntimeError:
            return True
        return False

    def card(self) -> dict[str, Any]:
        import importlib.metadata

        def version(package: str) -> str:
            try:
                return importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                return "-"

        cuda = self.torch.cuda
        return {
            "card": cuda.get_device_name() if self.on_gpu else "cpu",
            "engine": self.engine_name,
            "versions": {name: version(name) for name in ("torch", "unsloth", "trl", "triton")},
            "cpus": os.cpu_count(),
        }

    def recipe(self, setting: Setting) -> Any:
        values = {
            "model": str(self.folder),
            "data": ["none.jsonl"],
            "engine": self.engine_name,
            "certify": False,
            "train": {
                "global_batch": setting.conversations,
                "max_length": setting.tokens,
                "epochs": 1.0,
            },
            "evaluation": {"times": 0, "samples": 0},
            "checkpoints": {"every_minutes": 0.0},
        }
        return self._convert(values, self._recipe)

    def measure(self, setting: Setting, ends: float) -> dict[str, Any]:
        """Auto's own trial of a setting, then every candidate."""
        from trainer.plan import trials
        from trainer.plan.autotune import Task, alternatives, choose
        from trainer.plan.memory.batches import Lengths
        from trainer.plan.trials import Trial

        recipe = self.recipe(setting)
        samples, lengths = self.samples(setting)
        mean = sum(lengths) / len(lengths)
        spread = math.sqrt(sum((length - mean) ** 2 for length in lengths) / len(lengths))
        task = Task(
            recipe,
            self.shape,
            Lengths(mean, max(lengths), spread),
            self.engine_name,
            self.memory,
            setting.conversations,
            capability=self.capability,
        )
        best = choose(task).best
        contenders = [Trial.of(candidate.compute) for candidate in trials.contenders(task, best)]
        every = sorted(alternatives(task, best.compute), key=lambda candidate: candidate.cost)
        largest = max(candidate.compute.micro_batch for candidate in every if candidate.fits)
        candidates = [
            Trial.of(candidate.compute)
            for candidate in every
            if candidate.fits
            and candidate.cost <= _SLOWEST * best.cost
            and (
                candidate.compute.gradient_checkpointing == "none"
                or candidate.compute.micro_batch == largest
            )
        ]
        candidates = [*contenders, *(trial for trial in candidates if trial not in contenders)]
        plan = replace(
            self.plan,
            compute=best.compute,
            conversations=len(lengths),
            global_batch=setting.conversations,
        )
        return self._ready(plan, recipe, samples, len(lengths)).measure(
            Grid(setting, plan, contenders, candidates, len(every), ends)
        )

    def samples(self, setting: Setting) -> tuple[Path, list[int]]:
        """Random tokens in conversations of 70 to 100 % of the setting's length; half of them are
        trained."""
        chance = random.Random(f"{self.name} {setting}")
        path = self.work / f"regret-{self.name}-{setting}.jsonl"
        lengths = []
        with path.open("w", encoding="utf-8") as file:
            for row in range(setting.conversations * 24):
                length = chance.randint(round(0.7 * setting.tokens), setting.tokens)
                ids = [chance.randrange(10, 250) for _ in range(length)]
                labels = [-100] * (length // 2) + ids[length // 2 :]
                source = {"file": "random", "row": row}
                line = {"source": source, "turns": [1], "input_ids": ids, "labels": labels}
                file.write(json.dumps(line) + "\n")
                lengths.append(length)
        return path, lengths

    def _ready(self, plan: Any, recipe: Any, samples: Path, count: int) -> ReadyTrainer:
        from jobs import job as jobs
        from jobs.spec import Spec
        from jobs.worker import WorkerContext
        from trainer.data.pipeline import Prepared
        from trainer.evaluation.evaluator import Questions
        from trainer.run.training import StepWatch, Training

        context = WorkerContext(jobs.create(Spec("run", "regret", "trainer.worker")))
        summary = {"train": count, "heldout": 0, "weighted": False}
        prepared = Prepared(samples, samples, samples, summary, cached=False)
        report: Any = SimpleNamespace(stop_ids=(2,), parts=False)  # nobody asks it
        questions = Questions(recipe.evaluation, self.tokenizer, report, None)
        training = Training(context, self.engine, plan, recipe, self.tokenizer, prepared, questions)
        return ReadyTrainer(self, training._trainer(self.model, StepWatch(), None))


if __name__ == "__main__":
    main()
