"""The plan: what a recipe comes to on this machine, worked out and checked before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from jobs.gpus import compute_capability, gpus
from jobs.luthier_error import LuthierError
from jobs.memory import main_memory
from models import registry
from models.folder import ModelFolder
from trainer import first_adapter, teacher
from trainer.data import guard_rails
from trainer.data.policies import table
from trainer.data.preview import Outlook, look, look_at_heldout
from trainer.evaluation.plan import outlook
from trainer.plan import (
    autotune,
    compute_dtype,
    engines,
    limits,
    methods,
    objectives,
    repair,
    trials,
)
from trainer.plan.autotune import Candidate
from trainer.plan.compute import Batch, Compute, Reason, embedded, flattened, largest_divisor
from trainer.plan.learning_rate import LearningRate, learning_rate
from trainer.plan.memory import remembered
from trainer.plan.memory.batches import Lengths
from trainer.plan.memory.predict import CONTEXT, Memory, Setting, predict
from trainer.plan.memory.shape import ModelShape, read_shape
from trainer.plan.placement import Placement, place, share
from trainer.plan.trials import Trials
from trainer.recipe import Recipe

# Conversations computed at once where nothing else decides: two cores gain nothing from more.
_USUAL_MICRO_BATCH = 8


@dataclass(frozen=True)
class Plan:
    """What a run will do. Its JSON (`to_json`, `from_json`) is what the job's folder has as
    settings and the `plan` event tells."""

    model: str
    model_directory: str
    device: str
    """"gpu" or "cpu"."""
    engine: str
    compute: Compute
    conversations: int
    """All that there are: an estimate where `exact` is False, 0 where nothing can be told before
    the run; so are `heldout` and `steps`."""
    heldout: int
    """How many of them are kept out of training."""
    global_batch: int
    """Conversations of an optimizer step: the micro-batch times the accumulation times the
    ranks."""
    epochs: float
    steps: int
    """Optimizer steps."""
    slots: list[str]
    learning_rate: float = 0.0
    gpu_bytes: int = 0
    """What must be free on a GPU for the run to start there."""
    gpus: int = 1
    """Taken of each machine (1 on the CPU, too), a rank each."""
    machines: int = 1
    reasons: list[Reason] = field(default_factory=list)
    """Why the engine and what the recipe leaves to the plan were chosen."""
    warnings: list[str] = field(default_factory=list)
    """What a user should know before the run."""
    choices: list[Candidate] = field(default_factory=list)
    """What was predicted."""
    trials: Trials | None = None
    """What the run measures before its first step, or an earlier one has; None where there is
    nothing to choose from."""
    memory: dict[str, int] = field(default_factory=dict)
    """The predicted bytes of the run's parts at its peak on one GPU."""
    tokens: int = 0
    """Of the largest micro-batch, about."""
    longest: int = 0
    """The longest conversation seen, in tokens estimated from its text."""
    max_length: int = 0
    """Tokens at which samples are cut."""
    positions: int | None = None
    """Of the model; None if it does not say."""
    repaired: str = ""
    """Which earlier run has made the micro-batch smaller."""
    exact: bool = True
    formats: list[dict[str, Any]] = field(default_factory=list)
    """What the files are in, and why."""
    policies: list[dict[str, Any]] = field(default_factory=list)
    """What becomes of odd rows."""
    met: dict[str, int] = field(default_factory=dict)
    """How many odd rows a first look has seen."""
    evaluation: dict[str, Any] = field(default_factory=dict)
    """What the evaluations come to (trainer.evaluation.plan.Outlook)."""
    objective: str = "sft"
    """What is learned, by the recipe's name of it."""
    start_from: str = ""
    """The folder of the adapter that it starts from; "" for a fresh one."""
    teacher: str = ""
    """Whom the model learns from, in words; "" without one."""
    sweep: dict[str, Any] = field(default_factory=dict)
    """What varies in the sweep that the run is one of."""

    def to_json(self) -> dict[str, Any]:
        return {
            **flattened(asdict(self)),
            "choices": [candidate.to_json() for candidate in self.choices],
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Plan:
        """Of this version or an earlier one, which had reasons without keys and told shards by the
        name of their kind."""
        values = dict(values)
        values.pop("fine_tuning", None)  # what a program asked for: models.runs.Run has it
        if values.pop("sharding", "none") == "fsdp2":
            values["shards"] = values.get("gpus", 1) * values.get("machines", 1)
        values["reasons"] = [
            Reason("", reason) if isinstance(reason, str) else Reason(**reason)
            for reason in values.get("reasons", [])
        ]
        values["choices"] = [
            Candidate(**embedded(candidate)) for candidate in values.get("choices", [])
        ]
        if values.get("trials") is not None:
            values["trials"] = Trials.from_json(values["trials"])
        return cls(**embedded(values))

    @property
    def ranks(self) -> int:
        return self.gpus * self.machines

    def shape(self, recipe: Recipe) -> repair.Shape:
        return _shape(self.model, self.engine, recipe)

    def rate(self, recipe: Recipe) -> float:
        """The learning rate: the frozen recipe's, which may have been edited since, or the plan's
        where that leaves it open."""
        asked = recipe.train.learning_rate
        return self.learning_rate if asked == "auto" else asked

    def with_trials(self, measured: Trials, recipe: Recipe) -> Plan:
        """As the trials have decided it."""
        best = measured.best
        plan = replace(self, trials=measured)
        if best is None:
            return plan
        compute = best.applied(self.compute)
        shape = read_shape(Path(self.model_directory))
        setting = Setting.of(recipe, self.engine, compute, self.device)
        setting = setting.holding(best.tokens, best.micro_batch)
        return replace(
            plan,
            compute=compute,
            reasons=[
                *(reason for reason in self.reasons if reason.key not in _TRIED),
                measured.reason(),
            ],
            choices=_chosen_first(self.choices, compute),
            memory={} if shape is None else predict(shape, setting).parts(),
            tokens=best.tokens,
        )

    def with_batch(self, batch: Batch) -> Plan:
        """With what a repair has made of the batch."""
        return replace(self, compute=replace(self.compute, **batch))


_TRIED = ("train.float8", "train.micro_batch", "train.gradient_checkpointing")


def _chosen_first(choices: list[Candidate], compute: Compute) -> list[Candidate]:
    """The predictions with that of the combination in front that was measured as the quickest."""

    def is_meant(candidate: Candidate) -> bool:
        predicted = candidate.compute
        return (predicted.base_bits, predicted.gradient_checkpointing, predicted.optimizer) == (
            compute.base_bits,
            compute.gradient_checkpointing,
            compute.optimizer,
        )

    meant = [
        replace(candidate, compute=compute, verdict="chosen, as measured")
        for candidate in choices
        if is_meant(candidate)
    ]
    return [*meant, *(candidate for candidate in choices if not is_meant(candidate))]


def make_plan(recipe: Recipe) -> Plan:
    """Check the model and the first rows of the data, and work the rest out. LuthierError at the
    first thing that is wrong."""
    recipe = teacher.settled(first_adapter.settled(recipe))
    directory = registry.described_directory(recipe.model)
    recipe.check()
    _check(recipe, directory)
    data = look(recipe.data_settings)
    of_files = look_at_heldout(recipe.data_settings)
    heldout = of_files or recipe.heldout.count(data.conversations)
    trained = max(0, data.seen_each_epoch - (0 if of_files else heldout))
    present = gpus()
    device, placement = "gpu" if present else "cpu", place(recipe, present)
    decided = _decide(recipe, directory, data, device, placement)
    compute, repaired = repair.recall(
        _shape(recipe.model, decided.engine, recipe), decided.measured_compute
    )
    memory, tokens = decided.memory(compute)
    rate = learning_rate(recipe, None if decided.shape is None else decided.shape.parameters)
    positions = ModelFolder(directory).context_length
    steps_of = partial(_steps, recipe, data, trained)
    steps = steps_of(recipe.train.global_batch)
    per_epoch = step_count(trained, recipe.train.global_batch, 1.0)
    evaluation = outlook(
        recipe,
        heldout,
        steps,
        per_epoch,
        directory,
        device,
        compute.micro_batch,
    )
    plan = Plan(
        model=recipe.model,
        model_directory=str(directory),
        device=device,
        engine=decided.engine,
        compute=compute,
        conversations=data.conversations + of_files,
        heldout=heldout,
        global_batch=recipe.train.global_batch,
        epochs=recipe.train.epochs,
        steps=steps,
        slots=[device] * placement.gpus,
        learning_rate=rate.value,
        gpus=placement.gpus,
        machines=placement.machines,
        gpu_bytes=(
            _gpu_bytes(recipe, decided.engine, memory, placement.gpus) if device == "gpu" else 0
        ),
        reasons=[
            *([Reason("train.learning_rate", rate.reason)] if rate.reason else []),
            *objectives.reasons(recipe),
            *decided.reasons,
        ],
        warnings=_warnings(recipe, positions, data, decided, compute, rate, steps_of, directory),
        choices=decided.candidates,
        trials=None if repaired else _worth_trying(decided, steps),
        memory={} if memory is None else memory.parts(),
        tokens=tokens,
        longest=max(data.tokens, default=0),
        max_length=recipe.train.max_length,
        positions=positions,
        repaired=repaired,
        exact=data.exact,
        formats=data.formats,
        policies=table(recipe.policy),
        met=data.met,
        evaluation=evaluation.to_json(),
        objective=recipe.objective.kind,
        start_from=recipe.start_from,
        teacher=teacher.title(recipe),
    )
    if plan.trials is not None:
        plan = plan.with_trials(plan.trials, recipe)
    plan = compute_dtype.decided(plan, recipe)
    return replace(plan, model_directory=str(registry.planned_directory(recipe.model)))


def _check(recipe: Recipe, directory: Path) -> None:
    recipe.trackers.check()
    objectives.check(recipe)
    teacher.check(recipe, directory)


def _worth_trying(decided: _Decided, steps: int) -> Trials | None:
    """The trials, unless the run is too short for them and no earlier one has made them. They are
    made of samples with labels, which pairs are not."""
    planned = None if decided.recipe.objective.kind != "sft" else decided.trials
    if planned is None or planned.run or not steps:
        return planned
    share_of_step = trials.span(planned.contenders) / decided.compute.conversations
    return None if trials.is_too_short(steps, share_of_step) else planned


def _steps(recipe: Recipe, data: Outlook, trained: int, global_batch: int) -> int:
    """With this batch; 0 if nothing is known of the data, which is on the hub."""
    is_known = data.conversations > 0
    return step_count(trained, global_batch, recipe.train.epochs) if is_known else 0


def _warnings(
    recipe: Recipe,
    positions: int | None,
    data: Outlook,
    decided: _Decided,
    compute: Compute,
    rate: LearningRate,
    steps_of: Callable[[int], int],
    directory: Path,
) -> list[str]:
    warnings = [
        rate.warning,
        limits.beyond_positions(recipe, positions, data.tokens, exact=data.exact),
        *guard_rails.warnings(data.preferences, recipe.objective.scoring),
        limits.few_steps(recipe, rate, steps_of),
        *teacher.warnings(recipe, directory, max(data.tokens, default=0)),
    ]
    if not decided.card:
        warnings.append(
            limits.beyond_main_memory(
                recipe, main_memory(), compute, lambda thriftier: decided.memory(thriftier)[0]
            )
        )
    elif not decided.fits:
        warnings.append(limits.beyond_card(recipe, decided.candidates[0].needs, decided.card))
    return [warning for warning in warnings if warning]


@dataclass(frozen=True)
class _Decided:
    """What the recipe left open, and why it was decided so."""

    recipe: Recipe
    shape: ModelShape | None
    """None where the model's config does not tell it."""
    lengths: Lengths
    device: str
    engine: str
    compute: Compute
    reasons: list[Reason]
    candidates: list[Candidate] = field(default_factory=list)
    """The chosen one first; none where there is no GPU, or no shape."""
    card: int = 0
    """The memory of the GPU, 0 without candidates."""
    trials: Trials | None = None

    @property
    def fits(self) -> bool:
        return not self.candidates or self.candidates[0].fits

    @property
    def measured_compute(self) -> Compute:
        """As an earlier run has measured that it is the quickest, else as predicted."""
        best = None if self.trials is None else self.trials.best
        return self.compute if best is None else best.applied(self.compute)

    def memory(self, compute: Compute) -> tuple[Memory | None, int]:
        """Of a run computed so, and the tokens of its largest micro-batch."""
        size = compute.micro_batch
        tokens = self.lengths.largest(size, padding_free=compute.padding_free)
        if self.shape is None:
            return None, tokens
        setting = Setting.of(self.recipe, self.engine, compute, self.device)
        return predict(self.shape, setting.holding(tokens, size)), tokens

    def because(self, reason: Reason) -> _Decided:
        return replace(self, reasons=[*self.reasons, reason])


def _decide(
    recipe: Recipe, directory: Path, data: Outlook, device: str, placement: Placement
) -> _Decided:
    """With the whole model on each GPU, unless the recipe wants shards of it, or only these fit.
    LuthierError if it cannot have them."""

    def settled(shards: int, *why: str) -> _Decided:
        reasons = [*placement.reasons, *(Reason("sharding", text) for text in why)]
        return _settle(recipe, directory, data, device, replace(placement, reasons=reasons), shards)

    if placement.ranks == 1:
        alone = (
            ["nothing is sharded: there is only one process"] if recipe.sharding == "fsdp2" else []
        )
        return settled(1, *alone)
    cannot = methods.cannot_shard(recipe, directory)
    if recipe.sharding == "fsdp2":
        if cannot:
            raise LuthierError(
                "FSDP2 cannot do this",
                f'sharding = "fsdp2", but {cannot}.',
                "Leave out sharding, or the conflicting setting.",
            )
        return settled(
            placement.ranks,
            "a share of every weight on each GPU (FSDP2), because the recipe says so",
        )
    replicated = settled(1, "the whole model on each GPU (DDP)")
    if recipe.sharding == "none" or replicated.fits:
        return replicated
    if cannot:
        text = f"No shards of the model on each GPU (FSDP2): {cannot}."
        return replicated.because(Reason("sharding", text))
    least, card = (
        f"{size / 1e9:.1f} GB" for size in (replicated.candidates[0].needs, _card(placement.gpus))
    )
    sharded = settled(
        placement.ranks,
        "a share of every weight on each GPU (FSDP2), because the whole model needs at least"
        f" {least}, and a card has {card}",
    )
    if sharded.fits:
        return sharded
    text = "Shards of the model on each GPU (FSDP2) do not fit either."
    return replicated.because(Reason("sharding", text))


def _settle(
    recipe: Recipe, directory: Path, data: Outlook, device: str, placement: Placement, shards: int
) -> _Decided:
    config = ModelFolder(directory).config
    if shards > 1:
        engine, why = "trl", "TRL, because Unsloth does not shard a model"
    else:
        engine, why = engines.choose(recipe, directory, config, device, engines.installed())
    padding_free, layout = engines.flat(recipe, config, engine)
    methods.check(recipe, directory, engine, device)
    reasons = [
        *placement.reasons,
        Reason("engine", why),
        Reason("train.padding_free", layout),
    ]
    conversations = share(recipe.train.global_batch, placement.ranks)
    _check_batch(recipe, conversations, placement)
    attention = recipe.train.attention
    decided = _Decided(
        recipe,
        read_shape(directory),
        lengths_of(recipe, data),
        device,
        engine,
        Compute(
            attention="sdpa" if attention == "auto" else attention,
            padding_free=padding_free,
            shards=shards,
        ),
        reasons,
    )
    capability = compute_capability() if device == "gpu" else None
    if device == "cpu" or decided.shape is None:
        return _usual(decided, conversations, capability)
    return _tuned(decided, decided.shape, conversations, _card(placement.gpus), capability)


def _usual(decided: _Decided, conversations: int, capability: tuple[int, int] | None) -> _Decided:
    """With what the recipe leaves open as it usually is: on a CPU, or where nothing can be
    predicted."""
    train = decided.recipe.train
    size = train.micro_batch or largest_divisor(conversations, _USUAL_MICRO_BATCH)
    checkpointing = train.gradient_checkpointing
    compute = replace(
        decided.compute,
        base_bits=methods.base_bits(decided.recipe),
        optimizer="adamw" if train.optimizer == "auto" else train.optimizer,
        gradient_checkpointing="none" if checkpointing == "auto" else checkpointing,
        micro_batch=size,
        accumulation=conversations // size,
    )
    compute = replace(
        compute, float8=methods.float8(decided.recipe, compute, capability) == (True,)
    )
    if compute.float8:
        text = "Float8 products with the frozen weights, because the recipe says so."
        decided = decided.because(Reason("train.float8", text))
    decided = replace(decided, compute=compute)
    if not trials.are_forced() or decided.shape is None:
        return decided
    task = _task(decided, decided.shape, conversations, main_memory(), capability)
    return replace(decided, trials=trials.planned(task, task.candidate(compute)))


def _tuned(
    decided: _Decided,
    shape: ModelShape,
    conversations: int,
    card: int,
    capability: tuple[int, int] | None,
) -> _Decided:
    """With the fastest that fits on a GPU of `card` bytes."""
    task = _task(decided, shape, conversations, card, capability)
    if decided.compute.shards == 1:  # a whole model is what was measured
        task = replace(task, measured=_measured(decided.recipe))
    choice = autotune.choose(task)
    return replace(
        decided,
        compute=choice.best.compute,
        reasons=[*decided.reasons, *choice.reasons],
        candidates=choice.tried,
        card=card,
        trials=(
            trials.planned(task, choice.best)
            if choice.best.fits and decided.compute.shards == 1 and not trials.are_off()
            else None
        ),
    )


def _task(
    decided: _Decided,
    shape: ModelShape,
    conversations: int,
    card: int,
    capability: tuple[int, int] | None,
) -> autotune.Task:
    return autotune.Task(
        decided.recipe,
        shape,
        decided.lengths,
        decided.engine,
        card,
        conversations,
        decided.compute,
        capability,
    )


def _card(taken: int) -> int:
    """The memory of the smallest of so many GPUs, if a run gets the largest ones."""
    return sorted((gpu.total for gpu in gpus()), reverse=True)[taken - 1]


def _check_batch(recipe: Recipe, conversations: int, placement: Placement) -> None:
    if recipe.train.micro_batch and conversations % recipe.train.micro_batch:
        shared = f", which {placement.ranks} GPUs share," if placement.ranks > 1 else ""
        message = (
            f"train.global_batch {recipe.train.global_batch}{shared} is not a multiple of"
            f" train.micro_batch {recipe.train.micro_batch}."
        )
        raise LuthierError(
            "Batches do not add up", message, "Leave out micro_batch, or choose a divisor."
        )


def lengths_of(recipe: Recipe, data: Outlook) -> Lengths:
    """The lengths that samples will have, by what was seen of the data; what is too long is cut.
    Where nothing was seen, the longest."""
    longest = recipe.train.max_length
    tokens = [min(count, longest) for count in data.tokens]
    if not tokens:
        return Lengths(longest, longest)
    mean = sum(tokens) / len(tokens)
    spread = math.sqrt(sum((count - mean) ** 2 for count in tokens) / len(tokens))
    return Lengths(mean, max(tokens) if data.exact else longest, spread)


def _measured(recipe: Recipe) -> Callable[[Setting], tuple[float, str]]:
    device = repair.device_name()
    return lambda setting: remembered.recall(recipe.model, device, setting)


def _gpu_bytes(recipe: Recipe, engine: str, memory: Memory | None, taken: int) -> int:
    """Alone on a GPU a run can mend what does not fit by smaller batches; beside another one all
    that it takes must be free."""
    if memory is None:
        return CONTEXT
    largest = int(0.95 * _card(taken))
    return min(
        largest,
        autotune.needed(memory.peak, engine) if recipe.share_gpu else memory.fixed + CONTEXT,
    )


def step_count(conversations: int, global_batch: int, epochs: float) -> int:
    """Optimizer steps; the last batch of an epoch may be smaller."""
    return max(1, math.ceil(math.ceil(conversations / global_batch) * epochs))


def _shape(model: str, engine: str, recipe: Recipe) -> repair.Shape:
    return repair.Shape(model, engine, repair.device_name(), recipe.train.max_length, recipe.lora.r)
