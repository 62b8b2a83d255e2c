"""The commands and their options without the commands themselves, which import what they work with
and would take half a second. `grammar.json` is made from them (tools/doc_pages.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from click.exceptions import NoSuchCommand

from jobs import foreign_json
from tui.completion import HELP_OPTIONS, LONGEST_SUMMARY
from tui.completion.name_parameter import Name, Words

GRAMMAR = Path(__file__).with_name("grammar.json")


def written(command: click.Command) -> dict[str, Any]:
    """A command with all below it, as JSON."""
    context = click.Context(command)
    entry: dict[str, Any] = {
        "help": command.get_short_help_str(LONGEST_SUMMARY).rstrip("."),
        "parameters": [_parameter(each) for each in command.params],
    }
    if isinstance(command, click.Group):
        commands = {
            name: command.get_command(context, name) for name in command.list_commands(context)
        }
        entry["commands"] = {
            name: written(each) for name, each in commands.items() if each and not each.hidden
        }
    return entry


def _parameter(parameter: click.Parameter) -> dict[str, Any]:
    entry: dict[str, Any] = {"names": parameter.opts, "many": parameter.nargs == -1}
    match parameter.type:
        case Name(kinds=kinds):
            entry["completes"] = kinds
        case Words(words=words) | click.Choice(choices=words):
            entry["words"] = words
        case click.Path(file_okay=file_okay):
            entry["path"] = "file" if file_okay else "dir"
        case click.File():
            entry["path"] = "file"
        case _:  # free text, or a number
            pass
    if isinstance(parameter, click.Option):
        entry |= {"help": _first_sentence(parameter.help or ""), "flag": parameter.is_flag}
        entry |= {"again": parameter.multiple, "hidden": parameter.hidden}
    return {key: value for key, value in entry.items() if value}


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".")


def text(command: click.Command) -> str:
    """What `grammar.json` holds, a line for each command's beginning so that a change can be
    read."""
    return json.dumps(written(command), ensure_ascii=False, indent=1) + "\n"


class Grammar(click.Group):
    """A group of commands that are made of their entries when they are named."""

    def __init__(self, name: str, entry: dict[str, Any]) -> None:
        super().__init__(
            name,
            params=[_made(each) for each in entry["parameters"]],
            short_help=entry["help"],
            invoke_without_command=True,
            context_settings={"help_option_names": HELP_OPTIONS},
        )
        self.entries: dict[str, Any] = entry["commands"]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.entries)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.entries:  # click would offer the commands once more
            raise NoSuchCommand(args[0], ctx=ctx)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        if "commands" in entry:
            return Grammar(cmd_name, entry)
        return click.Command(
            cmd_name,
            params=[_made(each) for each in entry["parameters"]],
            short_help=entry["help"],
        )


def _made(entry: dict[str, Any]) -> click.Parameter:
    kind: click.ParamType[Any] | None = None
    if "completes" in entry:
        kind = Name(*entry["completes"])
    elif "words" in entry:
        kind = Words(*entry["words"])
    elif "path" in entry:
        kind = click.Path(file_okay=entry["path"] == "file")
    names = entry["names"]
    if not names[0].startswith("-"):
        return click.Argument(
            names, type=kind, nargs=-1 if entry.get("many") else 1, required=False
        )
    is_flag = entry.get("flag", False)
    return click.Option(
        names,
        type=None if is_flag else kind,
        is_flag=is_flag,
        multiple=entry.get("again", False),
        help=entry.get("help"),
        hidden=entry.get("hidden", False),
    )


def load() -> Grammar:
    return Grammar("luthier", foreign_json.read_object(GRAMMAR))
