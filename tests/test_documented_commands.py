"""Every command in the README and in docs/ exists, with the options that are written there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tui.cli import luthier

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != "commands.md"),
]
_BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
_INLINE = re.compile(r"`(luthier [^`]+)`")
_BEGINS = re.compile(r"(?:^|\$\(|&& |\| |[A-Z]=\S+ )luthier ")
_ENDS = re.compile(r" (?:[#|>·]|&&|\|\|| +\S).*|[;)].*")
"""What follows a command on its line: a pipe, a comment, what it does in words."""


def commands(text: str) -> Iterator[str]:
    """What follows `luthier`, wherever it is meant to be typed."""
    for language, block in _BLOCK.findall(text.replace("\\\n", " ")):
        for line in block.splitlines() if language in ("", "sh") else ():
            if begin := _BEGINS.search(line):
                yield _ENDS.sub("", line[begin.end() :])
    for command in _INLINE.findall(text):
        yield _ENDS.sub("", command.removeprefix("luthier ").replace("\n", " "))


def unknown(command: str) -> str:
    """All of it if it names no command, the first option that its command does not have, or ""."""
    last_command: click.Command = luthier
    words = shlex.split(command)
    while isinstance(last_command, click.Group) and words and not words[0].startswith(("-", "[")):
        subcommand = last_command.get_command(click.Context(last_command), words.pop(0))
        if subcommand is None:
            return command
        last_command = subcommand
    options = {option for parameter in last_command.params for option in parameter.opts} | {
        "--help"
    }
    written = (word.partition("=")[0] for word in words if word.startswith("--"))
    return next((option for option in written if option not in options), "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_exists(page: Path) -> None:
    assert [unknown(command) for command in commands(page.read_text()) if unknown(command)] == []


def test_a_command_that_does_not_exist_would_be_found() -> None:
    text = "`luthier trian x`\n```sh\nRUN=$(luthier train x --folow)   # why\nluthier serve x\n```"
    assert [unknown(command) for command in commands(text)] == ["--folow", "", "trian x"]
    assert sum(len(list(commands(page.read_text()))) for page in PAGES) > 200
