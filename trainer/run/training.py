"""A run from its newest checkpoint to its end, by whichever engine. Running out of memory is
repaired on the way: a repair is a resume in the same process, with smaller micro-batches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext
from models import events
from models.run_folder import RECIPE_FILE
from trainer.distributed import ranks
from trainer.evaluation.evaluator import Evaluator, Questions
from trainer.kernels.float8_model import use_float8
from trainer.plan import calibration, repair, trials
from trainer.plan.compute import Batch
from trainer.plan.plan import Plan, step_count
from trainer.recipe import Recipe
from trainer.run import sft
from trainer.run.checkpoints import Checkpoint, complete_checkpoints
from trainer.run.progress_events import EventCallback, LossExploded
from trainer.run.run_trainer import RandomState, RunTrainer, free_memory
from trainer.run.saving import CheckpointCallback, EvaluationStopped
from trainer.run.trainer_parts import RunCallbacks, TrainerParts
from trainer.run.trials import Chosen, TrialCallback

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from trainer.data.pipeline import Prepared


class Engine(Protocol):
    """A module that can load a model (trainer.run.trl_engine, trainer.run.unsloth_engine).
    THRIFTIEST is the kind of gradient checkpointing that takes the least memory."""

    THRIFTIEST: str

    def load_model(
        self, plan: Plan, recipe: Recipe, tokenizer: PreTrainedTokenizerBase
    ) -> PeftModel | PreTrainedModel:
        """Seeded. `tokenizer` is the run's: it may have tokens that the base model has not."""
        ...

    def use_checkpointing(self, model: Any, kind: str) -> None:
        """Have a loaded model compute with this kind of gradient checkpointing ("none": without),
        for a trial."""
        ...

    def borders(self, lengths: list[int]) -> dict[str, Any]:
        """What the model's attention keeps the conversations of a flat batch apart by, given their
        lengths in tokens."""
        ...


class StepWatch(TrainerCallback):
    """Where a step is, for a repair: the random state after the last completed one, and whether the
    weights are just being changed."""

    def __init__(self) -> None:
        self.random: RandomState | None = None
        self.changing_weights = False

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.changing_weights = True

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.changing_weights = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.random = RandomState()


