"""`luthier doctor`."""

from __future__ import annotations

import itertools
import sys
from dataclasses import asdict

import click
from rich.text import Text

from models.environment import Check, checks
from trainer.run.trackers import Tracker, installed
from tui.commands.output import examples, json_option, out, print_json, talk
from tui.shared.glyphs import glyphs


@click.command(epilog=examples("luthier doctor", "luthier doctor --json"))
@json_option
def doctor(as_json: bool) -> None:
    """Show what this machine can do and what is missing. Exits with 1 if something necessary is
    missing."""
    done: list[Check] = []
    with talk.status("looking"):  # drawn on a terminal only
        for check in itertools.chain(checks(), [_trackers(installed())]):
            done.append(check)
            if not as_json:
                _print(check)
    missing = [check.name for check in done if check.ok is False]
    if as_json:
        print_json({"ok": not missing, "checks": [asdict(check) for check in done]})
    else:
        out.print(Text(f"\nMissing: {', '.join(missing)}." if missing else "\nNothing is missing."))
    if missing:
        sys.exit(1)


def _trackers(versions: dict[Tracker, str]) -> Check:
    """They are nobody's need: a recipe names one, or none."""
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Check(
        "trackers",
        True,
        listed or "none installed; you only need one if a recipe's [trackers] names it",
    )


def _print(check: Check) -> None:
    mark, word, colour = {
        True: (glyphs().done, "fine", "green"),
        None: ("!", "note", "yellow"),
        False: (glyphs().failed, "missing", "red"),
    }[check.ok]
    out.print(
        Text.assemble((f"{mark} {word:<8}", colour), f"{check.name:<15} ", check.detail),
        soft_wrap=True,
    )
    if check.hint:
        out.print(Text(f"{'':25} {check.hint}", "dim"), soft_wrap=True)
