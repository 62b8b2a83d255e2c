"""What the Trainer of every run adds to TRL's, whatever is learned and by whichever engine:
evaluations that change nothing, an exact evaluation loss and lean checkpoints."""

from __future__ import annotations

import errno
import gc
import os
import random
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from peft import PeftModel
from peft.optimizers import create_loraplus_optimizer
from torch.utils.data import DataLoader, RandomSampler, Sampler, SequentialSampler
from transformers import TrainerControl

from jobs.luthier_error import LuthierError
from models import events
from trainer.distributed import ranks
from trainer.distributed.rank_batches import Fillable, RankBatches
from trainer.distributed.sharding import is_sharded, whole_weights
from trainer.evaluation.evaluator import Evaluator
from trainer.plan.repair import first_line, in_smaller_batches, is_out_of_memory
from trainer.run.saving import CheckpointCallback, EvaluationStopped
from trainer.run.tensor_memory import TensorMemory
from trainer.run.tokens_and_template import own_tokenizer

if TYPE_CHECKING:
    from trl import SFTTrainer as _Trainer
else:
    _Trainer = object

# of a model's weight files; one at a time is in memory when the result is made of them
SHARD_SIZE = "4GB"
# What torch.save says of a disk that is full.
_UNWRITTEN = re.compile(
    r"PytorchStreamWriter failed writing|iostream error|inline_container.*unexpected pos"
)


class RandomState:
    """The random states that training draws from (Python's, numpy's, torch's on the CPU and the
    GPU), as they are now."""

    def __init__(self) -> None:
        self._python, self._numpy, self._cpu = (
            random.getstate(),
            np.random.get_state(),
            torch.random.get_rng_state(),
        )
        self._gpu = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None

    def restore(self) -> None:
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        torch.random.set_rng_state(self._cpu)
        if self._gpu is not None:
            torch.cuda.set_rng_state(self._gpu)


@contextmanager
def unchanged_random_state() -> Iterator[None]:
    """Training goes on the same, whether or not something random was done in between."""
    state = RandomState()
    try:
        yield
    finally:
        state.restore()


