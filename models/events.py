"""What the events of `events.jsonl` say: a type for each kind, which workers write and readers
match.

`jobs.event_kinds` has the kinds that the jobs layer itself needs; the others stand here. Readers
take an event through `typed`: one of a kind that is not known here, or whose fields are not those
of its kind, stays the plain dict that it was. docs/events.md is made from these types
(tools/event_page.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal, TypeVar, cast, get_args

import msgspec

from jobs import event_kinds
from jobs.event_kinds import Timed, kind_name
from jobs.events import LATEST, Event
from jobs.foreign_json import Damaged
from jobs.worker import WorkerContext
from models import foreign

# the kinds of the jobs layer
Queued = event_kinds.Queued
Waiting = event_kinds.Waiting
AskedToSleep = event_kinds.AskedToSleep
Started = event_kinds.Started
Phase = event_kinds.Phase
StopRequested = event_kinds.StopRequested
Result = event_kinds.Result
Error = event_kinds.Error
Exited = event_kinds.Exited
ThenFailed = event_kinds.ThenFailed
Asleep = event_kinds.Asleep
Waking = event_kinds.Waking
Awake = event_kinds.Awake
SlotsFreed = event_kinds.SlotsFreed
SlotsTaken = event_kinds.SlotsTaken

Time = Annotated[float, msgspec.Meta(ge=0, lt=LATEST)]
Count = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Figure = float | Literal["nan", "inf", "-inf"] | None
"""A measured number. One that is not finite is written as its name."""


@dataclass(frozen=True, slots=True)
class Step(event_kinds.Step):
    """One step of the job: an optimizer step of a run, or a hundredth of an inspection, which has
    no figures. `workshop.runs.chart_metrics` says which figures are drawn, and how."""

    step: Count
    """Its number, from 1 on."""
    total: Count = 0
    """How many steps there will be."""
    epoch: Figure = None
    """Epochs done so far, as a fraction."""
    loss: Figure = None
    """The mean loss of the step's trained tokens, in nats."""
    learning_rate: Figure = None
    """The learning rate of the step."""
    grad_norm: Figure = None
    """The norm of the gradient before it is clipped."""
    tokens: Figure = None
    """Tokens seen since the run began, over all attempts."""
    tokens_per_second: Figure = None
    """Tokens per second in this step."""
    tensor_bytes: Figure = None
    """The most memory that tensors have taken so far, which the plan predicts. Steps of earlier
    versions have `memory_bytes`: the same on a GPU; on a CPU, the memory of the whole process."""
    reward_chosen: Figure = None
    """Of preferences: the mean reward of chosen or good answers, which is beta times how much
    likelier they are than the reference has them."""
    reward_rejected: Figure = None
    """The same of rejected or bad answers."""
    reward_margin: Figure = None
    """By how much the chosen answers' reward is higher."""
    reward_accuracy: Figure = None
    """The share of pairs whose chosen answer has the higher reward."""
    kl: Figure = None
    """With KTO: its estimate of how far the model is from the reference, in nats an answer. With
    distillation: the reverse KL to the teacher, in nats a token of the step's answers."""
    sample_length: Figure = None
    """Of distillation: the mean length of the answers that the model has written for the step, in
    tokens."""
    sample_stopped: Figure = None
    """The share of these answers that end with a stop token, and not because they are too long."""
    sampler_difference: Figure = None
    """By how much the log-probabilities of what wrote them differ from the trainer's, in nats a
    token (see `weight_sync`)."""


class _Event(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="kind",
    tag=kind_name,
):
    written_as_null: ClassVar[tuple[str, ...]] = ()
    """Fields that are written if they are None, too; others are left out then."""

    t: Time = math.nan
    """When the event was appended, in unix seconds. The log writes it; writers leave it out."""


class Evaluations(msgspec.Struct, frozen=True):
    """What a plan's evaluations come to."""

    evaluations: Count = 0
    """How many there will be; the one before the first step counts too."""
    answers: Count = 0
    """Questions that each of them asks."""
    seconds: float = 0.0
    """What all the answers of the run take at most, in seconds, about."""


