"""What the commands share: stdout is data, stderr is talk."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tui.glyphs import glyphs

talk = Console(stderr=True, highlight=False)
out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_json_line(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def few(names: Sequence[str], most: int = 12) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def plain_table(*columns: str) -> Table:
    """A table without lines; a column whose name begins with ">" is aligned to the right. No text is cut short."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in columns:
        table.add_column(
            column.lstrip(">"), justify="right" if column.startswith(">") else "left", no_wrap=column in ("id", "address"), overflow="fold"
        )
    return table


def print_lines(columns: Sequence[tuple[str, Sequence[str]]], shrinks: str) -> None:
    """A table of one line a row. On a terminal the column named `shrinks` gives way; into a pipe or a file all is written out.

    Columns without any text are left out; one whose name begins with ">" is aligned to the right.
    """
    filled = [(title, cells) for title, cells in columns if any(cells)]
    widths = [max(len(title.lstrip(">")), *map(len, cells)) for title, cells in filled]
    titles = [title for title, _ in filled]
    if out.is_terminal and shrinks in titles:
        at = titles.index(shrinks)
        widths[at] = max(8, min(widths[at], out.width - 1 - sum(widths) + widths[at] - 2 * (len(widths) - 1)))
    for number, cells in enumerate([[title.lstrip(">") for title in titles], *zip(*(cells for _, cells in filled), strict=True)]):
        parts = [
            cell.rjust(width) if title.startswith(">") else _cut(cell, width).ljust(width)
            for title, cell, width in zip(titles, cells, widths, strict=True)
        ]
        out.print("  ".join(parts).rstrip(), style=None if number else "dim", markup=False, no_wrap=True, crop=False, overflow="ignore")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}{glyphs().ellipsis}"


def examples(*commands: str) -> str:
    """The end of a command's help: commands to try, one a line."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)
