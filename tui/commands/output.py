"""What the commands share: stdout is data, stderr is talk."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table

talk = Console(stderr=True, highlight=False)
out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_json_line(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def plain_table(*columns: str) -> Table:
    """A table without lines; a column whose name begins with ">" is aligned to the right."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", no_wrap=column in ("id", "address"))
    return table


def examples(*commands: str) -> str:
    """The end of a command's help: commands to try, one a line."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)
