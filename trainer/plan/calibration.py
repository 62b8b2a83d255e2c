"""The largest micro-batch of a run, computed and forgotten before anything is trained: what memory
it really takes.

What does not fit is then repaired at once rather than in the midst of the run, and what was
measured corrects the next plan.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow.compute as pc  # type: ignore[import-untyped]
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from jobs.worker import WorkerContext
from models import events
from trainer.plan import repair
from trainer.plan.memory import remembered
from trainer.plan.memory.batches import largest
from trainer.plan.memory.predict import Memory, Setting, predict
from trainer.plan.memory.shape import read_shape
from trainer.plan.plan import Plan
from trainer.recipe import Recipe
from trainer.run.run_trainer import unchanged_random_state

# the second one has the first one's gradients beside it, as every micro-batch of a step but the
# first has
_PASSES = 2
_METRICS = ("_metrics", "_total_train_tokens")  # what TRL's compute_loss counts


class Meter(Protocol):
    """Memory of the device that is trained on, in bytes."""

    def start(self) -> None: ...

    def peak(self) -> int:
        """The most that was taken since `start`."""

    def room(self) -> int:
        """What this process could take at most."""


class CudaMeter:
    def start(self) -> None:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()

    def peak(self) -> int:
        torch.cuda.synchronize()
        return int(torch.cuda.max_memory_allocated())

    def room(self) -> int:
        return int(torch.cuda.mem_get_info()[0]) + int(torch.cuda.memory_reserved())


def meter_of(plan: Plan) -> Meter | None:
    """None on the CPU, whose memory is not worth the time."""
    return CudaMeter() if plan.device == "gpu" else None


class Calibration(TrainerCallback):
    """Measures when a training begins. Raises MemoryError, or what the device raises, if the
    largest micro-batch does not fit."""

    def __init__(
        self, context: WorkerContext, plan: Plan, recipe: Recipe, trainer: Any, meter: Meter
    ) -> None:
        self._context = context
        self._plan = plan
        self._recipe = recipe
        self._trainer = trainer
        self._meter = meter

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # one rank that runs out while the others wait for it would hang them all
        if args.world_size > 1:
            return
        self._context.phase("measuring the memory")
        with unchanged_random_state(), unchanged_metrics(self._trainer):
            numbers, tokens = self._largest(kwargs["train_dataloader"])
            peak = self._compute(kwargs["train_dataloader"], numbers)
        self._judge(self._setting(kwargs["train_dataloader"], len(numbers), tokens), peak)
        self._context.phase("training")

    def _largest(self, loader: Any) -> tuple[list[int], int]:
        """Among the micro-batches of the first epoch; and its tokens."""
        dataset = loader.dataset
        lengths = pc.list_value_length(dataset.data.column("input_ids")).to_pylist()
        # the real one counts its epochs
        order = copy.deepcopy(loader.batch_sampler, {id(dataset): dataset})
        return largest(order, lengths, padding_free=self._plan.compute.padding_free)

    def _compute(self, loader: Any, numbers: list[int]) -> int:
        trainer, model = self._trainer, self._trainer.model_wrapped
        was_training = model.training
        model.train()
        self._meter.start()
        try:
            for _ in range(_PASSES):
                inputs = trainer._prepare_inputs(
                    loader.collate_fn([loader.dataset[number] for number in numbers])
                )
                with trainer.compute_loss_context_manager():
                    loss = trainer.compute_loss(model, inputs)
                trainer.accelerator.backward(loss)
                del inputs, loss
            return self._meter.peak()
        finally:
            model.zero_grad(set_to_none=True)
            model.train(was_training)

    def _judge(self, setting: Setting, peak: int) -> None:
        predicted = self._predict(setting)
        # its states come with the first step
        measured = peak + (0 if predicted is None else predicted.optimizer)
        room = self._meter.room()
        calibrated = events.Calibrated(
            micro_batch=self._plan.compute.micro_batch,
            tokens=setting.tokens,
            predicted=0 if predicted is None else predicted.peak,
            measured=measured,
            room=room,
        )
        events.tell(self._context, calibrated)
        if predicted is not None:
            remembered.remember(
                self._plan.model,
                repair.device_name(),
                setting,
                predicted.peak,
                measured,
                self._context.job.id,
            )
        if measured > room:
            raise MemoryError(
                f"the largest micro-batch takes {measured / 1e9:.1f} GB of {room / 1e9:.1f} GB"
            )

    def _setting(self, loader: Any, conversations: int, tokens: int) -> Setting:
        setting = Setting.of(self._recipe, self._plan.engine, self._plan.compute)
        setting = setting.holding(tokens, conversations)
        # trainer.run.weighted needs all logits
        needs_all = "weights" in loader.dataset.column_names
        return replace(setting, loss="full") if needs_all else setting

    def _predict(self, setting: Setting) -> Memory | None:
        shape = read_shape(Path(self._plan.model_directory))
        return None if shape is None else predict(shape, setting)


@contextmanager
def unchanged_metrics(trainer: Any) -> Iterator[None]:
    """What TRL counts of a batch's loss is as it was before."""
    kept = {
        name: copy.deepcopy(getattr(trainer, name)) for name in _METRICS if hasattr(trainer, name)
    }
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(trainer, name, value)
