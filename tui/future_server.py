"""How what a recipe makes will be served: the server's plan, shown before anything is trained."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.markup import escape

from serve.planning import Outlook, ServeOptions, look_ahead
from tui.commands.output import out, plain_table
from tui.server_plan import command_line, rows

_TOLD = ("ranks up to", "memory", "context", "chat template", "tool calls", "reasoning")


def future_server(model: str, directory: Path, rank: int) -> Outlook:
    """The server of this base model with room for an adapter of this rank. Recipes make plain LoRA, which vLLM loads as it is."""
    return look_ahead(directory.resolve(), model, [], "127.0.0.1", None, ServeOptions(), planned_rank=rank)


def show_future_server(outlook: Outlook) -> None:
    table = plain_table("served", "", "")
    table.add_row("[dim]adapter[/]", "hot-loaded", "[dim]plain LoRA: nothing has to be merged[/]")
    for name, value, why in rows(outlook):
        if name in _TOLD:
            table.add_row(f"[dim]{name}[/]", escape(value), f"[dim]{escape(why)}[/]")
    out.print(table)
    click.echo(command_line(outlook.plan, sys.executable))
