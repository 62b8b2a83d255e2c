"""What Luthier asks of any engine's Trainer: evaluations that change nothing, an exact evaluation
loss, lean checkpoints."""

from __future__ import annotations

import errno
import gc
import os
import random
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from peft.optimizers import create_loraplus_optimizer
from torch.utils.data import DataLoader, RandomSampler, Sampler, SequentialSampler

from jobs.errors import LuthierError
from models import events
from models.stored_sample import UNTRAINED
from trainer.distributed import ranks
from trainer.distributed.rank_batches import Fillable, RankBatches
from trainer.distributed.sharding import is_sharded, whole_weights
from trainer.kernels.padding_free import count_tokens
from trainer.plan.repair import first_line, in_smaller_batches, is_out_of_memory
from trainer.run.adapter_files import in_order
from trainer.run.saving import CheckpointCallback, EvaluationStopped
from trainer.run.tokens import own_tokenizer

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


class RunTrainer:
    """Comes before an engine's Trainer among a class's bases. `eval_loss` is the mean over all
    trained tokens, so that it does not depend on the batch they were computed in (the Trainer's own
    is a mean of the batches' means). A stop breaks an evaluation off. `num_tokens` in the logs are
    the tokens trained so far without padding, which Unsloth's version of TRL does not count.

    `plus_ratio` is LoRA+'s (0: none), to be set before training."""

    plus_ratio = 0.0
    _loss_sum = 0.0
    _token_count = 0
    _given: Any = 0

    def get_batch_samples(self, *arguments: Any, **named: Any) -> Any:
        batches, trained = super().get_batch_samples(*arguments, **named)  # type: ignore[misc]
        for batch in batches:
            self._given = self._given + count_tokens(batch)
        return batches, trained

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Nobody asks for their number, and counting a model's weights in each step keeps the host
        from feeding the GPU."""
        return 0

    def log(self, logs: dict[str, float], *arguments: Any, **named: Any) -> None:
        if "loss" in logs:
            logs["num_tokens"] = int(ranks.totals([float(self._given)])[0])
        super().log(logs, *arguments, **named)  # type: ignore[misc]

    def evaluation_loop(self, *arguments: Any, **named: Any) -> Any:
        """Each rank computes its share of the rows; the sums are of all of them."""
        self._loss_sum, self._token_count = 0.0, 0
        across = self.args.average_tokens_across_devices  # type: ignore[attr-defined]
        self.args.average_tokens_across_devices = False  # type: ignore[attr-defined]
        try:
            output = super().evaluation_loop(*arguments, **named)  # type: ignore[misc]
        finally:
            self.args.average_tokens_across_devices = across  # type: ignore[attr-defined]
        loss, tokens = ranks.totals([self._loss_sum, self._token_count])
        if tokens:
            output.metrics["eval_loss"] = loss / tokens
        return output

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], *arguments: Any, **named: Any
    ) -> Any:
        tokens = int(inputs["labels"][:, 1:].ne(UNTRAINED).sum())
        answer = super().prediction_step(model, inputs, *arguments, **named)  # type: ignore[misc]
        if tokens:  # a filler has none
            self._loss_sum += float(answer[0]) * tokens
            self._token_count += tokens
        return answer

    def get_train_dataloader(self) -> Any:
        if ranks.count() == 1 or self.flat:  # type: ignore[attr-defined]
            return super().get_train_dataloader()  # type: ignore[misc]
        args = self.args  # type: ignore[attr-defined]
        return self._dealt(
            self.train_dataset,  # type: ignore[attr-defined]
            RandomSampler,
            args.train_batch_size,
            args.gradient_accumulation_steps,
        )

    def get_eval_dataloader(self, *arguments: Any) -> Any:
        if ranks.count() == 1:
            return super().get_eval_dataloader(*arguments)  # type: ignore[misc]
        return self._dealt(self.eval_dataset, SequentialSampler, self.args.eval_batch_size, 1)  # type: ignore[attr-defined]

    def _dealt(
        self, dataset: Any, sampler: type[Sampler[int]], micro_batch: int, rounds: int
    ) -> Any:
        rows = self._remove_unused_columns(dataset)  # type: ignore[attr-defined]
        loader: DataLoader[Any] = DataLoader(
            Fillable(rows),
            batch_sampler=RankBatches(sampler(rows), micro_batch, rounds, ranks.count()),
            collate_fn=self.data_collator,  # type: ignore[attr-defined]
            pin_memory=self.args.dataloader_pin_memory,  # type: ignore[attr-defined]
        )
        return self.accelerator.prepare(loader)  # type: ignore[attr-defined]

    def _evaluate(
        self, *arguments: Any, skip_scheduler: bool = False, **named: Any
    ) -> dict[str, float]:
        saving = self._saving

        def evaluate(size: int) -> dict[str, float]:
            self.args.per_device_eval_batch_size = size  # type: ignore[attr-defined]
            metrics: dict[str, float] = super(RunTrainer, self)._evaluate(  # type: ignore[misc]
                *arguments, skip_scheduler=skip_scheduler, **named
            )
            return metrics

        def tell(size: int, reason: str) -> None:
            step = self.state.global_step  # type: ignore[attr-defined]
            repair = events.Repair(
                step=step, what="evaluation_batch", micro_batch=size, reason=reason
            )
            events.tell(saving.context, repair)

        try:
            with unchanged_random_state():
                # the others would wait for the batches of one that makes them smaller
                if ranks.count() > 1:
                    return evaluate(self.args.per_device_eval_batch_size)  # type: ignore[attr-defined]
                return in_smaller_batches(
                    evaluate,
                    self.args.per_device_eval_batch_size,  # type: ignore[attr-defined]
                    tell,
                    free_memory,
                )
        except EvaluationStopped:
            if skip_scheduler:  # the one before the first step: there is nothing to save
                raise
            saving.interrupted_evaluation(self.control)  # type: ignore[attr-defined]
            return {}
        except Exception as error:
            if not is_out_of_memory(error) or ranks.count() > 1:
                raise
            reason = first_line(error)
        message = f"One conversation at a time is too much for an evaluation: {reason}"
        raise LuthierError(
            "Out of memory",
            message,
            "Lower train.max_length, or free memory that others use; then `luthier resume`.",
        )

    @property
    def _saving(self) -> CheckpointCallback:
        return next(
            one
            for one in self.callback_handler.callbacks  # type: ignore[attr-defined]
            if isinstance(one, CheckpointCallback)
        )

    def create_optimizer(self, model: Any = None) -> Any:
        if self.plus_ratio and self.optimizer is None:  # type: ignore[has-type]
            trained = self.model if model is None else model  # type: ignore[attr-defined]
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, trained)  # type: ignore[attr-defined]
            ratio = {
                "loraplus_lr_ratio": self.plus_ratio,
                "loraplus_weight_decay": self.args.weight_decay,  # type: ignore[attr-defined]
            }
            self.optimizer = create_loraplus_optimizer(trained, kind, **settings, **ratio)
        return super().create_optimizer(model)  # type: ignore[misc]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """The learning rates are the recipe's, also where somebody has changed it and forced the
        run to go on."""
        wanted = list(self.lr_scheduler.base_lrs)  # type: ignore[attr-defined]
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        schedule = self.lr_scheduler  # type: ignore[attr-defined]
        if checkpoint is None or schedule.base_lrs == wanted:
            return
        for group, base, rate in zip(
            schedule.optimizer.param_groups, schedule.base_lrs, wanted, strict=True
        ):
            group["lr"], group["initial_lr"] = group["lr"] * rate / base, rate
        schedule.base_lrs = wanted
        schedule._last_lr = [group["lr"] for group in schedule.optimizer.param_groups]

    def _save_checkpoint(self, *arguments: Any, **named: Any) -> None:
        """What a failed save has written makes room again; torch's words for a full disk become the
        system's."""
        try:
            super()._save_checkpoint(*arguments, **named)  # type: ignore[misc]
        except BaseException as error:
            folder = str(self.args.output_dir)  # type: ignore[attr-defined]
            if ranks.first():
                shutil.rmtree(folder, ignore_errors=True)
            if _UNWRITTEN.search(str(error)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder) from error
            raise

    def _save_rng_state(self, output_dir: str) -> None:
        """The first rank writes those of all: only it knows when the checkpoint is whole, and the
        others may be on other machines."""
        if ranks.count() == 1:
            super()._save_rng_state(output_dir)  # type: ignore[misc]
            return
        with TemporaryDirectory() as folder:
            super()._save_rng_state(folder)  # type: ignore[misc]
            (own,) = Path(folder).iterdir()
            states = ranks.gathered((own.name, own.read_bytes()))
        if ranks.first():
            for name, content in states:
                (Path(output_dir) / name).write_bytes(content)

    def save_model(self, output_dir: str | None = None, *arguments: Any, **named: Any) -> None:
        """Of shards only what is trained is gathered; transformers would have the base, too."""
        if not is_sharded(self.model):  # type: ignore[attr-defined]
            super().save_model(output_dir, *arguments, **named)  # type: ignore[misc]
            return
        weights = whole_weights(self.model)  # type: ignore[attr-defined]
        if ranks.first():
            self._save(output_dir, weights)
        ranks.gathered(None)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The adapter, or the model where all of it is trained, and the tokenizer if the run has
        one of its own. The arguments would be a pickle, and new rows of an embedding are the
        adapter's already."""
        if isinstance(self.model, PeftModel):  # type: ignore[attr-defined]
            in_order(self.model)  # type: ignore[attr-defined]
        more = (
            {"save_embedding_layers": False}
            if isinstance(self.model, PeftModel)  # type: ignore[attr-defined]
            else {"max_shard_size": SHARD_SIZE}
        )
        self.model.save_pretrained(output_dir, state_dict=state_dict, **more)  # type: ignore[attr-defined]
        for path in own_tokenizer(self._saving.context.directory):
            shutil.copyfile(path, Path(str(output_dir)) / path.name)

    def create_model_card(self, *arguments: Any, **named: Any) -> None:
        """TRL writes one at every checkpoint, beside it."""
