"""No command sends a terminal what a file, a model or a server would have it obey. Into a pipe,
data go as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.fakes.openai_server import FakeServer
from tests.tui import folders, hostile
from tests.tui.every_command import BETWEEN, CRASHED
from tests.tui.hostile import FILE_NAME, FOREIGN, RECIPE
from tests.tui.lock_holder import held
from tests.tui.terminal import foreign, sent
from tui.cli import luthier

pytestmark = pytest.mark.heavy

RUN, LEARNING, FAILED, SERVER = (
    f"20261118-{name}-00ff"
    for name in ("0003-captain", "0007-pirate", "0004-too-large", "0006-captain-server")
)
# Commands with what they have to show. `...` stands for the hostile file that the home has.
SHOWING: dict[str, list[list[str]]] = {
    "models": [[]],
    "models list": [[]],
    "models path": [[FILE_NAME]],
    "models show": [[FILE_NAME], [RUN]],
    "runs": [["--all"], ["--queue"]],
    "log": [
        [LEARNING],
        [RUN],
        [FAILED],
        [SERVER],
        ["--output", LEARNING],
        ["--output", "-n", "1", LEARNING],
        ["--events", LEARNING],
    ],
    "chart": [[LEARNING, RUN]],
    "plan": [[RECIPE], ["--memory", RECIPE]],
    "serve": [["--plan", "--model", FILE_NAME]],
    "train": [["--again", RUN, "--follow"]],
    "sweep": [["sweep-1"]],
    "certify": [["--show", RUN]],
    "server status": [[]],
    "chat": [["-p", f"Hello {FOREIGN}"]],
    "chats": [[]],
    "chats search": [["Answer"], ["Question"]],
    "chats export": [["last"]],
    "chats remove": [["last"]],
    "votes show": [["--all"]],
    "votes export": [[]],
    "endpoints": [[]],
}


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command of the registry by what is typed, with those below it."""
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if not isinstance(command, click.Group) or command.invoke_without_command:
                yield f"{path}{name}", command
            if isinstance(command, click.Group):
                yield from commands(command, f"{path}{name} ")


def calls() -> list[list[str]]:
    """Each command with what it has to show, as text and as JSON; asked for something that is not
    there; and called wrongly."""
    found = []
    for name, command in commands(luthier):
        words = name.split()
        arguments = [
            parameter for parameter in command.params if isinstance(parameter, click.Argument)
        ]
        if arguments:
            found.append([*words, *[FOREIGN] * len(arguments)])
        found.append([*words, f"--{FOREIGN}"])
        for shown in SHOWING.get(name, []):
            found += [[*words, *shown]]
            if any("--json" in parameter.opts for parameter in command.params):
                found += [[*words, *shown, "--json"]]
    # whose chat the others show
    return sorted(found, key=lambda call: call[:2] == ["chats", "remove"])


@pytest.fixture
def output(home: Path) -> Iterator[str]:
    with FakeServer() as server:
        made = hostile.fill(home, server)
        (home / "calls.json").write_text(json.dumps(calls()))
        with held(*(made[name] for name in folders.LIVING)):
            yield sent("tests.tui.every_command", "calls.json", home=home, typed=b"y\n")


def test_no_command_sends_a_terminal_what_is_not_its_own(output: str) -> None:
    of_each = {
        said.partition("\r\n")[0]: said.partition("\r\n")[2] for said in output.split(BETWEEN)[1:]
    }
    assert CRASHED not in output
    assert len(of_each) == len({json.dumps(call) for call in calls()})
    assert {call: foreign(said) for call, said in of_each.items() if foreign(said)} == {}
    shown = [
        [*name.split(), *arguments] for name, examples in SHOWING.items() for arguments in examples
    ]
    was_foreign = re.compile(r"␛|␇|\ufffd|\\u001b|\\x1b")
    assert [call for call in shown if not was_foreign.search(of_each[json.dumps(call)])] == []
