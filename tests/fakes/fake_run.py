"""A training worker without a model, which tells what a run tells: `python -m tests.fakes.fake_run
JOB_DIRECTORY`. Its recipe's seed says how it goes: 13 fails at its data, 7 trains until it is
stopped. A step takes STEP_SECONDS of the environment, or 20 ms.
"""

from __future__ import annotations

import json
import os
import time
import tomllib
from typing import Any

from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext, run_worker
from models import events
from models.run_folder import COMPLETE, RECIPE_FILE, RunFolder

FAILS, ENDLESS = 13, 7
_TOTAL = 6


def main(context: WorkerContext) -> dict[str, Any] | None:
    # how often it really ran, whatever the events say
    with (context.directory / "runs.log").open("a") as log:
        log.write(f"{os.getpid()}\n")
    folder = RunFolder(context.directory)
    recipe = tomllib.loads((context.directory / RECIPE_FILE).read_text())
    seed = recipe["train"]["seed"]
    context.phase("preparing the data")
    if seed == FAILS:
        raise LuthierError(
            "Some rows need a decision", "data.jsonl, row 3: half a row.", "Mend it."
        )
    data = {"conversations": 20, "train": 18, "heldout": 2, "tokens": 900, "trained_tokens": 400}
    context.event("data", **data, ledger={"rows": {"kept": 20, "dropped": 0}})
    events.tell(context, events.Eval(step=0, loss=3.0))
    step, total = 0, 100_000 if seed == ENDLESS else _TOTAL
    while step < total and not context.stopping.is_set():
        step += 1
        loss = 2.0 / step
        events.tell(context, events.Step(step=step, total=total, loss=loss, tokens=100.0 * step))
        if step in (3, total):
            _save(context, folder, step)
        time.sleep(float(os.environ.get("STEP_SECONDS", "0.02")))
    if context.stopping.is_set():
        _save(context, folder, step)
        return None
    folder.adapter.mkdir()
    (folder.adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    return {"adapter": str(folder.adapter)}


def _save(context: WorkerContext, folder: RunFolder, step: int) -> None:
    checkpoint = folder.checkpoint(step)
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / COMPLETE).touch()
    events.tell(context, events.Eval(step=step, loss=2.5 / step))
    events.tell(context, events.Checkpoint(step=step, path=str(checkpoint), reason="regular"))


if __name__ == "__main__":
    run_worker(main)
