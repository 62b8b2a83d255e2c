"""The whole parser: every command by its path, such as "data check"."""

from __future__ import annotations

from collections.abc import Iterator

import click

from tui.cli import luthier


def commands(group: click.Group = luthier, path: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        full_name = f"{path} {name}".strip()
        yield full_name, command
        if isinstance(command, click.Group):
            yield from commands(command, full_name)


COMMANDS = dict(commands())
