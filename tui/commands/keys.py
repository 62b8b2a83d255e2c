"""`luthier keys`: every action of the app with its id and its keys."""

from __future__ import annotations

from collections.abc import Iterable

import click

from tui.commands.output import examples, json_option, out, plain_table, print_json, say_aside, talk
from tui.completion.name_parameter import Words


def _screens() -> Iterable[str]:
    from tui.screens import PLACE_TITLES

    return PLACE_TITLES


@click.command(epilog=examples("luthier keys", "luthier keys chat"))
@click.argument("screen", required=False, type=Words(_screens))
@json_option
def keys(screen: str | None, as_json: bool) -> None:
    """The actions of the app, their keys, and the ids by which keymap.toml names them.

    A line such as `chat.retry = "ctrl+y"` or `runs.stop = ["x", "f7"]` in keymap.toml in Luthier's
    home changes the keys of an action. What cannot be used keeps its usual keys.
    """
    from jobs.near import did_you_mean
    from tui import keymap
    from tui.key_bindings import ACTIONS
    from tui.screens import PLACE_TITLES
    from tui.shared.action import key_name, use_keys

    if screen is not None and screen not in PLACE_TITLES:
        hint = did_you_mean(screen, PLACE_TITLES)
        raise click.UsageError(f"No place is called {screen!r}. {hint}".rstrip())
    users = keymap.read(ACTIONS)
    use_keys(users.changed)
    actions = [action for action in ACTIONS if screen in (None, action.place)]
    for problem in users.problems:
        talk.print(problem, style="yellow")
    if as_json:
        print_json(
            [
                {
                    "id": action.id,
                    "title": action.title,
                    "help": action.help,
                    "keys": action.current_keys,
                    "usual_keys": action.keys.split(","),
                }
                for action in actions
            ]
        )
        return
    table = plain_table("id", "keys", "what it does")
    for action in actions:
        usual = " ".join(map(key_name, action.keys.split(",")))
        note = f" (usually {usual})" if action.id in users.changed else ""
        table.add_row(action.id, " ".join(action.key_names), f"{action.help}{note}")
    out.print(table)
    say_aside("keymap.toml in Luthier's home changes them: `luthier keys --help`.")
