"""The trainer's progress as events."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from jobs.worker import WorkerContext
from models import events
from trainer.run.divergence import LossWatch
from trainer.run.tensor_memory import TensorMemory

_OBJECTIVE_FIGURES = (
    "reward_chosen",
    "reward_rejected",
    "reward_margin",
    "reward_accuracy",
    "kl",
    "sample_length",
    "sample_stopped",
    "sampler_difference",
)


class LossExploded(Exception):
    """Training makes no sense any more: why, and since which step."""

    def __init__(self, reason: str, step: int, onset: int) -> None:
        super().__init__(reason)
        self.reason, self.step, self.onset = reason, step, onset


class EventCallback(TrainerCallback):
    """Writes `step` events. `step`, `tokens` and `seconds` (of training) count over every attempt
    of the run; `loss` and `eval_loss` are the last ones seen. Raises LossExploded."""

    name = "telling"

    def __init__(self, context: WorkerContext) -> None:
        self.context = context
        self.step = 0
        self.loss: float | None = None
        self.eval_loss: float | None = None
        self.tokens = 0
        self.watch = LossWatch()
        self.memory = TensorMemory()
        self._tokens_before = 0
        self._seconds_before = 0.0
        self._began = self._step_began = time.monotonic()
        self._step_seconds = 0.0

    @property
    def seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._began

    def state(self) -> dict[str, Any]:
        """For a checkpoint: see trainer.run.checkpoints.Remembering."""
        return {
            "step": self.step,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "loss": self.loss,
            "eval_loss": self.eval_loss,
            "watch": self.watch.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.tokens = self._tokens_before = int(state["tokens"])
        self.step, self._seconds_before = int(state["step"]), float(state["seconds"])
        self.loss, self.eval_loss = state["loss"], state["eval_loss"]
        self.watch.restore(state["watch"])

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._began = time.monotonic()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._step_began = time.monotonic()
        self.memory.begin_step(kwargs["model"], kwargs["optimizer"])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._step_seconds = time.monotonic() - self._step_began

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or "loss" not in logs:
            return
        self.loss, gradient_norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
        # TRL counts those of this process
        tokens = self._tokens_before + int(logs.get("num_tokens", 0))
        event = events.Step(
            step=state.global_step,
            total=state.max_steps,
            epoch=round(float(state.epoch or 0.0), 4),
            loss=self.loss,
            learning_rate=float(logs.get("learning_rate", 0.0)),
            grad_norm=gradient_norm,
            tokens=tokens,
            tokens_per_second=round((tokens - self.tokens) / max(self._step_seconds, 1e-6), 1),
            tensor_bytes=self.memory.peak,
            **{name: float(logs[name]) for name in _OBJECTIVE_FIGURES if name in logs},
        )
        events.tell(self.context, event)
        self.step, self.tokens = state.global_step, tokens
        reason = self.watch.see(state.global_step, self.loss, gradient_norm)
        if reason is not None:
            raise LossExploded(reason, state.global_step, self.watch.onset or state.global_step)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **kwargs: Any,
    ) -> None:
        self.eval_loss = metrics.get("eval_loss", self.eval_loss)
