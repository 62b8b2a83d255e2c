"""How what a recipe makes will be served: the server's plan, shown before anything is trained."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.text import Text

from serve.planning import Outlook, ServeOptions, look_ahead
from tui.commands.output import out, plain_table, styled, write
from tui.serve.server_plan import command_line, rows

_TOLD = ("ranks up to", "memory", "context", "chat template", "tool calls", "reasoning")


def future_server(model: str, directory: Path, rank: int) -> Outlook:
    """The server of this base model with room for an adapter of this rank, which is 0 where the
    recipe makes none that vLLM loads."""
    return look_ahead(
        directory.resolve(), model, [], "127.0.0.1", None, ServeOptions(), planned_rank=rank
    )


def beyond_server(longest: int, positions: int | None, outlook: Outlook) -> list[str]:
    """Whether the longest sample is longer than what the server takes, though the model could take
    more, as a warning."""
    context = outlook.plan.context_length
    if context is None or longest <= context or (positions is not None and positions <= context):
        return []
    most = longest if positions is None else min(longest, positions)
    return [
        f"The longest sample has about {longest:,} tokens, but `luthier serve` takes {context:,} on"
        f" this machine: --context-length {most} lets it take {most:,}."
    ]


def show_future_server(outlook: Outlook, alone: list[str]) -> None:
    """`alone` says why what is trained will be served as a model of its own, empty for an adapter
    beside its base."""
    table = plain_table("served", "", "")
    for why in alone:
        table.add_row(Text("result", "dim"), "as a model", styled("[dim]$why[/]", why=why))
    if not alone:
        table.add_row(
            Text("adapter", "dim"),
            "hot-loaded",
            Text("plain LoRA: nothing has to be merged", "dim"),
        )
    for name, value, why in rows(outlook):
        if name in _TOLD:
            table.add_row(Text(name, "dim"), value, styled("[dim]$why[/]", why=why))
    out.print(table)
    write(command_line(outlook.plan, sys.executable))
