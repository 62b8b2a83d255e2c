"""How long a run will take, part by part, before it starts: from its plan, and from how quickly
earlier runs of this home took their steps. What nobody has measured is left open."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from jobs.counting import counted
from jobs.luthier_error import LuthierError
from models.registry import is_unprepared_builtin
from models.runs import Run
from trainer.plan.plan import Plan
from workshop.number_format import age
from workshop.runs.events import RunReader

_PREPARING = 32.0  # what the worker's phases say of a machine with two cores
_STARTING = 14.0  # libraries, data, measuring the CPU: likewise
_MOST_RUNS = 12
_LONGEST_LOG = 4_000_000  # bytes of events: a longer log is not read for this


@dataclass(frozen=True)
class Part:
    """`seconds` is None if nobody has measured it. `about` says where it comes from."""

    name: str
    seconds: float | None
    about: str = ""


@dataclass(frozen=True)
class Forecast:
    parts: tuple[Part, ...]

    @property
    def seconds(self) -> float:
        """Of the parts that are known."""
        return sum(part.seconds or 0.0 for part in self.parts)

    @property
    def is_whole(self) -> bool:
        return all(part.seconds is not None for part in self.parts)


@dataclass(frozen=True)
class Speed:
    """How quickly an earlier run went."""

    run: str
    """Its name, and when it was."""
    step_seconds: float
    step_conversations: int
    """How many conversations one of its steps had, at least 1."""
    tokens_per_second: float | None


def forecast(plan: Plan, speed: Speed | None, tokens: int = 0) -> Forecast:
    """`tokens` are those of all samples, once the data was looked at; 0 before."""
    parts = []
    if is_unprepared_builtin(plan.model_directory):
        parts.append(Part("preparing the model", _PREPARING, "once"))
    parts.append(Part("starting", _STARTING, "libraries, data"))
    evaluations = int(plan.evaluation.get("evaluations", 0))
    answers = evaluations and plan.evaluation.get("answers", 0)
    each = plan.evaluation["seconds"] / evaluations if answers else 0.0
    if answers:
        parts.append(Part("base answers", each, "at most"))
    if plan.steps:
        name = counted(plan.steps, "step")
        if speed is None:
            parts.append(Part(name, None, "measured in training"))
        else:
            seconds = _steps_seconds(plan, speed, tokens)
            parts.append(Part(name, seconds, f"as fast as {speed.run}"))
    else:
        parts.append(Part("the steps", None, "counted by the run"))
    if answers and evaluations > 1:
        later_count = evaluations - 1
        parts.append(Part(counted(later_count, "more evaluation"), later_count * each, "at most"))
    return Forecast(tuple(parts))


def _steps_seconds(plan: Plan, speed: Speed, tokens: int) -> float:
    """By the tokens if they are known, else by the conversations of a step."""
    if tokens and speed.tokens_per_second and plan.conversations:
        trained = tokens * (1 - plan.heldout / plan.conversations)
        return trained * plan.epochs / speed.tokens_per_second
    return plan.steps * speed.step_seconds * _step_conversations(plan) / speed.step_conversations


def _step_conversations(plan: Plan) -> int:
    """How many conversations a step has: the global batch, unless all of them are fewer."""
    trained = plan.conversations - plan.heldout
    return max(1, min(plan.global_batch, trained) if trained > 0 else plan.global_batch)


def earlier_speed(plan: Plan) -> Speed | None:
    """Of the newest run of this home that trained the same model in the same way on this kind of
    device; None if there is none."""
    candidates = [run for run in Run.all()[:_MOST_RUNS] if _is_alike(run, plan)]
    return next(filter(None, map(_speed_of, candidates)), None)


def _is_alike(run: Run, plan: Plan) -> bool:
    try:
        other = Plan.from_json(dict(run.job.spec.settings))
    except (LuthierError, TypeError, KeyError):  # damaged, or of another version
        return False
    return (other.model, other.device, other.engine, other.gpus, other.compute.base_bits) == (
        plan.model,
        plan.device,
        plan.engine,
        plan.gpus,
        plan.compute.base_bits,
    )


def _speed_of(run: Run) -> Speed | None:
    reader = RunReader(run.job.events_path)
    if reader.behind() > _LONGEST_LOG:
        return None
    while reader.read():
        pass
    record = reader.record
    if record.usual_step is None or not record.usual_step > 0:
        return None
    rates = record.curves.get("tokens_per_second")
    positive = [value for value in rates.values if value > 0] if rates else []
    return Speed(
        f"{run.name}, {age(run.job.created)}",
        record.usual_step,
        _step_conversations(Plan.from_json(dict(run.job.spec.settings))),
        median(positive) if positive else None,
    )
