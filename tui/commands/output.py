"""What the commands share: stdout is data, stderr is talk. Everything that a command prints leaves
the program here.

On a terminal, text that Luthier did not write shows its control characters as signs; into a pipe,
data go as they are. Square brackets are text: only `styled` reads markup, and only from a literal.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Span, Text

from tui.shared.foreign_text import json_in_a_pipe, json_on_a_terminal, one_line, visible
from tui.shared.glyphs import glyphs
from tui.shared.log_index import printed_line

Word = TypeVar("Word", bound=str)

_NAME = re.compile(r"\$([a-z]+)")


class CleanConsole(Console):
    """A console that sends a terminal no control characters but Rich's own."""

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False) -> None:
        super().__init__(
            stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False
        )

    def render_str(self, text: str, **options: Any) -> Text:
        """Strings become text here, before they are measured: signs take room."""
        return super().render_str(visible(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(_clean(renderable), options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)

    def status(self, status: RenderableType, **options: Any) -> Any:
        """Without this, Rich would read the words of a status as markup."""
        return super().status(
            Text(visible(status)) if isinstance(status, str) else status, **options
        )


def _clean(renderable: Any) -> Any:
    """With signs in a Text, which keeps its styles: no sign is longer than what it stands for."""
    if not isinstance(renderable, Text):
        return renderable
    text = renderable.copy()
    text.plain = visible(text.plain)
    return text


class CleanTable(Table):
    """A table that makes room for signs."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*map(_clean, cells), **options)


talk = CleanConsole(stderr=True, soft_wrap=not sys.stderr.isatty())
out = CleanConsole(soft_wrap=not sys.stdout.isatty())

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


def styled(template: str, **values: object) -> Text:
    """Markup of ours, a literal, with values in it that are never read as markup:
    styled("[green]done[/] $name", name=name)."""
    text = Text.from_markup(template, emoji=False)
    pieces = text.divide(
        [offset for match in _NAME.finditer(text.plain) for offset in match.span()]
    )
    return Text.assemble(*(_filled(piece, values) for piece in pieces))


def _filled(piece: Text, values: dict[str, object]) -> Text:
    """A piece of a template; where it is a name, its value in the name's style."""
    match = _NAME.fullmatch(piece.plain)
    if match is None:
        return piece
    value = visible(str(values[match[1]]))
    return Text(value, spans=[Span(0, len(value), span.style) for span in piece.spans])


def say_done(text: str, note: str = "") -> None:
    talk.print(
        styled(
            "[green]✓[/] $text [dim]$note[/]" if note else "[green]✓[/] $text", text=text, note=note
        )
    )


def say_warning(text: str, note: str = "") -> None:
    talk.print(
        styled(
            "[yellow]![/] $text [dim]$note[/]" if note else "[yellow]![/] $text",
            text=text,
            note=note,
        )
    )


def say_aside(text: str) -> None:
    talk.print(text, style="dim")


def say_failure(title: str, message: str, hint: str) -> None:
    talk.print(
        styled("[bold red]✗ $title[/]  $message", title=title, message=message), soft_wrap=True
    )
    if hint:
        talk.print(styled("  [dim]$hint[/]", hint=hint), soft_wrap=True)


def say_usage(error: click.ClickException) -> None:
    """What click says of a wrong call, which repeats its words."""
    buffer = io.StringIO()
    error.show(buffer)
    talk.print(buffer.getvalue(), end="", soft_wrap=True)


def confirm(question: str, default: bool = False) -> None:
    """Go on if the answer is yes; else click.Abort."""
    click.confirm(visible(question), default=default, abort=True, err=True)


def ask_for(question: str, default: Any, kind: click.ParamType[Any] | None = None) -> Any:
    """What is typed, or the default on enter. On a terminal the question goes to stdout: only there
    does Python read a line with readline, and two ways to read would each keep what is typed ahead.
    """
    visible_default = visible(default) if isinstance(default, str) else default
    answer = click.prompt(
        visible(question), default=visible_default, type=kind, err=not sys.stdout.isatty()
    )
    return default if answer == visible_default else answer


def is_confirmed(question: str) -> bool:
    """Whether the answer is yes."""
    return click.confirm(visible(question), err=True)


def choose(question: str, choices: Sequence[Word]) -> Word:
    """The one of `choices` that is typed."""
    answer: Word = click.prompt(
        visible(question), type=click.Choice(choices), err=not sys.stdout.isatty()
    )
    return answer


def write(text: str, end: str = "\n") -> None:
    """Data on stdout."""
    text += end
    click.echo(visible(text) if sys.stdout.isatty() else _bytes(text), nl=False)


def write_log(lines: Iterable[bytes]) -> None:
    """Lines of a log on stdout, each with its end. On a terminal they look as in the log view."""
    if not sys.stdout.isatty():
        click.echo(b"".join(lines), nl=False)
        return
    for line in lines:
        text = line.removesuffix(b"\n")
        click.echo(printed_line(text), nl=text != line)


def _bytes(text: str) -> bytes:
    """A file's name that is no UTF-8 keeps its bytes."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def print_json(value: Any) -> None:
    write_json(f"{json.dumps(value, ensure_ascii=False, indent=2)}\n")


def print_json_line(value: Any) -> None:
    write_json(f"{json.dumps(value, ensure_ascii=False)}\n")


def write_json(text: str) -> None:
    """JSON, or lines of it, on stdout."""
    click.echo(json_on_a_terminal(text) if sys.stdout.isatty() else json_in_a_pipe(text), nl=False)


def few(names: Sequence[str], most: int = 12) -> str:
    """The first of many names, and how many more there are."""
    remainder = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + remainder


def plain_table(*columns: str) -> Table:
    """A table without lines; a column whose name begins with ">" is aligned to the right. No text
    is cut short."""
    table = CleanTable(box=None, header_style="dim", pad_edge=False)
    for column in columns:
        table.add_column(
            column.lstrip(">"),
            justify="right" if column.startswith(">") else "left",
            no_wrap=column in ("id", "address"),
            overflow="fold",
        )
    return table


def print_lines(columns: Sequence[tuple[str, Sequence[str]]], shrinks: str) -> None:
    """A table of one line a row. On a terminal the column named `shrinks` gives way; into a pipe or
    a file all is written out.

    Columns without any text are left out; one whose name begins with ">" is aligned to the right.
    """
    filled = [(title, [one_line(cell) for cell in cells]) for title, cells in columns if any(cells)]
    widths = [max(len(title.lstrip(">")), *map(len, cells)) for title, cells in filled]
    titles = [title for title, _ in filled]
    if out.is_terminal and shrinks in titles:
        at = titles.index(shrinks)
        widths[at] = max(
            8, min(widths[at], out.width - 1 - sum(widths) + widths[at] - 2 * (len(widths) - 1))
        )
    for number, cells in enumerate(
        [
            [title.lstrip(">") for title in titles],
            *zip(*(cells for _, cells in filled), strict=True),
        ]
    ):
        parts = [
            cell.rjust(width) if title.startswith(">") else _cut(cell, width).ljust(width)
            for title, cell, width in zip(titles, cells, widths, strict=True)
        ]
        out.print(
            "  ".join(parts).rstrip(),
            style=None if number else "dim",
            no_wrap=True,
            crop=False,
            overflow="ignore",
        )


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}{glyphs().ellipsis}"


def examples(*commands: str) -> str:
    """The end of a command's help: commands to try, one a line."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)
