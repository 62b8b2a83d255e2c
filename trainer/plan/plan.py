"""The plan: what a recipe comes to on this machine, worked out and checked before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from jobs.errors import LuthierError
from jobs.gpus import compute_capability, gpus
from jobs.memory import main_memory
from models import registry
from models.folder import ModelFolder
from trainer.data.policies import table
from trainer.data.preview import Outlook, look
from trainer.evaluation.plan import outlook
from trainer.plan import autotune, compute_dtype, engines, limits, methods, repair
from trainer.plan.learning_rate import LearningRate, learning_rate
from trainer.plan.memory import remembered
from trainer.plan.memory.batches import Lengths
from trainer.plan.memory.predict import CONTEXT, Memory, Setting, predict
from trainer.plan.memory.shape import ModelShape, read_shape
from trainer.plan.placement import Placement, place, share
from trainer.recipe import Recipe

# Conversations computed at once where nothing else decides: two cores gain nothing from more.
_USUAL_MICRO_BATCH = 8


@dataclass(frozen=True)
class Plan:
    """`steps` are optimizer steps; `conversations` counts all, `heldout` of them are kept out of
    training. These three are estimates where `exact` is False, and 0 where nothing can be told
    before the run. `formats` say what the files are in and why, `policies` what becomes of odd
    rows, and `met` how many of them a first look has found. `gpu_bytes` must be free on a GPU for
    the run to start there. `gpus` of each of `machines` are taken by the run (1 on the CPU, too), a
    rank each, with the whole model or by `sharding` "fsdp2" a share of each weight; `global_batch`
    is `micro_batch` times `accumulation` times the ranks. `base_bits` are taken by each of the base
    weights (32 where all are trained), `float8` says how they are multiplied with, `compute_dtype`
    what is computed in ("auto" on a CPU until the run has measured: trainer.plan.compute_dtype);
    `reasons` say in words why the engine and what the recipe leaves to the plan were chosen,
    `choices` (trainer.plan.autotune.Candidate) what was tried. `memory` has the predicted bytes of
    the run's parts at its peak on one GPU, where its largest micro-batch has about `tokens`.
    `repaired` says which earlier run has made the micro-batch smaller. `longest` is the longest
    conversation seen, in tokens estimated from its text; samples are cut at `max_length`, and the
    model has `positions`, None if it does not say. `warnings` are what a user should know before
    the run. `evaluation` is what the evaluations come to (trainer.evaluation.plan.Outlook), `sweep`
    what varies in the sweep that the run is one of."""

    model: str
    model_directory: str
    device: str
    engine: str
    conversations: int
    heldout: int
    global_batch: int
    micro_batch: int
    accumulation: int
    epochs: float
    steps: int
    slots: list[str]
    learning_rate: float = 0.0
    gpu_bytes: int = 0
    gpus: int = 1
    machines: int = 1
    sharding: str = "none"
    base_bits: int = 16
    float8: bool = False
    compute_dtype: str = "bfloat16"
    padding_free: bool = False
    attention: str = "sdpa"
    optimizer: str = "adamw"
    gradient_checkpointing: str = "none"
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    choices: list[dict[str, Any]] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    longest: int = 0
    max_length: int = 0
    positions: int | None = None
    repaired: str = ""
    exact: bool = True
    formats: list[dict[str, Any]] = field(default_factory=list)
    policies: list[dict[str, Any]] = field(default_factory=list)
    met: dict[str, int] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    sweep: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def ranks(self) -> int:
        return self.gpus * self.machines

    def shape(self, recipe: Recipe) -> repair.Shape:
        return _shape(self.model, self.engine, recipe)

    def rate(self, recipe: Recipe) -> float:
        """The learning rate: the frozen recipe's, which may have been edited since, or the plan's
        where that leaves it open."""
        return (
            self.learning_rate
            if recipe.train.learning_rate == "auto"
            else recipe.train.learning_rate
        )


def make_plan(recipe: Recipe) -> Plan:
    """Check the model and the first rows of the data, and work the rest out. LuthierError at the
    first thing that is wrong."""
    directory = registry.resolve(recipe.model)
    recipe.trackers.check()
    data = look(recipe.data_settings)
    heldout = recipe.heldout.count(data.conversations)
    trained = max(0, data.seen_each_epoch - heldout)
    found = gpus()
    device, placement = "gpu" if found else "cpu", place(recipe, found)
    decided = _decide(recipe, directory, data, device, placement)
    batch, repaired = repair.recall(_shape(recipe.model, decided.engine, recipe), decided.batch)
    memory, tokens = decided.memory(batch)
    rate = learning_rate(recipe, None if decided.shape is None else decided.shape.parameters)
    positions = ModelFolder(directory).context_length
    steps = (
        step_count(trained, recipe.train.global_batch, recipe.train.epochs)
        if data.conversations
        else 0
    )
    per_epoch = step_count(trained, recipe.train.global_batch, 1.0)
    evaluation = outlook(
        recipe.evaluation,
        recipe.heldout,
        heldout,
        steps,
        per_epoch,
        directory,
        device,
        batch.micro_batch,
    )
    plan = Plan(
        model=recipe.model,
        model_directory=str(directory),
        device=device,
        engine=decided.engine,
        conversations=data.conversations,
        heldout=heldout,
        global_batch=recipe.train.global_batch,
        micro_batch=batch.micro_batch,
        accumulation=batch.accumulation,
        epochs=recipe.train.epochs,
        steps=steps,
        slots=[device] * placement.gpus,
        learning_rate=rate.value,
        gpus=placement.gpus,
        machines=placement.machines,
        sharding="none" if decided.shards == 1 else "fsdp2",
        gpu_bytes=(
            _gpu_bytes(recipe, decided.engine, memory, placement.gpus) if device == "gpu" else 0
        ),
        base_bits=decided.base_bits,
        float8=decided.float8,
        padding_free=decided.padding_free,
        attention=decided.attention,
        optimizer=decided.optimizer,
        gradient_checkpointing=batch.gradient_checkpointing,
        reasons=[*([rate.reason] if rate.reason else []), *decided.reasons],
        warnings=_warnings(recipe, positions, data, decided, batch, rate),
        choices=[] if decided.choice is None else [one.to_json() for one in decided.choice.tried],
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
    )
    return compute_dtype.decided(plan, recipe)


def _warnings(
    recipe: Recipe,
    positions: int | None,
    data: Outlook,
    decided: _Decided,
    batch: repair.Batch,
    rate: LearningRate,
) -> list[str]:
    found = [
        rate.warning,
        limits.beyond_positions(recipe, positions, data.tokens, exact=data.exact),
    ]
    if not decided.card:
        found.append(
            limits.beyond_main_memory(
                recipe, main_memory(), batch, lambda other: decided.memory(other)[0]
            )
        )
    elif decided.choice is not None and not decided.fits:
        found.append(limits.beyond_card(recipe, decided.choice.chosen.needs, decided.card))
    return [warning for warning in found if warning]


@dataclass(frozen=True)
class _Decided:
    """What the recipe left open. `shape` is None where the model's config does not tell it,
    `choice` where there is no GPU; `card` is the memory of the GPU, 0 without a choice."""

    recipe: Recipe
    shape: ModelShape | None
    lengths: Lengths
    engine: str
    base_bits: int
    float8: bool
    padding_free: bool
    attention: str
    optimizer: str
    batch: repair.Batch
    reasons: list[str]
    choice: autotune.Choice | None = None
    shards: int = 1
    card: int = 0

    @property
    def fits(self) -> bool:
        return self.choice is None or self.choice.chosen.fits

    def memory(self, batch: repair.Batch) -> tuple[Memory | None, int]:
        """Of that batch, and the tokens of its largest micro-batch."""
        tokens = self.lengths.largest(batch.micro_batch, padding_free=self.padding_free)
        if self.shape is None:
            return None, tokens
        empty = Setting.of(
            self.recipe,
            self.engine,
            self.base_bits,
            batch.gradient_checkpointing,
            self.optimizer,
            self.attention,
        )
        rows = 1 if self.padding_free else batch.micro_batch
        return (
            predict(
                self.shape,
                replace(empty.holding(tokens, rows, batch.micro_batch), shards=self.shards),
            ),
            tokens,
        )


def _decide(
    recipe: Recipe, directory: Path, data: Outlook, device: str, placement: Placement
) -> _Decided:
    """With the whole model on each GPU, unless the recipe wants shards of it, or only these fit.
    LuthierError if it cannot have them."""

    def settled(shards: int, *why: str) -> _Decided:
        return _settle(
            recipe,
            directory,
            data,
            device,
            replace(placement, reasons=[*placement.reasons, *why]),
            shards,
        )

    if placement.ranks == 1:
        return settled(
            1, *(["nothing is sharded: there is one process"] if recipe.sharding == "fsdp2" else [])
        )
    cannot = methods.cannot_shard(recipe, directory)
    if recipe.sharding == "fsdp2":
        if cannot:
            raise LuthierError(
                "FSDP2 cannot do this",
                f'sharding = "fsdp2", but {cannot}.',
                "Leave sharding out, or that.",
            )
        return settled(
            placement.ranks,
            "a share of every weight on each GPU (FSDP2), because the recipe says so",
        )
    whole = settled(1, "the whole model on each GPU (DDP)")
    if recipe.sharding == "none" or whole.choice is None or whole.fits:
        return whole
    if cannot:
        return replace(
            whole,
            reasons=[*whole.reasons, f"No shards of the model on each GPU (FSDP2): {cannot}."],
        )
    least, card = (
        f"{size / 1e9:.1f} GB" for size in (whole.choice.chosen.needs, _card(placement.gpus))
    )
    why = (
        "a share of every weight on each GPU (FSDP2), because with the whole model it needs"
        f" {least} at least, of {card}"
    )
    shared = settled(placement.ranks, why)
    return (
        shared
        if shared.fits
        else replace(
            whole, reasons=[*whole.reasons, "Nor do shards of the model on each GPU (FSDP2) fit."]
        )
    )


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
    reasons = [*placement.reasons, why, layout]
    conversations = share(recipe.train.global_batch, placement.ranks)
    _check_batch(recipe, conversations, placement)
    train, shape, lengths = recipe.train, read_shape(directory), lengths_of(recipe, data)
    attention = "sdpa" if train.attention == "auto" else train.attention
    capability = compute_capability() if device == "gpu" else None
    if device == "cpu" or shape is None:
        size = train.micro_batch or repair.largest_divisor(conversations, _USUAL_MICRO_BATCH)
        checkpointing = (
            "none" if train.gradient_checkpointing == "auto" else train.gradient_checkpointing
        )
        optimizer = "adamw" if train.optimizer == "auto" else train.optimizer
        batch = repair.Batch(size, conversations // size, checkpointing)
        bits = methods.base_bits(recipe)
        float8, why = methods.float8(recipe, shape, bits, shards, capability)
        reasons += [why] if why else []
        return _Decided(
            recipe,
            shape,
            lengths,
            engine,
            bits,
            float8,
            padding_free,
            attention,
            optimizer,
            batch,
            reasons,
            shards=shards,
        )
    task = autotune.Task(
        recipe,
        shape,
        lengths,
        engine,
        _card(placement.gpus),
        conversations,
        padding_free,
        attention,
        shards=shards,
    )
    if shards == 1:  # a whole model is what was measured
        task = replace(task, measured=_measured(recipe))
    choice = autotune.choose(task)
    chosen = choice.chosen
    batch = repair.Batch(
        chosen.micro_batch, conversations // chosen.micro_batch, chosen.gradient_checkpointing
    )
    bits = chosen.base_bits
    float8, why = methods.float8(recipe, shape, bits, shards, capability)
    reasons = [*reasons, *choice.reasons, *([why] if why else [])]
    states = chosen.optimizer
    decided = _Decided(
        recipe,
        shape,
        lengths,
        engine,
        bits,
        float8,
        padding_free,
        attention,
        states,
        batch,
        reasons,
        choice,
        shards,
    )
    return replace(decided, card=task.card)


def _card(taken: int) -> int:
    """The memory of the smallest of so many GPUs, if a run gets the largest ones."""
    return sorted((gpu.total for gpu in gpus()), reverse=True)[taken - 1]


def _check_batch(recipe: Recipe, conversations: int, placement: Placement) -> None:
    if recipe.train.micro_batch and conversations % recipe.train.micro_batch:
        shared = f", which {placement.ranks} GPUs share," if placement.ranks > 1 else ""
        message = (
            f"train.global_batch {recipe.train.global_batch}{shared} is no multiple of"
            f" train.micro_batch {recipe.train.micro_batch}."
        )
        raise LuthierError(
            "Batches do not add up", message, "Leave micro_batch out, or choose a divisor."
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