class Plan(_Event, frozen=True, kw_only=True):
    """What the run will do; written again when the worker has decided something. Besides these
    fields it has all others of `trainer.plan.plan.Plan`."""

    model: str | None = None
    """The base model as the recipe names it."""
    model_directory: str | None = None
    """Its folder."""
    device: str | None = None
    """One of "cpu" and "gpu"."""
    engine: str | None = None
    """One of "trl" and "unsloth"."""
    conversations: Count | None = None
    """All conversations of the data; an estimate unless `exact`."""
    heldout: Count | None = None
    """Conversations that are kept out of training; an estimate unless `exact`."""
    exact: bool = True
    """Whether the data was counted."""
    steps: Count | None = None
    """Optimizer steps; an estimate unless `exact`."""
    epochs: float | None = None
    """How many times the model sees the data."""
    global_batch: Count | None = None
    """Conversations per step."""
    micro_batch: Count | None = None
    """Conversations computed at a time on a GPU."""
    accumulation: Count | None = None
    """Micro-batches per step on a GPU."""
    learning_rate: float | None = None
    """The highest learning rate."""
    gpus: Count = 1
    """GPUs of each machine."""
    memory: dict[str, float] | None = None
    """The predicted bytes of each part of the tensor memory at its peak."""
    evaluation: Evaluations = Evaluations()
    """The evaluations: how many, and their cost."""


class Ledger(msgspec.Struct, frozen=True):
    """The ledger's totals in the `data` event."""

    rows: dict[str, Count] = {}
    """Rows by their state: kept, repaired, split, dropped."""
    tokens: dict[str, Count] = {}
    """Tokens by the state of their row."""
    reasons: dict[str, dict[str, Count]] = {}
    """Rows by state and reason."""
    total_rows: Count = 0
    """All rows."""
    total_tokens: Count = 0
    """All tokens."""


class Data(_Event, frozen=True, kw_only=True):
    """The data is prepared. Besides these fields it has all others of the data's `summary.json`:
    `formats`, `leaks`, `stops`, `traits`, `weighted`."""

    conversations: Count | None = None
    """Conversations made from the rows."""
    train: Count | None = None
    """Samples to train on."""
    heldout: Count | None = None
    """Held-out samples."""
    tokens: Count | None = None
    """Tokens in all samples."""
    trained_tokens: Count | None = None
    """How many of these tokens are trained."""
    longest: Count | None = None
    """Tokens in the longest sample."""
    ledger: Ledger | None = None
    """What happened to the rows."""
    cached: bool | None = None
    """Whether Luthier took it from the cache."""


class Check(msgspec.Struct, frozen=True):
    """A check of the chat template in the `template` event."""

    name: str = ""
    """Which check."""
    status: str = ""
    """One of "ok", "warn" and "fail"."""
    detail: str = ""
    """What it found."""


class Template(_Event, frozen=True, kw_only=True):
    """The chat template was checked."""

    strategy: str | None = None
    """How the loss mask is made: "once" for whole conversations, "per_turn" for turn by turn."""
    stop_ids: list[Count] | None = None
    """The trained tokens that end an answer."""
    checks: list[Check] = []
    """The checks."""


class Calibrated(_Event, frozen=True, kw_only=True):
    """The memory of the largest micro-batch was measured before the first step."""

    micro_batch: Count | None = None
    """Its conversations."""
    tokens: Count | None = None
    """Its tokens, including padding."""
    predicted: float | None = None
    """Bytes that the plan predicted; 0 without a prediction."""
    measured: float | None = None
    """Bytes measured at the peak."""
    room: float | None = None
    """Bytes available."""


class Tried(msgspec.Struct, frozen=True):
    """One contender in the `trials` event."""

    settings: str = ""
    """Its settings in words."""
    micro_batch: Count | None = None
    """Conversations computed at a time."""
    accumulation: Count | None = None
    """Micro-batches per step."""
    gradient_checkpointing: str = "none"
    """Its kind of gradient checkpointing."""
    float8: bool = False
    """Whether products with frozen weights are in float8."""
    tokens_per_second: float | None = None
    """Forward and backward passes on the run's median batch; 0 if it was not measured."""
    peak: float | None = None
    """Bytes at the peak, on the run's longest batch; 0 on a CPU."""
    outcome: str = ""
    """Why it cannot be chosen; "" if it can."""


class Trials(_Event, frozen=True, kw_only=True):
    """Settings were tried before the first step, and the quickest one trains."""

    chosen: str = ""
    """The settings of the chosen one in words; "" if nothing was measured."""
    seconds: float | None = None
    """How long it took, in seconds."""
    contenders: list[Tried] = []
    """What was tried, the chosen one first."""


