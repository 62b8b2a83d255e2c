"""An event as a person reads it, in a line."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from jobs.events import Event
from trainer.recipe import short_value
from workshop import number_format


def event_line(event: Event) -> str:
    """Time, kind, and what the event says."""
    clock = time.strftime("%H:%M:%S", time.localtime(event["t"]))
    text = _TEXTS.get(event["kind"], _fields)(event)
    return f"{clock}  {event['kind']:<15} {text}".rstrip().replace("\n", " ")


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


def _plan(event: Event) -> str:
    held = f" ({event['heldout']:,} held out)" if event.get("heldout") else ""
    about = "" if event.get("exact", True) else "about "
    data = (
        f"{about}{event['conversations']:,} conversations{held}"
        if event.get("conversations")
        else "data counted by the run"
    )
    length = f"{event.get('epochs'):g} epochs" + (
        f", {event['steps']:,} steps" if event.get("steps") else ""
    )
    batch = f"{event.get('global_batch')} a step, {event.get('micro_batch')} at a time"
    rate = (
        f"learning rate {short_value(event['learning_rate'])}" if event.get("learning_rate") else ""
    )
    memory = number_format.size(sum(event["memory"].values())) if event.get("memory") else ""
    device = str(event.get("device", "")).upper()
    where = device if event.get("gpus", 1) == 1 else f"{event['gpus']} {device}s"
    parts = [
        f"{event.get('engine')} on {where}: {data}",
        length,
        batch,
        rate,
        memory and f"{memory} predicted",
    ]
    return ", ".join(part for part in parts if part)


def _data(event: Event) -> str:
    kept = f"{event.get('train', 0):,} samples to train, {event.get('heldout', 0):,} held out"
    rows = (event.get("ledger") or {}).get("rows") or {}
    others = ", ".join(
        f"{rows[state]:,} {state}" for state in ("repaired", "split", "dropped") if rows.get(state)
    )
    parts = [
        kept,
        f"{event.get('tokens', 0):,} tokens",
        f"longest {event.get('longest', 0):,}",
        others and f"rows {others}",
    ]
    return ", ".join(part for part in parts if part) + (
        " (prepared before)" if event.get("cached") else ""
    )


def _template(event: Event) -> str:
    checks = event.get("checks") or []
    others = [check["name"] for check in checks if check["status"] != "ok"]
    return f"{len(checks) - len(others)} of {len(checks)} checks passed" + (
        f"; look at {', '.join(others)}" if others else ""
    )


def _step(event: Event) -> str:
    parts = [f"{event.get('step')}/{event.get('total')}"]
    if "loss" in event:
        parts.append(f"loss {_short(event['loss'])}")
    if "learning_rate" in event:
        parts.append(f"lr {_short(event['learning_rate'])}")
    if isinstance(event.get("tokens_per_second"), int | float):
        parts.append(f"{number_format.count(event['tokens_per_second'])} tokens/s")
    return "  ".join(parts)


def _evaluated(event: Event) -> str:
    metrics = "".join(
        f"  {name} {_short(value)}" for name, value in (event.get("metrics") or {}).items()
    )
    return f"at step {event.get('step')}  loss {_short(event.get('loss'))}{metrics}"


def _checkpoint(event: Event) -> str:
    about = ", ".join(
        str(part)
        for part in (event.get("reason"), "the best so far" if event.get("best") else "")
        if part
    )
    return f"at step {event.get('step')}{f' ({about})' if about else ''}"


def _ended(event: Event) -> str:
    swept = event.get("swept") or 0
    stopped = ", stopped" if event.get("stopped") else ""
    processes = f", {swept} processes swept" if swept else ""
    return f"status {event.get('code')}{stopped}{processes}"


def _error(event: Event) -> str:
    return f"{event.get('title')}: {event.get('message')} {event.get('hint') or ''}"


def _started(event: Event) -> str:
    slots = event.get("slots") or []
    return f"pid {event.get('pid')}{' on ' + ', '.join(slots) if slots else ''}"


def _resumed(event: Event) -> str:
    differences = event.get("differences") or []
    changed = f"; changed since: {', '.join(map(str, differences))}" if differences else ""
    return f"from step {event.get('step')}{changed}"


def _asleep(event: Event) -> str:
    return (
        f"{event.get('why')}; {number_format.size(event.get('freed_bytes') or 0)} freed in"
        f" {event.get('seconds')} s"
    )


def _waiting(event: Event) -> str:
    servers = event.get("servers") or []
    question = "; shall it sleep, share or be waited for?" if servers else ""
    return f"for {event.get('waits_for')}{question}"


def _sample(event: Event) -> str:
    return (
        f"at step {event.get('step')}  {_cut(event.get('prompt'))} -> {_cut(event.get('answer'))}"
    )


def _cut(value: Any, length: int = 60) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_TEXTS: dict[str, Callable[[Event], str]] = {
    "plan": _plan,
    "data": _data,
    "template": _template,
    "step": _step,
    "eval": _evaluated,
    "checkpoint": _checkpoint,
    "checkpoint_removed": lambda event: f"at step {event.get('step')}",
    "phase": lambda event: str(event.get("name", "")),
    "queued": lambda event: (
        f"attempt {event.get('attempt')}" if event.get("attempt", 1) != 1 else ""
    ),
    "waiting": _waiting,
    "asked_to_sleep": lambda event: str(event.get("server")),
    "asleep": _asleep,
    "sleep_refused": lambda event: str(event.get("message")),
    "awake": lambda event: f"after {event.get('seconds')} s",
    "slots_freed": lambda event: ", ".join(event.get("slots") or []),
    "slots_taken": lambda event: ", ".join(event.get("slots") or []),
    "started": _started,
    "resumed": _resumed,
    "sample": _sample,
    "error": _error,
    "exited": _ended,
}
