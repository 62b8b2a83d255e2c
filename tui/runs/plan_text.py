"""A run's plan in words, for the command line and the app."""

from __future__ import annotations

from trainer.plan.plan import Plan
from trainer.recipe import short_value
from workshop.number_format import duration

_ENGINES = {"trl": "TRL", "unsloth": "Unsloth"}


def data(plan: Plan) -> str:
    if not plan.conversations:
        return "counted by the run"
    about = "" if plan.exact else "about "
    return (
        f"{about}{plan.conversations:,} conversations, {plan.heldout:,} of them held out for"
        " evaluation"
    )


def engine(plan: Plan) -> str:
    where = (
        "the CPU" if plan.device == "cpu" else "one GPU" if plan.gpus == 1 else f"{plan.gpus} GPUs"
    )
    where += f" of each of {plan.machines} machines" if plan.machines > 1 else ""
    return (
        f"{_ENGINES[plan.engine]} on"
        f" {where}{', each with a share of the model (FSDP2)' if plan.sharding == 'fsdp2' else ''}"
    )


def settings(plan: Plan) -> str:
    batches = "padding-free" if plan.padding_free else "padded"
    kind = plan.gradient_checkpointing
    recomputing = (
        "no gradient checkpointing" if kind == "none" else f"{kind} gradient checkpointing"
    )
    base = f"{plan.base_bits}-bit base"
    if plan.float8:
        base += " with float8 products"
    elif plan.compute_dtype == "float32":
        base += " computed in float32"
    return f"{base}, {batches}, {plan.attention} attention, {recomputing}, {plan.optimizer}"


def batch(plan: Plan) -> str:
    times = f", accumulated {plan.accumulation} times" if plan.accumulation > 1 else ""
    return f"{plan.global_batch} conversations a step ({plan.micro_batch} at a time{times})"


def length(plan: Plan) -> str:
    steps = f", {plan.steps:,} steps" if plan.steps else ""
    return f"{plan.epochs:g} epochs{steps}, learning rate {short_value(plan.learning_rate)}"


def evaluation(plan: Plan) -> str:
    outlook = plan.evaluation
    if not outlook["evaluations"]:
        return "none" if plan.conversations else "told by the run"
    times = f"{outlook['evaluations']} times, the first before any training"
    loss = f"loss on {outlook['heldout']:,} conversations" if outlook["heldout"] else ""
    answers = (
        f"{outlook['answers']} answers of at most {outlook['answer_tokens']} tokens"
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
