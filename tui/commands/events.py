"""An event as a person reads it, in a line."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from jobs.counting import counted
from jobs.events import Event
from jobs.foreign_json import fits
from models import events
from models.events import typed
from trainer.recipe import short_value
from workshop import number_format
from workshop.number_format import duration


def event_line(event: Event) -> str:
    """Time, kind, and what the event says."""
    clock = time.strftime("%H:%M:%S", time.localtime(event["t"]))
    text = outcome_text(event) if _is_of_run(event) else _text(typed(event))
    words = _fields(event) if text is None else text
    return f"{clock}  {event['kind']:<15} {words}".rstrip().replace("\n", " ")


def _is_of_run(event: Event) -> bool:
    """Whether this is the result of a run, with figures that can be read. Results have no schema:
    other jobs end with other fields."""
    figures = [event.get(name, 0.0) for name in ("eval_loss", "loss")]
    figures += [event.get(name) for name in ("steps", "seconds")]
    return event["kind"] == "result" and all(fits(figure, float) for figure in figures)


def outcome_text(result: Mapping[str, Any]) -> str:
    """What a finished run came to: each loss under its own name, the held-out one first."""
    losses = [
        f"{name} {float(result[key]):.3f}"
        for name, key in (("eval loss", "eval_loss"), ("loss", "loss"))
        if result.get(key) is not None
    ]
    seconds = duration(float(result.get("seconds", 0)))
    steps = counted(result.get("steps") or 0, "step")
    return f"{', '.join(losses)} after {steps} in {seconds}".strip()


def _text(event: events.Known | Event) -> str | None:
    """What an event of a known kind says; None of one without a text of its own."""
    match event:
        case events.Step():
            return _step(event)
        case events.Plan():
            return _plan(event)
        case events.Data():
            return _data(event)
        case events.Template():
            return _template(event)
        case events.Eval():
            return _evaluated(event)
        case events.Checkpoint():
            return _checkpoint(event)
        case events.CheckpointRemoved(step=step):
            return f"at step {step}"
        case events.Sample():
            return f"at step {event.step}  {_cut(event.prompt)} -> {_cut(event.answer)}"
        case events.WeightSync():
            return _synced(event)
        case events.Resumed(step=step, differences=differences):
            changed = f"; changed since: {', '.join(differences)}" if differences else ""
            return f"from step {step}{changed}"
        case _:
            return _job_text(event)


def _job_text(event: events.Known | Event) -> str | None:
    """Of how a job goes, whatever it does."""
    match event:
        case events.Phase(name=name):
            return name
        case events.Queued(attempt=attempt):
            return f"attempt {attempt}" if attempt != 1 else ""
        case events.Waiting(waits_for=waits_for, servers=servers):
            question = "; should it sleep, share, or should the run wait?" if servers else ""
            return f"for {waits_for}{question}"
        case events.Started(pid=pid, slots=slots):
            return f"pid {pid}{' on ' + ', '.join(slots) if slots else ''}"
        case events.Error(title=title, message=message, hint=hint):
            return f"{title}: {message} {hint or ''}"
        case events.Exited(code=code, stopped=stopped, swept=swept):
            processes = f", {swept} processes swept" if swept else ""
            return f"status {code}{', stopped' if stopped else ''}{processes}"
        case events.AskedToSleep(server=server):
            return server
        case events.Asleep(why=why, seconds=seconds, freed_bytes=freed):
            return f"{why}; {number_format.size(freed or 0)} freed in {seconds} s"
        case events.SleepRefused(message=message):
            return message
        case events.Awake(seconds=seconds):
            return f"after {seconds} s"
        case events.SlotsFreed(slots=slots) | events.SlotsTaken(slots=slots):
            return ", ".join(slots)
        case _:
            return None


def _synced(event: events.WeightSync) -> str:
    equal = event.sampled == event.trained
    weights = "the same weights" if equal else f"weights {event.sampled} instead of"
    share = f", {event.shown:.0%} of the effect" if isinstance(event.shown, float) else ""
    return (
        f"after step {event.step}  {'ok' if event.ok else 'failed'}: {weights} {event.trained},"
        f" {event.difference} nats apart (bound {event.bound}){share}"
    )


def _fields(event: Event) -> str:
    """Of a kind without a text of its own; what is long is cut or counted."""
    return " ".join(
        f"{key}={_brief(value)}" for key, value in event.items() if key not in ("t", "kind")
    )


def _brief(value: Any) -> str:
    text = _cut(_short(value))
    if isinstance(value, dict | list) and text.endswith("…"):
        return f"({len(value)} entries)"
    return text


def _plan(plan: events.Plan) -> str:
    heldout = f" ({plan.heldout:,} held out)" if plan.heldout else ""
    about = "" if plan.exact else "about "
    data = (
        f"{about}{counted(plan.conversations, 'conversation')}{heldout}"
        if plan.conversations
        else "data counted by the run"
    )
    device = (plan.device or "").upper()
    where = device if plan.gpus == 1 else f"{plan.gpus} {device}s"
    parts = [
        f"{plan.engine} on {where}: {data}",
        counted(plan.epochs, "epoch") if plan.epochs is not None else "",
        counted(plan.steps, "step") if plan.steps else "",
        f"{plan.global_batch} per step, {plan.micro_batch} at a time",
        f"learning rate {short_value(plan.learning_rate)}" if plan.learning_rate else "",
        f"{number_format.size(sum(plan.memory.values()))} predicted" if plan.memory else "",
    ]
    return ", ".join(part for part in parts if part)


def _data(data: events.Data) -> str:
    rows = data.ledger.rows if data.ledger is not None else {}
    changed_rows = ", ".join(
        f"{rows[state]:,} {state}" for state in ("repaired", "split", "dropped") if rows.get(state)
    )
    parts = [
        f"{counted(data.train or 0, 'sample')} to train, {data.heldout or 0:,} held out",
        f"{data.tokens or 0:,} tokens",
        f"longest {data.longest or 0:,}",
        changed_rows and f"rows {changed_rows}",
    ]
    return ", ".join(part for part in parts if part) + (" (prepared before)" if data.cached else "")


def _template(template: events.Template) -> str:
    checks = template.checks
    failing = [check.name for check in checks if check.status != "ok"]
    return f"{len(checks) - len(failing)} of {len(checks)} checks passed" + (
        f"; look at {', '.join(failing)}" if failing else ""
    )


def _step(step: events.Step) -> str:
    parts = [f"{step.step}/{step.total}"]
    if step.loss is not None:
        parts.append(f"loss {_short(step.loss)}")
    if step.reward_margin is not None:
        parts.append(f"margin {_short(step.reward_margin)}")
    if step.learning_rate is not None:
        parts.append(f"lr {_short(step.learning_rate)}")
    if isinstance(step.tokens_per_second, int | float):
        parts.append(f"{number_format.count(step.tokens_per_second)} tokens/s")
    return "  ".join(parts)


def _evaluated(event: events.Eval) -> str:
    metrics = "".join(f"  {name} {_short(value)}" for name, value in (event.metrics or {}).items())
    return f"at step {event.step}  loss {_short(event.loss)}{metrics}"


def _checkpoint(event: events.Checkpoint) -> str:
    about = ", ".join(
        part for part in (event.reason, "the best so far" if event.best else "") if part
    )
    return f"at step {event.step}{f' ({about})' if about else ''}"


def _cut(value: Any, length: int = 60) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