class Eval(_Event, frozen=True, kw_only=True):
    """The held-out conversations were evaluated."""

    written_as_null: ClassVar[tuple[str, ...]] = ("loss",)

    step: Count
    """The step before it."""
    epoch: Figure = None
    """Epochs done so far."""
    loss: Figure = None
    """The mean loss of their trained tokens, in nats; null if it was not measured."""
    metrics: dict[str, Figure] | None = None
    """Task metrics by name: exact match, BLEU, ..."""
    seconds: float | None = None
    """How long it took, in seconds."""
    answers: Count | None = None
    """How many answers the model generated for it."""
    answer_seconds: float | None = None
    """How long these took, in seconds."""
    labels: dict[str, dict[str, Any]] | None = None
    """If the answers are labels: counts by label."""
    signatures: dict[str, str] | None = None
    """How metrics were computed: sacreBLEU's signature."""


class Sample(_Event, frozen=True, kw_only=True):
    """The model's answer to one prompt."""

    written_as_null: ClassVar[tuple[str, ...]] = ("reference",)

    step: Count
    """The step before it."""
    index: Count = 0
    """Which prompt, from 0 on."""
    prompt: str = ""
    """The prompt, shortened if it is long."""
    reference: str | None = None
    """The answer of the data, shortened if it is long."""
    answer: str = ""
    """The model's answer, shortened if it is long."""
    complete: bool | None = None
    """Whether the answer ended before it reached the token limit."""


class Checkpoint(_Event, frozen=True, kw_only=True):
    """A checkpoint is complete."""

    step: Count
    """The step that it was saved after."""
    path: str = ""
    """Its folder."""
    reason: str | None = None
    """Why it was saved: "regular", "evaluation", "stop", "repair", "end", "last good"."""
    best: bool = False
    """Whether its evaluation is the best so far."""


class CheckpointRemoved(_Event, frozen=True, kw_only=True):
    """A checkpoint was removed, because newer or better ones took its place."""

    step: Count
    """The step that it was saved after."""


class EarlyStop(_Event, frozen=True, kw_only=True):
    """Training ends early, as the recipe requests."""

    step: Count | None = None
    """The last step."""
    reason: str
    """The reason, in words."""


class Resumed(_Event, frozen=True, kw_only=True):
    """Training resumes from a checkpoint. Later steps, evaluations and checkpoints no longer
    count."""

    step: Count
    """The checkpoint's step; 0 if training starts from the beginning."""
    checkpoint: str = ""
    """The checkpoint's folder; "" if training starts from the beginning."""
    forced: bool = False
    """Whether somebody forced it although something has changed."""
    differences: list[str] = []
    """What has changed since, in words."""


class WeightSync(_Event, frozen=True, kw_only=True):
    """A sampler has got the weights of the model that is trained, and a check has compared what it
    holds and samples with them. A run whose check fails stops."""

    step: Count
    """Steps done before it."""
    sampler: str = ""
    """What samples."""
    shared: bool = False
    """Whether it computes with the very module that is trained, so that nothing is copied."""
    ok: bool = True
    """Whether the sampler has the weights, as far as all checks can say."""
    trained: str = ""
    """The fingerprint of the trained weights."""
    sampled: str = ""
    """The fingerprint of the weights that the sampler used."""
    tokens: Count = 0
    """Sampled tokens whose log-probabilities are compared."""
    difference: Figure = None
    """By how much the sampler's log-probability of a sampled token differs from the trainer's, in
    nats, on average."""
    bound: Figure = None
    """The most that it may be."""
    effect: Figure = None
    """By how much the trained weights change the log-probability of these tokens, in nats, on
    average; null where every weight is trained."""
    shown: Figure = None
    """The share of this effect that the sampler shows: 1 for the trained weights, 0 for those of
    the base. Null where the effect is too small to measure."""
    least: Figure = None
    """The least that it must be."""


class PauseRequested(_Event, frozen=True, kw_only=True):
    """A program asked through the API that the run pauses: it stops now, and continues from its
    checkpoint when a program asks for that."""


class CancelRequested(_Event, frozen=True, kw_only=True):
    """A program asked through the API that a run that was to pause is cancelled instead."""


class Repair(_Event, frozen=True, kw_only=True):
    """Memory ran out, and the batch was made smaller."""

    step: Count | None = None
    """The last complete step."""
    what: str = ""
    """What was changed: "micro_batch", "gradient_checkpointing" or "evaluation_batch"."""
    reason: str = ""
    """The system's message."""
    micro_batch: Count | None = None
    """The new size."""
    accumulation: Count | None = None
    """The new number of micro-batches per step; null for an evaluation."""
    gradient_checkpointing: str | None = None
    """The new kind; null for an evaluation."""


