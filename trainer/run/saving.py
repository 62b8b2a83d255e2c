"""When a checkpoint is saved, and what goes into it. What is deleted: trainer.run.checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from jobs.files import write_json
from jobs.worker import WorkerContext
from models import events
from models.run_folder import RunFolder
from trainer.distributed import ranks
from trainer.distributed.sharding import local
from trainer.plan.compute import Compute
from trainer.recipe import Checkpoints
from trainer.run.checkpoints import (
    MEMORY_FILE,
    Checkpoint,
    Remembering,
    complete_checkpoints,
    discard,
    seal,
    superfluous,
)
from trainer.run.progress_events import LossExploded


class EvaluationStopped(Exception):
    """A stop came while an evaluation went on. To be raised by whatever takes long in one."""


class CheckpointCallback(TrainerCallback):
    """Saves a checkpoint at every evaluation, at the end, when a stop is asked for, and as often as
    the recipe says. It comes last, after the callbacks that ask for evaluations. `callbacks` are
    all of them: what those that are Remembering know goes into the checkpoint. `best` gives the
    step of the best evaluation so far. While `suspicious` says that the loss may be exploding, none
    is removed."""

    def __init__(
        self,
        context: WorkerContext,
        choice: Checkpoints,
        compute: Compute,
        callbacks: Sequence[TrainerCallback],
        best: Callable[[], int | None],
        suspicious: Callable[[], bool],
    ) -> None:
        self.context = context
        self.last: Checkpoint | None = None
        self.stopped = False
        self._choice = choice
        self._compute = compute
        self._best = best
        self._suspicious = suspicious
        self._remembering = [
            callback for callback in callbacks if isinstance(callback, Remembering)
        ]
        self._reason = "regular"
        self._saved_at = time.monotonic()
        self._evaluation_due = False

    def resume_from(self, checkpoint: Checkpoint) -> None:
        """Give every callback the state that the checkpoint holds of it."""
        self.last = checkpoint
        for callback in self._remembering:
            if callback.name in checkpoint.memory:
                callback.restore(checkpoint.memory[callback.name])

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._saved_at = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._evaluation_due = False
        # all ranks do the same
        stopping, due = ranks.totals([self.context.stopping.is_set(), self._due(state.global_step)])
        if stopping and state.global_step < state.max_steps:
            self._evaluation_due = control.should_evaluate
            self._stop(control)
        elif control.should_evaluate or state.global_step >= state.max_steps:
            self._save(control, "evaluation" if control.should_evaluate else "regular")
        elif due:
            self._save(control, "regular")

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if ranks.any_of(self.context.stopping.is_set()) and state.global_step < state.max_steps:
            raise EvaluationStopped

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **kwargs: Any,
    ) -> None:
        finite = all(
            bool(local(weights).isfinite().all())
            for weights in model.parameters()
            if weights.requires_grad
        )
        if ranks.any_of(not finite):
            raise LossExploded(
                f"The weights became NaN or infinite in step {state.global_step}.",
                state.global_step,
                state.global_step,
            )
        self._saved_at = time.monotonic()
        if ranks.first():
            self._seal(args, state)
        else:
            self.last = Checkpoint(
                RunFolder(self.context.directory).checkpoint(state.global_step), state.global_step
            )
        ranks.gathered(None)  # what is large takes longer than a collective of the GPU would wait

    def _seal(self, args: TrainingArguments, state: TrainerState) -> None:
        saved = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        memory = {
            "total": state.max_steps,
            "evaluation_due": self._evaluation_due,
            "batch": self._compute.settled,
        }
        write_json(
            saved / MEMORY_FILE,
            memory | {callback.name: callback.state() for callback in self._remembering},
        )
        self.last = seal(saved, self.context.directory, state.global_step)
        best = self._best()
        checkpoint = events.Checkpoint(
            step=self.last.step,
            path=str(self.last.path),
            reason=self._reason,
            best=self.last.step == best,
        )
        events.tell(self.context, checkpoint)
        if not self._suspicious():
            for older in superfluous(
                complete_checkpoints(self.context.directory), self._choice.keep, best
            ):
                self.remove(older)

    def save_now(self, trainer: Any, reason: str) -> Checkpoint:
        """A checkpoint of the last completed step, outside the training loop."""
        self._reason = reason
        trainer._save_checkpoint(trainer.model, trial=None)
        self.on_save(trainer.args, trainer.state, trainer.control, model=trainer.model)
        assert self.last is not None
        return self.last

    def interrupted_evaluation(self, control: TrainerControl) -> None:
        """A stop broke off an evaluation: the checkpoint says that it is due."""
        self._evaluation_due = True
        self._stop(control)

    def remove(self, checkpoint: Checkpoint) -> None:
        discard(checkpoint.path)
        events.tell(self.context, events.CheckpointRemoved(step=checkpoint.step))

    def _due(self, step: int) -> bool:
        minutes, steps = self._choice.every_minutes, self._choice.every_steps
        return bool(
            (steps and step % steps == 0)
            or (minutes and time.monotonic() - self._saved_at >= 60.0 * minutes)
        )

    def _save(self, control: TrainerControl, reason: str) -> None:
        self._reason = reason
        control.should_save = True

    def _stop(self, control: TrainerControl) -> None:
        self.stopped = True
        self.context.phase("saving a checkpoint before stopping")
        control.should_evaluate = False
        control.should_training_stop = True
        self._save(control, "stop")
