"""`luthier doctor`."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click
from rich.text import Text

from jobs.os_errors import in_words
from models.environment import Check
from trainer.run.trackers import Tracker, installed
from tui.commands.output import (
    examples,
    is_confirmed,
    json_option,
    out,
    print_json,
    say_aside,
    say_done,
    say_warning,
    talk,
)
from tui.shared.glyphs import glyphs
from workshop.doctor import Finding, Fix, examine


@click.command(
    epilog=examples(
        "luthier doctor",
        "luthier doctor --fix",
        "luthier doctor --json | jq -r '.checks[] | select(.ok != true) | .remedy'",
    )
)
@click.option(
    "--fix",
    "with_fixes",
    is_flag=True,
    help=(
        "For each line that is not fine, show the command that helps. Luthier itself does what is"
        " safe and within its home, after asking."
    ),
)
@click.option("--yes", is_flag=True, help="With --fix: do not ask.")
@json_option
def doctor(with_fixes: bool, yes: bool, as_json: bool) -> None:
    """Show what this machine can do and what is missing. Exits with 1 if something necessary is
    missing."""
    if yes and not with_fixes:
        raise click.UsageError("--yes goes with --fix.")
    done: list[Finding] = []
    # drawn on a terminal only
    with talk.status("Checking. Importing the libraries takes longest.") as spinner:
        for finding in itertools.chain(examine(), [Finding(_trackers(installed()))]):
            done.append(finding)
            if not as_json:
                spinner.stop()  # it is on stderr, so that a line on stdout would run into it
                _print(finding.check)
                spinner.start()
    missing = [finding.check.name for finding in done if finding.check.ok is False]
    if as_json:
        fixes = list(_fixed_silently(done, yes)) if with_fixes else []
        checks = [asdict(finding.check) for finding in done]
        print_json({"ok": not missing, "checks": checks, "fixes": fixes})
    else:
        out.print(Text(f"\nMissing: {', '.join(missing)}." if missing else "\nNothing is missing."))
        if with_fixes:
            _help_with(done, yes)
        elif any(not finding.check.ok for finding in done):
            say_aside("`luthier doctor --fix` shows what helps with each line that is not fine.")
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


def _help_with(done: list[Finding], yes: bool) -> None:
    """The remedy of each line that is not fine, once where lines share it, and what Luthier does
    itself."""
    by_remedy: dict[str, list[str]] = {}
    for finding in done:
        check = finding.check
        if not check.ok:
            by_remedy.setdefault(check.remedy or check.hint, []).append(check.name)
    for remedy, names in by_remedy.items():
        out.print(Text(f"\n{', '.join(dict.fromkeys(names))}", "bold"))
        out.print(Text(f"  {remedy}"), soft_wrap=True)
    fixes = [finding.fix for finding in done if finding.fix is not None]
    if fixes:
        out.print("")
    for fix in fixes:
        if not (yes or sys.stdin.isatty()):
            say_aside(f"Luthier can do this: {fix.question} Add --yes.")
        elif yes or is_confirmed(fix.question):
            problem = _do(fix)
            say_warning(problem) if problem else say_done(fix.done)


def _fixed_silently(done: list[Finding], yes: bool) -> Iterator[dict[str, Any]]:
    """What Luthier can do, as JSON; with --yes it is done."""
    for finding in done:
        if finding.fix is not None:
            problem = _do(finding.fix) if yes else ""
            yield {
                "check": finding.check.name,
                "question": finding.fix.question,
                "done": yes and not problem,
                "problem": problem,
            }


def _do(fix: Fix) -> str:
    """Why it could not be done; "" if it was."""
    try:
        fix.do()
    except OSError as error:
        return in_words(error).message
    return ""
