"""The help of the command line: sections, whole summaries, examples that can be typed."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from click.testing import CliRunner

from tests.tui.parser_walk import COMMANDS
from tui.cli import luthier


def parse(line: str) -> None:
    """Parse a command line without calling the command. UsageError if it is none."""
    command: click.Command = luthier
    words = shlex.split(re.split(r" [|<>] ", line)[0])[1:]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        _, child, words = command.resolve_command(click.Context(command), words)
        assert child is not None
        command = child
    command.make_context(line, list(words))


def test_the_help_has_sections_with_examples_and_no_cut_summary() -> None:
    shown = CliRunner().invoke(luthier, ["--help"]).output
    titles = re.findall(r"^(\S.*):$", shown, re.M)
    assert titles == [
        "Options",
        "Train",
        "Data",
        "Models",
        "Serve and chat",
        "Compare",
        "Manage jobs",
        "This machine",
    ]
    assert "..." not in shown.partition("Options:")[2]
    examples = re.findall(r"Example: (.+)", shown)
    assert len(examples) == 7
    for line in examples:
        parse(line)


@pytest.mark.parametrize(("path", "command"), COMMANDS.items(), ids=COMMANDS)
def test_a_commands_help_ends_with_examples_that_parse(path: str, command: click.Command) -> None:
    lines = [line.strip() for line in (command.epilog or "").splitlines()[2:]]
    assert lines, f"luthier {path} has no example"
    for line in lines:
        parse(line)
