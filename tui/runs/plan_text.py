"""A run's plan in words, for the command line and the app."""

from __future__ import annotations

from jobs.counting import counted
from trainer.plan.plan import Plan
from trainer.recipe import short_value
from workshop.number_format import duration
from workshop.runs.forecast import Forecast

_ENGINES = {"trl": "TRL", "unsloth": "Unsloth"}


def data(plan: Plan) -> str:
    if not plan.conversations:
        return "counted by the run"
    about = "" if plan.exact else "about "
    heldout = f"{plan.heldout:,}" if plan.heldout else "none"
    return f"{about}{_samples(plan, plan.conversations)}, {heldout} of them held out for evaluation"


def _sample(plan: Plan) -> str:
    """What the run learns from, one of it."""
    return {"dpo": "pair", "orpo": "pair", "kto": "answer"}.get(plan.objective, "conversation")


def _samples(plan: Plan, number: int) -> str:
    return counted(number, _sample(plan))


def objective(plan: Plan) -> str:
    """What is learned, and from where it starts; "" for what is usual."""
    parts = []
    if plan.objective == "distill":
        parts.append(f"on-policy distillation, the teacher is {plan.teacher}")
    elif plan.objective != "sft":
        parts.append(f"{plan.objective.upper()} on {_sample(plan)}s")
    if plan.start_from:
        parts.append(f"starts from {plan.start_from}")
    return ", ".join(parts)


def engine(plan: Plan) -> str:
    device = "one GPU" if plan.gpus == 1 else f"{plan.gpus} GPUs"
    where = "the CPU" if plan.device == "cpu" else device
    where += f" of each of {plan.machines} machines" if plan.machines > 1 else ""
    sharded = ", each with a share of the model (FSDP2)" if plan.compute.shards > 1 else ""
    return f"{_ENGINES[plan.engine]} on {where}{sharded}"


def settings(plan: Plan) -> str:
    compute = plan.compute
    batches = "padding-free" if compute.padding_free else "padded"
    kind = compute.gradient_checkpointing
    recomputing = (
        "no gradient checkpointing" if kind == "none" else f"{kind} gradient checkpointing"
    )
    base = f"{compute.base_bits}-bit base"
    if compute.float8:
        base += " with float8 products"
    elif compute.compute_dtype == "float32":
        base += " computed in float32"
    return f"{base}, {batches}, {compute.attention} attention, {recomputing}, {compute.optimizer}"


def batch(plan: Plan) -> str:
    compute = plan.compute
    times = f", accumulated {compute.accumulation} times" if compute.accumulation > 1 else ""
    return f"{_samples(plan, plan.global_batch)} a step ({compute.micro_batch} at a time{times})"


def length(plan: Plan) -> str:
    steps = f", {counted(plan.steps, 'step')}" if plan.steps else ""
    return (
        f"{counted(plan.epochs, 'epoch')}{steps}, learning rate {short_value(plan.learning_rate)}"
    )


def evaluation(plan: Plan) -> str:
    outlook = plan.evaluation
    if not outlook["evaluations"]:
        return "none" if plan.conversations else "decided by the run"
    times = f"{counted(outlook['evaluations'], 'time')}, the first before any training"
    measured = "KL of answers to" if plan.objective == "distill" else "loss on"
    loss = f"{measured} {_samples(plan, outlook['heldout'])}" if outlook["heldout"] else ""
    answers = (
        f"{counted(outlook['answers'], 'answer')} of at most {outlook['answer_tokens']} tokens"
        if outlook["answers"]
        else ""
    )
    metrics = f" for {', '.join(outlook['metrics'])}" if outlook["metrics"] else " to read"
    asked = (
        f"{answers}{metrics} (at most about {duration(max(1.0, outlook['seconds']))} in all)"
        if answers
        else ""
    )
    return f"{times}: {', '.join(part for part in (loss, asked) if part)}"


def time_in_all(times: Forecast) -> str:
    """What the known parts take together, and which ones nobody has measured."""
    total = duration(max(1.0, times.seconds))
    if times.is_whole:
        return f"about {total}"
    unknown = ", ".join(part.name for part in times.parts if part.seconds is None)
    return f"about {total}, plus {unknown}"


def time_parts(times: Forecast) -> str:
    """What the run takes in all, and part by part."""
    parts = []
    for part in times.parts:
        seconds = "" if part.seconds is None else f" {duration(max(1.0, part.seconds))}"
        about = f" ({part.about})" if part.about else ""
        parts.append(f"{part.name}{seconds}{about}")
    return f"{time_in_all(times)}: {', '.join(parts)}"
