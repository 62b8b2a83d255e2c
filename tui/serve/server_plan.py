"""A server's plan as lines to read: what is chosen, and why."""

from __future__ import annotations

import shlex
from typing import Any

from serve.plan import ServerPlan
from serve.planning import Outlook
from serve.vllm_command import command

Row = tuple[str, str, str]
"""A name, what is chosen, and why."""
NOTICED = ("not loaded", "note")
"""The names of rows that are to be noticed."""


def rows(outlook: Outlook) -> list[Row]:
    plan, why = outlook.plan, outlook.plan.reasons
    plan_rows: list[Row] = [
        ("base model", " = ".join(plan.names), str(plan.base)),
        *[("hot-loaded", adapter.name, str(adapter.path)) for adapter in plan.adapters],
        *[
            (
                "not loaded",
                refused.name,
                f"{refused.error.title}. {refused.error.message} {refused.error.hint}",
            )
            for refused in outlook.refused
        ],
        *[("note", name, note) for name, note in plan.notes.items()],
        *_adapters(plan),
        ("runs on", _device(plan), ""),
        ("memory", _memory(plan), why["memory"]),
        *_graphs(plan),
        (
            "context",
            "the model's" if plan.context_length is None else f"{plan.context_length:,} tokens",
            why["context_length"],
        ),
        ("dtype", plan.dtype, "the model's own" if plan.dtype == "auto" else ""),
        (
            "chat template",
            "a file" if plan.chat_template else "base",
            str(plan.chat_template or "") or why["chat_template"],
        ),
        ("sampling", plan.generation_config, why["generation_config"]),
        ("tool calls", plan.tool_parser or "as text", why["tool_parser"]),
        ("reasoning", plan.reasoning_parser or "as text", why["reasoning_parser"]),
        (
            "request log",
            "with content" if plan.log_content else "counts only",
            "requests.jsonl in the job's folder",
        ),
        ("address", f"{plan.host}:{plan.port}", plan.warning),
    ]
    plan_rows += (
        [("web pages", " ".join(plan.allowed_origins), "may ask it from a browser, with the key")]
        if plan.allowed_origins
        else []
    )
    return [
        *plan_rows,
        *(
            [("for vLLM", " ".join(plan.extra_args), "passed on as it is")]
            if plan.extra_args
            else []
        ),
    ]


def _adapters(plan: ServerPlan) -> list[Row]:
    why = plan.reasons
    if plan.why_no_adapters:
        return [("adapters", "none", why["adapters"])]
    return [
        ("ranks up to", str(plan.max_lora_rank), why["max_lora_rank"]),
        ("adapters", f"{plan.max_loras} at once", why["adapters"]),
    ]


def command_line(plan: ServerPlan, python: str) -> str:
    """What would be run, as a shell would take it. The keys are in the environment, not in it."""
    words = [shlex.quote(word) for word in command(plan, python)]
    lines, line = [], ""
    for word in words:
        if line and word.startswith("--"):
            lines.append(line)
            line = f"  {word}"
        else:
            line = f"{line} {word}" if line else word
    return " \\\n".join([*lines, line])


def as_json(outlook: Outlook, python: str) -> dict[str, Any]:
    refused = [
        {"name": refused.name, "path": str(refused.path), **refused.error.to_json()}
        for refused in outlook.refused
    ]
    return {**outlook.plan.to_json(), "refused": refused, "command": command(outlook.plan, python)}


def _device(plan: ServerPlan) -> str:
    if plan.device == "cpu":
        return "the CPU"
    return "one GPU" if plan.gpus == 1 else f"{plan.gpus} GPUs"


def _memory(plan: ServerPlan) -> str:
    if plan.device == "cpu":
        return f"{plan.kv_cache_gb} GiB cache"
    share = f"{plan.gpu_memory:.0%} of the GPU"
    return (
        share
        if plan.kv_cache_bytes is None
        else f"{share}, {plan.kv_cache_bytes / (1 << 30):.1f} GiB cache"
    )


def _graphs(plan: ServerPlan) -> list[Row]:
    if plan.device == "cpu":
        return []
    sizes = plan.graph_sizes
    which = f"{len(sizes)} sizes up to {sizes[-1]} tokens" if sizes else "vLLM's sizes"
    return [("CUDA graphs", which, plan.reasons["graph_sizes"])]