def free_memory() -> None:
    """Give back what nothing refers to."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


class RunTrainer(_Trainer):
    """Stands before one of TRL's trainers among a class's bases.

    `eval_loss` is the mean over all that is scored, so that it does not depend on the batches it
    was computed in (the Trainer's own is a mean of the batches' means). With the loss an evaluation
    asks the run's questions; their metrics are logged with it, so that trackers get them too. A
    stop breaks an evaluation off. `num_tokens` in the logs are the tokens trained so far without
    padding, which Unsloth's version of TRL does not count.

    `plus_ratio` is LoRA+'s (0: none)."""

    control: TrainerControl
    optimizer: Any

    def __init__(
        self,
        *,
        evaluator: Evaluator,
        saving: CheckpointCallback,
        memory: TensorMemory,
        plus_ratio: float,
        **trl: Any,
    ) -> None:
        self.evaluator = evaluator
        self._saving = saving
        self._memory = memory
        self._plus_ratio = plus_ratio
        self._loss_sum, self._loss_weight = 0.0, 0.0
        self._trained_tokens: Any = 0
        super().__init__(**trl)

    def tokens_in(self, batch: dict[str, Any]) -> Any:
        """A batch's tokens without padding."""
        return batch["attention_mask"].sum()

    def weight_of(self, batch: dict[str, Any]) -> float:
        """What a batch's mean loss counts for in an evaluation's."""
        raise NotImplementedError

    # ---- batches

    def get_train_dataloader(self) -> Any:
        args = self.args
        if ranks.count() == 1:
            return super().get_train_dataloader()
        return self._dealt(
            self.train_dataset,
            RandomSampler,
            args.train_batch_size,
            args.gradient_accumulation_steps,
        )

    def get_eval_dataloader(self, *arguments: Any) -> Any:
        if ranks.count() == 1:
            return super().get_eval_dataloader(*arguments)
        return self._dealt(self.eval_dataset, SequentialSampler, self.args.eval_batch_size, 1)

    def _dealt(
        self, dataset: Any, sampler: type[Sampler[int]], micro_batch: int, rounds: int
    ) -> Any:
        rows = self._remove_unused_columns(dataset)
        batches = RankBatches(sampler(rows), micro_batch, rounds, ranks.count())
        return self._loader(Fillable(rows), batches)

    def _loader(self, rows: Any, batches: RankBatches) -> Any:
        loader: DataLoader[Any] = DataLoader(
            rows,
            batch_sampler=batches,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)

    def step_batches(self, batches: list[Any], trained: Any) -> tuple[list[Any], Any]:
        """What a step is computed on, made of its micro-batches; `trained` is how many tokens of
        them are scored."""
        return batches, trained

    def get_batch_samples(self, *arguments: Any, **keywords: Any) -> Any:
        batches, trained = self.step_batches(*super().get_batch_samples(*arguments, **keywords))
        for batch in batches:
            self._trained_tokens = self._trained_tokens + self.tokens_in(batch)
        return batches, trained

    def compute_loss_context_manager(self) -> ExitStack:
        """For a forward pass: at its end all is there that the backward pass needs."""
        contexts: ExitStack = super().compute_loss_context_manager()
        contexts.callback(self._memory.see)
        return contexts

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Nobody asks for their number, and counting a model's weights in each step keeps the host
        from feeding the GPU."""
        return 0

    def log(self, logs: dict[str, float], *arguments: Any, **keywords: Any) -> None:
        if "loss" in logs:
            logs["num_tokens"] = int(ranks.totals([float(self._trained_tokens)])[0])
        super().log(logs, *arguments, **keywords)

    # ---- evaluations

    def evaluate(self, *arguments: Any, **keywords: Any) -> dict[str, float]:
        """Where nothing is held out, the answers alone."""
        self.evaluator.begin()
        if self.eval_dataset is not None:
            return dict(super().evaluate(*arguments, **keywords))
        metrics = self._answers()
        self.log({**metrics})
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def evaluation_loop(self, *arguments: Any, **keywords: Any) -> Any:
        """Each rank computes its share of the rows; the sums are of all of them."""
        self._loss_sum, self._loss_weight = 0.0, 0.0
        across = self.args.average_tokens_across_devices
        self.args.average_tokens_across_devices = False
        try:
            output = super().evaluation_loop(*arguments, **keywords)
            output.metrics.update(self._answers())
        finally:
            self.args.average_tokens_across_devices = across
        loss, weight = ranks.totals([self._loss_sum, self._loss_weight])
        if weight:
            output.metrics["eval_loss"] = loss / weight
        return output

    def _answers(self) -> dict[str, float]:
        """In batches of the evaluation's size, which is halved where memory does not suffice."""
        batch, step = int(self.args.per_device_eval_batch_size), int(self.state.global_step)
        return {
            f"eval_{name}": value
            for name, value in self.evaluator.answer(self.model, step, batch).items()
        }

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], *arguments: Any, **keywords: Any
    ) -> Any:
        weight = self.weight_of(inputs)
        prediction = super().prediction_step(model, inputs, *arguments, **keywords)
        if weight:  # a filler has none
            self._loss_sum += float(prediction[0]) * weight
            self._loss_weight += weight
        return prediction

    def _evaluate(
        self, *arguments: Any, skip_scheduler: bool = False, **keywords: Any
    ) -> dict[str, float]:
        def evaluate(size: int) -> dict[str, float]:
            self.args.per_device_eval_batch_size = size
            metrics: dict[str, float] = super(RunTrainer, self)._evaluate(
                *arguments, skip_scheduler=skip_scheduler, **keywords
            )
            return metrics

        def tell(size: int, reason: str) -> None:
            step = self.state.global_step
            repair = events.Repair(
                step=step, what="evaluation_batch", micro_batch=size, reason=reason
            )
            events.tell(self._saving.context, repair)

        size = self.args.per_device_eval_batch_size
        try:
            with unchanged_random_state():
                # the others would wait for the batches of one that makes them smaller
                if ranks.count() > 1:
                    return evaluate(size)
                return in_smaller_batches(evaluate, size, tell, free_memory)
        except EvaluationStopped:
            if skip_scheduler:  # the one before the first step: there is nothing to save
                raise
            self._saving.interrupted_evaluation(self.control)
            return {}
        except Exception as error:
            if not is_out_of_memory(error) or ranks.count() > 1:
                raise
            reason = first_line(error)
        message = (
            f"Even one conversation at a time needs too much memory in an evaluation: {reason}"
        )
        raise LuthierError(
            "Out of memory",
            message,
            "Lower train.max_length, or free memory that other programs use; then run `luthier"
            " resume`.",
        )

    # ---- the optimizer

    def create_optimizer(self, model: Any = None) -> Any:
        if self._plus_ratio and self.optimizer is None:
            trained = self.model if model is None else model
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, trained)
            ratio = {
                "loraplus_lr_ratio": self._plus_ratio,
                "loraplus_weight_decay": self.args.weight_decay,
            }
            self.optimizer = create_loraplus_optimizer(trained, kind, **settings, **ratio)
        return super().create_optimizer(model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """The learning rates are the recipe's, also where somebody has changed it and forced the
        run to go on."""
        rates = list(self.lr_scheduler.base_lrs)
        super()._load_optimizer_and_scheduler(checkpoint)
        schedule = self.lr_scheduler
        if checkpoint is None or schedule.base_lrs == rates:
            return
        for group, base, rate in zip(
            schedule.optimizer.param_groups, schedule.base_lrs, rates, strict=True
        ):
            group["lr"], group["initial_lr"] = group["lr"] * rate / base, rate
        schedule.base_lrs = rates
        schedule._last_lr = [group["lr"] for group in schedule.optimizer.param_groups]

    # ---- checkpoints

    def _save_checkpoint(self, *arguments: Any, **keywords: Any) -> None:
        """What a failed save has written makes room again; torch's words for a full disk become the
        system's."""
        try:
            super()._save_checkpoint(*arguments, **keywords)
        except BaseException as error:
            folder = str(self.args.output_dir)
            if ranks.first():
                shutil.rmtree(folder, ignore_errors=True)
            if _UNWRITTEN.search(str(error)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder) from error
            raise

    def _save_rng_state(self, output_dir: str) -> None:
        """The first rank writes those of all: only it knows when the checkpoint is whole, and the
        others may be on other machines."""
        if ranks.count() == 1:
            super()._save_rng_state(output_dir)
            return
        with TemporaryDirectory() as folder:
            super()._save_rng_state(folder)
            (state,) = Path(folder).iterdir()
            states = ranks.gathered((state.name, state.read_bytes()))
        if ranks.first():
            for name, content in states:
                (Path(output_dir) / name).write_bytes(content)

    def save_model(self, output_dir: str | None = None, *arguments: Any, **keywords: Any) -> None:
        """Of shards only what is trained is gathered; transformers would have the base, too."""
        if not is_sharded(self.model):
            super().save_model(output_dir, *arguments, **keywords)
            return
        weights = whole_weights(self.model)
        if ranks.first():
            self._save(output_dir, weights)
        ranks.gathered(None)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The adapter, or the model where all of it is trained, and the tokenizer if the run has
        one of its own. The arguments would be a pickle, and new rows of an embedding are the
        adapter's already."""
        model: Any = self.model
        if isinstance(model, PeftModel):
            in_order(model)
            options: dict[str, Any] = {
                "save_embedding_layers": False,
                "selected_adapters": ["default"],  # not the frozen reference
            }
        else:
            options = {"max_shard_size": SHARD_SIZE}
        model.save_pretrained(output_dir, state_dict=state_dict, **options)
        for path in own_tokenizer(self._saving.context.directory):
            shutil.copyfile(path, Path(str(output_dir)) / path.name)

    def create_model_card(self, *arguments: Any, **keywords: Any) -> None:
        """TRL writes one at every checkpoint, beside it."""


def in_order(model: PeftModel) -> None:
    """Have the adapter's config list its modules in one order: PEFT holds them as sets, whose order
    is another one in each process, and equal adapters would be saved as different bytes."""
    for config in model.peft_config.values():
        for name, value in vars(config).items():
            if isinstance(value, set):
                setattr(config, name, sorted(value))
