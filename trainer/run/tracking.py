"""Experiment trackers as transformers has them (`report_to`), with the run's name and its frozen
recipe. Heavy: for workers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import (
    MLflowCallback,
    TensorBoardCallback,
    TrackioCallback,
    WandbCallback,
)

from jobs.home import home
from trainer.recipe import Recipe, to_toml


def reporting(recipe: Recipe, run: str) -> dict[str, Any]:
    """The arguments that name the trackers and the run."""
    trackers = recipe.trackers.report_to
    return (
        {"report_to": list(trackers), "run_name": run, "project": recipe.trackers.project}
        if trackers
        else {"report_to": "none"}
    )


def prepare_trackers(recipe: Recipe, folder: Path) -> None:
    """Set what trackers read from the environment, where the user has not: where they write, and
    what the run in `folder` belongs to.

    Without trackers nothing is set: the libraries' threads read the environment, and one that reads
    while it is changed may crash.
    """
    if not recipe.trackers.report_to:
        return
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(folder / "tensorboard"))
    os.environ.setdefault("WANDB_PROJECT", recipe.trackers.project)
    os.environ.setdefault("WANDB_DIR", str(folder))
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # its crash reports go to a third party
    os.environ.setdefault("WANDB_RUN_ID", folder.name)  # a resumed run goes on in the same one
    os.environ.setdefault("WANDB_RESUME", "allow")
    os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", recipe.trackers.project)
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{home() / 'mlflow.db'}")


class RecipeTelling(TrainerCallback):
    """Gives the frozen recipe to the trackers, once their own callbacks have set them up: it comes
    after them."""

    def __init__(self, recipe: Recipe, callbacks: list[TrainerCallback]) -> None:
        self._recipe = recipe
        self._callbacks = callbacks

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        text, values = to_toml(self._recipe), msgspec.to_builtins(self._recipe)
        for callback in self._callbacks:
            if isinstance(callback, TensorBoardCallback):
                callback.tb_writer.add_text("recipe", f"```toml\n{text}\n```")
            elif isinstance(callback, WandbCallback):
                callback._wandb.config.update({"recipe": values}, allow_val_change=True)
            elif isinstance(callback, TrackioCallback):
                callback._trackio.config.update({"recipe": values}, allow_val_change=True)
            elif isinstance(callback, MLflowCallback):
                callback._ml_flow.set_tag("recipe", text)