class Training:
    """`progress`, `evaluator` and `saving` are the callbacks of the last attempt: what was seen,
    what was found, what was saved."""

    progress: EventCallback
    evaluator: Evaluator
    saving: CheckpointCallback

    def __init__(
        self,
        context: WorkerContext,
        engine: Engine,
        plan: Plan,
        recipe: Recipe,
        tokenizer: PreTrainedTokenizerBase,
        prepared: Prepared,
        questions: Questions,
    ) -> None:
        self._context = context
        self._engine = engine
        self._plan = plan
        self._recipe = recipe
        self._tokenizer = tokenizer
        self._prepared = prepared
        self._questions = questions

    def run(self, checkpoint: Checkpoint | None, batch: Batch | None = None) -> bool:
        """Train on from the checkpoint, or from the beginning, with another batch than its if one
        is given. False if it was stopped before the end. LuthierError if it cannot go on; with
        several ranks OutOfMemory, which their launcher repairs."""
        if checkpoint is not None:
            batch = batch or checkpoint.memory["batch"]
        if batch is not None:
            self._plan = self._plan.with_batch(batch)
        if checkpoint is not None and self._finished(checkpoint):
            return True
        if checkpoint is None and self._has_trials():
            self._recall_trials()
        model = None
        while True:
            try:
                return self._attempt(checkpoint, model)
            except Chosen as choice:
                self._plan, model = choice.plan, choice.model
                continue
            except _OutOfMemory as error:
                step, reason, checkpoint = error.step, error.reason, error.checkpoint
            model = None
            free_memory()  # here, where no frame of the failed step is left
            self._repair(step, reason)
            if (0 if checkpoint is None else checkpoint.step) < step:
                path = "" if checkpoint is None else str(checkpoint.path)
                back = 0 if checkpoint is None else checkpoint.step
                events.tell(self._context, events.Resumed(step=back, checkpoint=path))

    def result(self) -> tuple[Checkpoint, str]:
        """The checkpoint that becomes the adapter, and which that is: "last" or "best"."""
        checkpoints = complete_checkpoints(self._context.directory)
        rule = self._recipe.checkpoints.result
        if rule == "last" or (rule == "auto" and not self._recipe.evaluation.patience):
            return checkpoints[-1], "last"
        best_evaluation = self.evaluator.history.best(
            {checkpoint.step for checkpoint in checkpoints}
        )
        best = next(
            (
                checkpoint
                for checkpoint in checkpoints
                if best_evaluation is not None and checkpoint.step == best_evaluation.step
            ),
            None,
        )
        return (best, "best") if best is not None else (checkpoints[-1], "last")

    def figures(self) -> dict[str, Any]:
        """What the run has come to, over all its attempts."""
        progress, best = self.progress, self.evaluator.history.best()
        return {
            "steps": progress.step,
            "loss": progress.loss,
            "eval_loss": progress.eval_loss,
            "tokens": progress.tokens,
            "seconds": round(progress.seconds, 1),
            **(
                {}
                if best is None
                else {"best_step": best.step, "best_loss": best.loss, "metrics": best.metrics}
            ),
            **({"early_stop": self.evaluator.early_stop} if self.evaluator.early_stop else {}),
        }

    def _finished(self, checkpoint: Checkpoint) -> bool:
        """Whether nothing but the adapter is missing: an earlier attempt ended just before."""
        steps = step_count(
            self._prepared.summary["train"], self._plan.global_batch, self._recipe.train.epochs
        )
        self.progress, self.evaluator = EventCallback(self._context), self._evaluator()
        self.progress.restore(checkpoint.memory[self.progress.name])
        self.evaluator.restore(checkpoint.memory[self.evaluator.name])
        return checkpoint.step >= steps or bool(self.evaluator.early_stop)

    def _attempt(
        self, checkpoint: Checkpoint | None, model: PeftModel | PreTrainedModel | None
    ) -> bool:
        """Load the model, unless trials have left it as it is needed, and train. Raises
        _OutOfMemory and Chosen."""
        steps = StepWatch()
        trainer = None
        free_memory()
        try:
            trying = checkpoint is None and self._has_trials()
            if model is None:
                model = self._loaded(float8=self._plan.compute.float8 and not trying)
            trainer = self._trainer(model, steps, checkpoint)
            if trying:
                trainer.add_callback(
                    TrialCallback(self._context, self._plan, self._recipe, trainer, self._engine)
                )
            meter = calibration.meter_of(self._plan) if checkpoint is None else None
            if meter is not None:
                trainer.add_callback(
                    calibration.Calibration(self._context, self._plan, self._recipe, trainer, meter)
                )
            self._context.phase("training")
            if ranks.number():  # else every rank would drop the same of its own conversations
                torch.manual_seed(self._recipe.train.seed + ranks.number())
            trainer.train(
                resume_from_checkpoint=None if checkpoint is None else str(checkpoint.path)
            )
        except EvaluationStopped:
            return False
        except LossExploded as error:
            if not ranks.first():
                ranks.from_first(None)  # which never comes: the first one ends with the reason
            raise self._exploded(error) from None
        except Exception as error:
            if not repair.is_out_of_memory(error):
                raise
            reason = repair.first_line(error)
        else:
            return not self.saving.stopped
        if trainer is None:
            hint = "Choose a smaller model, or free memory that other programs use."
            raise LuthierError("Out of memory", f"The model itself does not fit: {reason}", hint)
        # the others wait for this one's gradients, and cannot save what they have
        if ranks.count() > 1:
            raise repair.OutOfMemory(
                int(trainer.state.global_step),
                reason,
                self._plan.compute,
                repair.smaller(self._plan.compute, self._engine.THRIFTIEST),
            )
        raise self._out_of_memory(trainer, steps, checkpoint, reason)

    def _has_trials(self) -> bool:
        """Whether settings are to be tried first. Ranks never do: one that runs out of memory while
        the others wait for it would hang them all, and each might choose another. What a run on one
        GPU has measured counts for them, too: their plan has it."""
        planned = self._plan.trials
        return planned is not None and not planned.run and ranks.count() == 1

    def _recall_trials(self) -> None:
        """A run that was planned at the same time may have made them meanwhile, or an earlier
        attempt of this one."""
        assert self._plan.trials is not None
        known = trials.recall(self._plan.trials.of)
        if known is not None:
            self._plan = self._plan.with_trials(known, self._recipe)
            events.tell_more(self._context, events.Plan, self._plan.to_json())

    def _loaded(self, *, float8: bool) -> PeftModel | PreTrainedModel:
        self._context.phase("loading the model", seconds_left=2)
        model = self._engine.load_model(self._plan, self._recipe, self._tokenizer)
        if float8:
            use_float8(model)
        return model

    def _trainer(
        self, model: PeftModel | PreTrainedModel, steps: StepWatch, checkpoint: Checkpoint | None
    ) -> RunTrainer:
        self.progress = EventCallback(self._context)
        self.evaluator = self._evaluator()
        watch = self.progress.watch
        self.saving = CheckpointCallback(
            self._context,
            self._recipe.checkpoints,
            self._plan.compute,
            [self.progress, steps, self.evaluator],
            self.best_step,
            lambda: watch.onset is not None,
        )
        if checkpoint is not None:
            self.saving.resume_from(checkpoint)
        parts = TrainerParts(
            self._plan,
            self._recipe,
            model,
            self._tokenizer,
            self._prepared,
            self._context.directory,
            RunCallbacks(self.progress, steps, self.evaluator, self.saving),
            evaluate_first=(
                self.evaluator.has_work
                if checkpoint is None
                else checkpoint.memory["evaluation_due"]
            ),
        )
        if self._recipe.objective.kind == "sft":
            return sft.build_trainer(parts, self._engine.borders)
        if self._recipe.objective.kind == "distill":
            from trainer.run import distillation

            return distillation.build_trainer(parts, self._context)
        # TRL's other trainers take a second to import
        from trainer.run import preference

        return preference.build_trainer(parts)

    def _evaluator(self) -> Evaluator:
        per_epoch = step_count(self._prepared.summary["train"], self._plan.global_batch, 1.0)
        return Evaluator(self._context, self._recipe.evaluation, self._questions, per_epoch)

    def best_step(self) -> int | None:
        """The step of the best evaluation so far."""
        best = self.evaluator.history.best()
        return None if best is None else best.step

    # ---- out of memory

    def _out_of_memory(
        self, trainer: Any, steps: StepWatch, checkpoint: Checkpoint | None, reason: str
    ) -> _OutOfMemory:
        """Save the last completed step, if no checkpoint has it; if it ran out while the weights
        changed, they are lost."""
        step = int(trainer.state.global_step)
        last = self.saving.last or checkpoint
        if steps.changing_weights or step == 0:
            return _OutOfMemory(step, reason, last)
        if last is None or last.step < step:
            assert steps.random is not None
            steps.random.restore()
            trainer.model.zero_grad(set_to_none=True)
            free_memory()
            last = self.saving.save_now(trainer, "repair")
        return _OutOfMemory(step, reason, last)

    def _repair(self, step: int, reason: str) -> None:
        ran_out = self._plan.compute
        next_compute = repair.smaller(ran_out, self._engine.THRIFTIEST)
        shape = self._plan.shape(self._recipe)
        compute = repair.repaired(self._context, shape, step, reason, ran_out, next_compute)
        self._plan = replace(self._plan, compute=compute)

    # ---- explosion

    def _exploded(self, error: LossExploded) -> LuthierError:
        """Drop the checkpoints that were saved meanwhile, and name the last good one."""
        saved = complete_checkpoints(self._context.directory)
        good = [checkpoint for checkpoint in saved if checkpoint.step < error.onset - 1] or [
            checkpoint for checkpoint in saved if checkpoint.step < error.onset
        ]
        for checkpoint in saved:
            if checkpoint not in good and checkpoint.step >= error.onset - 1:
                self.saving.remove(checkpoint)
        recipe, run = self._context.directory / RECIPE_FILE, self._context.job.id
        lower = f"Lower train.learning_rate (now {self._plan.rate(self._recipe):g})"
        if not good:
            return LuthierError(
                "The loss exploded",
                f"{error.reason} There is no checkpoint from before that.",
                f"{lower}, and train again.",
            )
        last = good[-1]
        good_one = events.Checkpoint(step=last.step, path=str(last.path), reason="last good")
        events.tell(self._context, good_one)
        return LuthierError(
            "The loss exploded",
            f"{error.reason} The last good checkpoint is from step {last.step}: {last.path}",
            f"{lower} in {recipe}: `luthier resume {run} --force` then continues from step"
            f" {last.step}.",
        )


class _OutOfMemory(Exception):
    """Memory ran out in the step after `step`; `checkpoint` is what to go on from."""

    def __init__(self, step: int, reason: str, checkpoint: Checkpoint | None) -> None:
        super().__init__(reason)
        self.step, self.reason, self.checkpoint = step, reason, checkpoint
