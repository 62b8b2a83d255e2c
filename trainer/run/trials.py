"""The settings that look best, tried on the run's own batches before its first step: the quickest
that fits is what trains (trainer.plan.trials).

Nothing of the run is changed by it: batches are computed forward and backward, and forgotten; the
random states, the weights and TRL's counters are as before. What compiles, warms up or fills caches
is not measured. Running out of memory is an answer.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow.compute as pc  # type: ignore[import-untyped]
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from jobs.worker import WorkerContext
from models import events
from trainer.kernels.float8_model import Products, frozen_bytes
from trainer.kernels.padding_free import balanced
from trainer.plan import repair, trials
from trainer.plan.calibration import Meter, meter_of, unchanged_metrics
from trainer.plan.compute import Compute
from trainer.plan.memory.predict import Setting, predict
from trainer.plan.memory.shape import read_shape
from trainer.plan.plan import Plan
from trainer.plan.trials import MOST_SECONDS, MOST_SHARE, NO_TIME, Trial, Trials, span
from trainer.recipe import Recipe
from trainer.run.run_trainer import free_memory, unchanged_random_state

_MOST_PASSES = 4  # over the median batch
_SETTLED = 0.95  # a pass that takes at least this much of the one before gains no more
_LOST = 1.3  # times as long as the best: its exact speed does not matter
# Where the host is what limits, the same pass took up to 1.4 times as long a second later (H200).
_CLOSE, _TURNS = 1.5, 4
_BATCHES = 2000  # among which the longest and the median one are looked for


class Chosen(Exception):
    """The run is to be computed as `plan` says, and the trainer must be built again for it.
    `model`: the loaded one, ready for that; None if it must be loaded again."""

    def __init__(self, plan: Plan, model: Any) -> None:
        super().__init__("other settings are quicker")
        self.plan, self.model = plan, model


class Stopped(Exception):
    """The run is to stop."""


class Checkpointing(Protocol):
    """What of an engine trials need."""

    def use_checkpointing(self, model: Any, kind: str) -> None: ...


@dataclass(frozen=True)
class Batches:
    """The samples of two batches of the run, by their numbers: each as large as the largest
    micro-batch that is tried."""

    longest: list[int]
    median: list[int]
    by_length: list[list[int]]
    """All that were looked at, the shortest first."""
    lengths: Sequence[int]
    """Of all samples, in tokens."""
    flat: bool

    @classmethod
    def of(cls, loader: Any, compute: Compute, contenders: Sequence[Trial]) -> Batches:
        """Of the first epoch, in the order that it has."""
        dataset = loader.dataset
        lengths = pc.list_value_length(dataset.data.column("input_ids")).to_pylist()
        # the real one counts its epochs
        order = copy.deepcopy(loader.batch_sampler, {id(dataset): dataset})
        size = span(contenders)
        rows: list[int] = []
        batches: list[list[int]] = []
        for numbers in order:
            rows += numbers
            while len(rows) >= size:
                batches.append(rows[:size])
                rows = rows[size:]
            if len(batches) >= _BATCHES:
                break
        batches = batches or [rows]
        flat = compute.padding_free
        batches.sort(key=lambda batch: _computed([lengths[row] for row in batch], flat=flat))
        return cls(batches[-1], batches[len(batches) // 2], batches, lengths, flat)

    def some(self, number: int) -> list[list[int]]:
        """So many, from short to long."""
        step = len(self.by_length) / (number + 1)
        return [self.by_length[int(step * (each + 1))] for each in range(number)]

    def micro_batches(self, numbers: Sequence[int], size: int) -> list[list[int]]:
        """As the run would cut them."""
        if not self.flat:
            return [[*numbers[start : start + size]] for start in range(0, len(numbers), size)]
        groups = balanced([self.lengths[row] for row in numbers], math.ceil(len(numbers) / size))
        return [[numbers[index] for index in group] for group in groups]

    def tokens(self, numbers: Sequence[int]) -> int:
        """Without padding."""
        return sum(self.lengths[row] for row in numbers)

    def most_at_once(self, size: int) -> int:
        """The tokens of the largest micro-batch, padding counted."""
        return max(
            _computed([self.lengths[row] for row in rows], flat=self.flat)
            for rows in self.micro_batches(self.longest, size)
        )


def _computed(lengths: Sequence[int], *, flat: bool) -> int:
    return sum(lengths) if flat else len(lengths) * max(lengths)


class Allowance:
    """The time that trials may take, which is known once a pass is. A pass over `share` of a global
    batch takes that share of a step. What the run would have had to compile anyhow, the first
    contender's first pass, is not counted."""

    def __init__(
        self, steps: int, share: float, *, forced: bool, clock: Callable[[], float]
    ) -> None:
        self._steps, self._share, self._forced, self._clock = steps, share, forced, clock
        self._began: float | None = None
        self._pass = math.inf
        self.seconds = MOST_SECONDS

    def begin(self) -> None:
        if self._began is None:
            self._began = self._clock()

    def took(self, seconds: float) -> None:
        """A pass, not the first, took so long."""
        self._pass = min(self._pass, seconds)
        if not self._forced:
            whole_run = self._steps * self._pass / self._share
            self.seconds = min(MOST_SECONDS, MOST_SHARE * whole_run)

    @property
    def spent(self) -> float:
        return 0.0 if self._began is None else self._clock() - self._began

    def has_passes(self, number: int) -> bool:
        """Whether so many more fit."""
        if self._began is None or math.isinf(self._pass):
            return True
        return self.spent + number * self._pass <= self.seconds


