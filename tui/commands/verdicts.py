"""Checks and their verdicts as the commands print them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from models.certificate import Check, Verdict
from models.standing import Standing
from tui.commands.output import plain_table, styled
from tui.shared.certificate_badge import bound, figure, sign

COLOURS: dict[Verdict, str] = {"green": "green", "amber": "yellow", "red": "red"}


def headline(verdict: Verdict, sentence: str) -> Text:
    return Text(f"{_glyph(verdict)} {sentence}", f"bold {COLOURS[verdict]}")


def figure_table(checks: Iterable[Check]) -> Table:
    """Each check with its figure and its bound."""
    table = plain_table("", "check", ">figure", ">green", "unit")
    for check in checks:
        unit = styled("[dim]$unit[/]", unit=check.unit)
        table.add_row(_mark(check), check.name, figure(check), bound(check), unit)
    return table


def sentence_table(checks: Iterable[Check], title: str) -> Table:
    """Each check with what it says."""
    table = plain_table("", title, "")
    for check in checks:
        table.add_row(_mark(check), check.name, Text(check.sentence))
    return table


def _mark(check: Check) -> Text:
    return Text(_glyph(check.verdict), COLOURS[check.verdict])


def _glyph(verdict: Verdict) -> str:
    glyph, _, _ = sign(Standing(verdict))
    return glyph
