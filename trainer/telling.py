"""The trainer's progress as events, and a stop that saves a checkpoint between two steps and ends training."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from jobs.errors import LuthierError
from jobs.worker import WorkerContext


class EventCallback(TrainerCallback):
    """Writes `step` and `eval` events. `loss` and `eval_loss` are the last ones seen."""

    def __init__(self, context: WorkerContext) -> None:
        self.context = context
        self.loss: float | None = None
        self.eval_loss: float | None = None
        self._step_began = time.monotonic()
        self._step_seconds = 0.0
        self._tokens = 0.0

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._step_began = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._step_seconds = time.monotonic() - self._step_began
        if self.context.stopping.is_set():
            control.should_save = True
            control.should_training_stop = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        logs = logs or {}
        if "eval_loss" in logs:
            self.eval_loss = float(logs["eval_loss"])
            self.context.event("eval", step=state.global_step, loss=self.eval_loss)
        elif "loss" in logs:
            self.loss = float(logs["loss"])
            tokens = float(logs.get("num_tokens", 0.0))
            self.context.event(
                "step",
                step=state.global_step,
                total=state.max_steps,
                epoch=round(float(state.epoch or 0.0), 4),
                loss=self.loss,
                learning_rate=float(logs.get("learning_rate", 0.0)),
                grad_norm=float(logs.get("grad_norm", 0.0)),
                tokens_per_second=round((tokens - self._tokens) / max(self._step_seconds, 1e-6), 1),
            )
            self._tokens = tokens
            if self.loss != self.loss:
                raise LuthierError(
                    "The loss is not a number",
                    f"It became NaN at step {state.global_step}.",
                    "Lower train.learning_rate, and look at the data of that step.",
                )
