"""What running under Luthier costs, against the same recipe as a bare TRL script.

    python bench/overhead.py [ROUNDS] [--model DIR] [--data FILE] [--steps N]

Each round trains the same samples twice, in processes of their own, in turns: by Luthier's worker
in a job folder, with its events, checkpoints and watches; and by a script that has nothing but
TRL's SFTTrainer, with the same arguments, model, adapter and samples. Both tell when each of their
steps ended; the first three, which warm up, do not count. Printed are steps a second, their ratio
by round, and the share of the step time that is spent inside Luthier's own callbacks, measured in
the run itself, which the machine's noise does not reach. Saving and evaluating is work that a bare
script would do too, and is left out. The exit status is 1 if that share is above 1 %, or if the
median ratio is below 0.99 by more than the rounds differ among themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from trainer.examples import CAPTAIN

LIMIT = 0.01
WARM = 3  # steps
CHECKOUT = Path(__file__).resolve().parent.parent

RECIPE = """
model = "{model}"
data = ["{data}"]
[train]
epochs = {epochs}
learning_rate = 1e-3
global_batch = 8
max_length = 512
[evaluation]
times = 0
"""


def luthier(job: Path) -> None:
    """Run the worker of a job, with a stopwatch around every call of Luthier's callbacks but
    saving."""
    spent = [0.0]
    from jobs.job import Job
    from jobs.worker import WorkerContext
    from trainer import worker
    from trainer.evaluation.evaluator import Evaluator
    from trainer.run.progress_events import EventCallback
    from trainer.run.saving import CheckpointCallback
    from trainer.run.training import StepWatch

    def timed(kind: type) -> None:
        for name in [name for name in vars(kind) if name.startswith("on_") and name != "on_save"]:
            real = getattr(kind, name)

            def call(*arguments: Any, real: Any = real, **keywords: Any) -> Any:
                began = time.perf_counter()
                try:
                    return real(*arguments, **keywords)
                finally:
                    spent[0] += time.perf_counter() - began

            setattr(kind, name, call)

    for kind in (EventCallback, CheckpointCallback, Evaluator, StepWatch):
        timed(kind)
    worker.main(WorkerContext(Job(job)))
    events = [json.loads(line) for line in (job / "events.jsonl").read_text().splitlines()]
    ends = [event["t"] for event in events if event["kind"] == "step"]
    (job / "told.json").write_text(json.dumps({"ends": ends, "callbacks": spent[0]}))


def bare(job: Path) -> None:
    """The same by TRL alone, on the samples that the other run has made."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed
    from trl import SFTConfig, SFTTrainer

    from jobs.job import Job
    from trainer.launch import frozen_recipe

    plan, recipe = Job(job).spec.settings, frozen_recipe(Job(job))
    rows = [json.loads(line) for line in (job / "data" / "train.jsonl").read_text().splitlines()]
    samples = Dataset.from_list(
        [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows]
    )
    directory, ends = plan["model_directory"], []
    set_seed(recipe.train.seed)
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.bfloat16, attn_implementation="sdpa"
    )
    model.config.use_cache = False
    lora = LoraConfig(
        r=recipe.lora.r,
        lora_alpha=recipe.lora.alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_log(self, *arguments: Any, **keywords: Any) -> None:
            ends.append(time.time())

    arguments = SFTConfig(
        output_dir=str(job / "bare"),
        num_train_epochs=recipe.train.epochs,
        learning_rate=recipe.train.learning_rate,
        lr_scheduler_type=recipe.train.schedule,
        warmup_steps=round(recipe.train.warmup * plan["steps"]),
        per_device_train_batch_size=plan["micro_batch"],
        gradient_accumulation_steps=plan["accumulation"],
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        seed=recipe.train.seed,
        data_seed=recipe.train.seed,
        bf16=True,
        use_cpu=plan["device"] == "cpu",
        dataloader_pin_memory=plan["device"] != "cpu",
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        report_to="none",
        disable_tqdm=True,
    )
    SFTTrainer(
        model=get_peft_model(model, lora),
        args=arguments,
        train_dataset=samples,
        processing_class=AutoTokenizer.from_pretrained(directory),
        callbacks=[Clock()],
    ).train()
    # the last log is the summary
    (job / "told.json").write_text(json.dumps({"ends": ends[:-1], "callbacks": 0.0}))


def measure_side(side: str, job: Path) -> tuple[float, float]:
    """Steps a second, and the share of the step time inside Luthier's callbacks."""
    with (job / "output.log").open("ab") as output:
        command = [sys.executable, __file__, "--only", side, str(job)]
        subprocess.run(
            command,
            check=True,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
    figures = json.loads((job / "told.json").read_text())
    ends = figures["ends"]
    seconds = (ends[-1] - ends[WARM]) / (len(ends) - 1 - WARM)
    return 1.0 / seconds, figures["callbacks"] / len(ends) / seconds


def make_job(arguments: argparse.Namespace, home: Path) -> Path:
    from jobs.job import create
    from models.run_folder import RECIPE_FILE
    from trainer.launch import run_spec
    from trainer.recipe import load, to_toml

    path = home / "overhead.toml"
    path.write_text(
        RECIPE.format(model=arguments.model, data=arguments.data, epochs=arguments.steps / 15)
    )
    recipe = load(path)
    job = create(run_spec(recipe))
    (job.directory / RECIPE_FILE).write_text(to_toml(recipe))
    return job.directory


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rounds", nargs="?", type=int, default=3)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--data", default=str(CAPTAIN / "train.jsonl"))
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--only", nargs=2, metavar=("WHAT", "JOB"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        {"luthier": luthier, "bare": bare}[arguments.only[0]](Path(arguments.only[1]))
        return 0
    if "LUTHIER_HOME" not in os.environ:
        os.environ["LUTHIER_HOME"] = tempfile.mkdtemp(prefix="luthier-overhead-")
    Path(os.environ["LUTHIER_HOME"]).mkdir(parents=True, exist_ok=True)
    if arguments.model == "builtin":
        from jobs.job import wait
        from models.registry import prepare_builtin

        if (preparing := prepare_builtin()) is not None:
            wait(preparing)
    ratios, shares = [], []
    for number in range(arguments.rounds):
        job = make_job(arguments, Path(os.environ["LUTHIER_HOME"]))
        pace, share = measure_side("luthier", job)
        other, _ = measure_side("bare", job)
        ratios.append(pace / other)
        shares.append(share)
        print(
            f"round {number + 1}: {pace:.3f} steps/s under Luthier, {other:.3f} bare: ratio"
            f" {pace / other:.3f}; callbacks {share:.3%}"
        )
    middle, spread = statistics.median(ratios), max(ratios) - min(ratios)
    print(
        f"median ratio {middle:.3f} (they differ by {spread:.3f}); callbacks take {max(shares):.3%}"
        f" of the step time, limit {LIMIT:.0%}"
    )
    return 1 if max(shares) > LIMIT or middle < 1.0 - LIMIT - spread else 0


if __name__ == "__main__":
    sys.path.insert(0, str(CHECKOUT))
    sys.exit(main())