class Rounds:
    """Measures contenders, one after the other, with a trainer that is ready for its first step."""

    def __init__(
        self,
        trainer: Any,
        engine: Checkpointing,
        loader: Any,
        batches: Batches,
        compute: Compute,
        products: Products,
        meter: Meter | None,
        clock: Callable[[], float] = time.monotonic,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._trainer = trainer
        self._engine = engine
        self._loader = loader
        self._batches = batches
        self._kind = compute.gradient_checkpointing
        self._meter = meter
        self._clock = clock
        self._stopping = stopping
        self.products = products
        self.is_broken = False
        """Whether the model is no longer as it was loaded, and must be loaded again."""

    def run(
        self, contenders: Sequence[Trial], allowance: Allowance, room: int | None
    ) -> list[Trial]:
        """All of them with what came of each. Raises Stopped."""
        tried: dict[Trial, Trial] = {}
        best = math.inf
        for trial in in_order(contenders):
            if not allowance.has_passes(3) or not self._reaches(trial):
                tried[trial] = replace(trial, outcome=NO_TIME)
                continue
            tried[trial] = measured = self.measure(trial, allowance, _LOST * best, room)
            if measured.is_measured:
                best = min(best, 1 / measured.tokens_per_second)
        for _ in range(_TURNS):
            self._again(tried, allowance, room)
        return [tried[trial] for trial in contenders]

    def _again(self, tried: dict[Trial, Trial], allowance: Allowance, room: int | None) -> None:
        """Those near the best once more, if the time allows, and the quickest pass of each counts:
        a host that is slow for a second is the fault of none."""
        enough = max(trial.tokens_per_second for trial in tried.values()) / _CLOSE
        close = [
            trial
            for trial, measured in tried.items()
            if measured.is_measured and measured.tokens_per_second >= enough
        ]
        if len(close) < 2:
            return
        for trial in close:
            if not allowance.has_passes(3) or not self._reaches(trial):
                return
            measured = self.measure(trial, allowance, room=room, passes=1)
            if measured.is_measured:
                speed = max(measured.tokens_per_second, tried[trial].tokens_per_second)
                measured = replace(measured, tokens_per_second=speed)
            tried[trial] = measured

    def measure(
        self,
        trial: Trial,
        allowance: Allowance,
        lost: float = math.inf,
        room: int | None = None,
        passes: int = _MOST_PASSES,
    ) -> Trial:
        """One contender. `lost`: seconds a token from which on its speed does not matter. `room`:
        bytes that it may take. Raises Stopped."""
        trial = replace(trial, tokens=self._batches.most_at_once(trial.micro_batch))
        measured = trial
        try:
            self.use(trial)
            measured = self._passes(trial, allowance, lost, passes)
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 - whatever this one cannot do, another may
            memory = repair.is_out_of_memory(error)
            measured = replace(
                trial, outcome="out of memory" if memory else f"failed: {repair.first_line(error)}"
            )
        finally:
            self.forget(collect=bool(measured.outcome))
        if room is not None and measured.peak > room and measured.is_measured:
            text = f"does not fit: takes {measured.peak / 1e9:.1f} GB of {room / 1e9:.1f} GB"
            measured = replace(measured, outcome=text)
        return measured

    def use(self, trial: Trial) -> None:
        """Compute as this one does, apart from how batches are cut."""
        self.products.use(trial.float8)
        self._checkpoint(trial.gradient_checkpointing)

    def settle(self, trial: Trial, kind: str) -> None:
        """Leave the model as this one needs it, with the kind of checkpointing that it was loaded
        with, and nothing besides."""
        try:
            self._checkpoint(kind)
            if self.products.in_float8 and not trial.float8 and not self.products.can_return:
                self.is_broken = True
            else:
                self.products.use(trial.float8)
        except Exception:  # noqa: BLE001 - the run itself will say what is wrong, if it is
            self.is_broken = True
        self.products.settle()
        free_memory()

    def _reaches(self, trial: Trial) -> bool:
        return trial.float8 or self.products.can_return

    def _checkpoint(self, kind: str) -> None:
        if kind != self._kind:
            self._kind = kind  # also where it fails midway: the next one changes it back
            self._engine.use_checkpointing(self._trainer.model, kind)

    def _passes(self, trial: Trial, allowance: Allowance, lost: float, passes: int) -> Trial:
        batches, size = self._batches, trial.micro_batch
        if self._meter is not None:
            self._meter.start()
        self.seconds_of(batches.longest, size)
        allowance.begin()
        tokens = batches.tokens(batches.median)
        times: list[float] = []
        while len(times) < passes and not is_settled(times):
            times.append(self.seconds_of(batches.median, size))
            allowance.took(times[-1])
            if len(times) > 1 and (min(times) > lost * tokens or not allowance.has_passes(1)):
                break
        peak = 0 if self._meter is None else self._meter.peak() - self.products.spare_bytes
        return replace(trial, tokens_per_second=round(tokens / min(times), 1), peak=peak)

    def seconds_of(self, numbers: Sequence[int], size: int) -> float:
        """Forward and backward, as a step of the run has them; its seconds."""
        trainer, model = self._trainer, self._trainer.model_wrapped
        dataset = self._loader.dataset
        model.train()
        _wait()
        began = self._clock()
        for rows in self._batches.micro_batches(numbers, size):
            if self._stopping():
                raise Stopped
            inputs = trainer._prepare_inputs(
                self._loader.collate_fn([dataset[row] for row in rows])
            )
            with trainer.compute_loss_context_manager():
                loss = trainer.compute_loss(model, inputs)
            trainer.accelerator.backward(loss)
            del inputs, loss
        _wait()
        seconds = self._clock() - began
        model.zero_grad(set_to_none=True)
        return seconds

    def forget(self, *, collect: bool = False) -> None:
        """Nothing of what was computed is kept. `collect`: also what only refers to itself, as the
        frames of an error may."""
        self._trainer.model_wrapped.zero_grad(set_to_none=True)
        if collect:
            free_memory()
        elif torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def in_order(contenders: Sequence[Trial]) -> list[Trial]:
    """The best in 16 bits, the best in float8, then the others: the way back from float8 may not be
    there."""
    pair = [
        next((trial for trial in contenders if trial.float8 == in_float8), None)
        for in_float8 in (False, True)
    ]
    first = [trial for trial in pair if trial is not None]
    return [*first, *(trial for trial in contenders if trial not in first)]


def is_settled(times: Sequence[float]) -> bool:
    """Whether repeating the same work gains no more: nothing compiles or warms up any longer."""
    return len(times) > 1 and times[-1] >= _SETTLED * times[-2]


class TrialCallback(TrainerCallback):
    """Tries when a training begins. Raises Chosen if the trainer is to be another one, or its
    model."""

    def __init__(
        self,
        context: WorkerContext,
        plan: Plan,
        recipe: Recipe,
        trainer: Any,
        engine: Checkpointing,
    ) -> None:
        assert plan.trials is not None
        self.plan, self._planned = plan, plan.trials
        self._context = context
        self._recipe = recipe
        self._trainer = trainer
        self._engine = engine

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        planned, model = self._planned, self._trainer.model
        products = Products(model, keeps=self._keeps(model))
        loader = kwargs["train_dataloader"]
        batches = Batches.of(loader, self.plan.compute, planned.contenders)
        share = span(planned.contenders) / self.plan.compute.conversations
        allowance = Allowance(
            state.max_steps, share, forced=trials.are_forced(), clock=time.monotonic
        )
        rounds = Rounds(
            self._trainer,
            self._engine,
            loader,
            batches,
            self.plan.compute,
            products,
            meter_of(self.plan),
            stopping=self._context.stopping.is_set,
        )
        measured = None
        if not trials.is_too_short(state.max_steps, share):
            self._context.phase("trying settings", seconds_left=round(MOST_SECONDS))
            measured = self._measured(rounds, planned, allowance)
        before = self.plan
        if measured is not None:
            self._tell(measured)
            self.plan = before.with_trials(measured, self._recipe)
        final = Trial.of(self.plan.compute)
        rounds.settle(final, before.compute.gradient_checkpointing)
        if self.plan != before:
            events.tell_more(self._context, events.Plan, self.plan.to_json())
        other_kind = (
            self.plan.compute.gradient_checkpointing != before.compute.gradient_checkpointing
        )
        if self.plan.compute != before.compute or rounds.is_broken:
            raise Chosen(self.plan, None if other_kind or rounds.is_broken else model)
        self._context.phase("training")

    def _measured(self, rounds: Rounds, planned: Trials, allowance: Allowance) -> Trials | None:
        """None if a stop came meanwhile."""
        began = time.monotonic()
        try:
            with unchanged_random_state(), unchanged_metrics(self._trainer):
                tried = rounds.run(planned.contenders, allowance, self._room())
        except Stopped:
            return None
        seconds = time.monotonic() - began
        measured = trials.finished(planned, tried, self._context.job.id, seconds)
        trials.remember(measured)
        return measured

    def _room(self) -> int | None:
        """What a contender may take: its optimizer's states come with the first step."""
        meter = meter_of(self.plan)
        if meter is None:
            return None
        shape = read_shape(Path(self.plan.model_directory))
        setting = Setting.of(self._recipe, self.plan.engine, self.plan.compute, self.plan.device)
        return meter.room() - (0 if shape is None else predict(shape, setting).optimizer)

    def _keeps(self, model: Any) -> bool:
        """Whether memory suffices for weights in 16 bits and in float8, beside the largest
        contender."""
        meter = meter_of(self.plan)
        if meter is None or not any(trial.float8 for trial in self._planned.contenders):
            return True
        needs = sum(self.plan.memory.values()) * 1.1 + frozen_bytes(model)
        return needs <= meter.room()

    def _tell(self, measured: Trials) -> None:
        """The event, with the figures of each."""
        tried = [
            events.Tried(
                settings=trial.in_words(),
                micro_batch=trial.micro_batch,
                accumulation=trial.accumulation,
                gradient_checkpointing=trial.gradient_checkpointing,
                float8=trial.float8,
                tokens_per_second=trial.tokens_per_second,
                peak=float(trial.peak),
                outcome=trial.outcome,
            )
            for trial in measured.tried
        ]
        events.tell(
            self._context,
            events.Trials(
                chosen=tried[0].settings if measured.best else "",
                seconds=measured.seconds,
                contenders=tried,
            ),
        )


def _wait() -> None:
    """For what the GPU has still to do."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