class SleepRefused(_Event, frozen=True, kw_only=True):
    """A server could not go to sleep."""

    by: str = ""
    """The id of the job that asked for it; "" for a person."""
    message: str = ""
    """Why."""


class Adapter(_Event, frozen=True, kw_only=True):
    """A server has loaded an adapter, failed to load it, or unloaded it."""

    name: str = ""
    """The name that requests use."""
    path: str = ""
    """Its folder."""
    ok: bool = True
    """Whether it is served."""
    message: str = ""
    """The reason, or how the adapter came there."""


class Restart(_Event, frozen=True, kw_only=True):
    """vLLM has crashed, and the server will restart it."""

    number: Count = 0
    """Which restart it is within the last hour."""
    most: Count = 0
    """The most restarts within an hour."""
    reason: str = ""
    """vLLM's message."""
    seconds: float = 0.0
    """How long the server waits before it, in seconds."""


class ModelWarning(_Event, frozen=True, kw_only=True, tag="warning"):
    """Something to know about an imported model."""

    message: str = ""
    """The warning, as a sentence."""


Known = (
    Queued
    | Waiting
    | AskedToSleep
    | Started
    | Phase
    | Step
    | StopRequested
    | Result
    | Error
    | Exited
    | ThenFailed
    | Asleep
    | Waking
    | Awake
    | SlotsFreed
    | SlotsTaken
    | Plan
    | Data
    | Template
    | Calibrated
    | Trials
    | Eval
    | Sample
    | Checkpoint
    | CheckpointRemoved
    | EarlyStop
    | Resumed
    | WeightSync
    | PauseRequested
    | CancelRequested
    | Repair
    | SleepRefused
    | Adapter
    | Restart
    | ModelWarning
)

T = TypeVar("T", bound=_Event | Timed)


def kind_of(kind: type[Any]) -> str:
    """The name of a kind as events have it."""
    if issubclass(kind, msgspec.Struct):
        return str(kind.__struct_config__.tag)
    return kind_name(kind.__name__)


KINDS: dict[str, type[Known]] = {kind_of(kind): kind for kind in get_args(Known)}


def typed(event: Mapping[str, Any]) -> Known | Event:
    """The event as what it is; as it was if it is of an unknown kind, or has not the fields of its
    kind."""
    kind = KINDS.get(event["kind"])
    if kind is not None:
        try:
            return foreign.convert(event, kind, "an event")
        except Damaged:
            pass
    return cast(Event, event)


def of_kind(events: Iterable[Mapping[str, Any]], kind: type[T]) -> list[T]:
    """The events of one kind, in their order."""
    name = kind_of(kind)
    read = (typed(event) for event in events if event["kind"] == name)
    return [event for event in read if isinstance(event, kind)]


def newest(events: Sequence[Mapping[str, Any]], kind: type[T]) -> T | None:
    """The last event of a kind."""
    return next(_backwards(events, kind), None)


def last_of_kind(events: Sequence[Mapping[str, Any]], kind: type[T], count: int) -> list[T]:
    """At most `count` events of one kind, the last ones, in their order."""
    return [*islice(_backwards(events, kind), count)][::-1]


def _backwards(events: Sequence[Mapping[str, Any]], kind: type[T]) -> Iterator[T]:
    """The events of one kind, the last one first; each is read when it is asked for."""
    name = kind_of(kind)
    read = (typed(event) for event in reversed(events) if event["kind"] == name)
    return (event for event in read if isinstance(event, kind))


def tell(context: WorkerContext, event: Known) -> None:
    """Append an event to the worker's job. Fields that are None are left out."""
    if isinstance(event, Timed):
        context.tell(event)
        return
    fields: dict[str, Any] = msgspec.to_builtins(event)
    kind, _ = fields.pop("kind"), fields.pop("t")
    kept = {
        name: value
        for name, value in fields.items()
        if value is not None or name in event.written_as_null
    }
    context.event(kind, **kept)


def tell_more(context: WorkerContext, kind: type[Known], fields: Mapping[str, Any]) -> None:
    """Append an event that has more fields than its kind names: a plan, the data's summary. Damaged
    if those that it names have other types."""
    foreign.convert({**fields, "kind": kind_of(kind)}, kind, "an event")
    context.event(kind_of(kind), **fields)
