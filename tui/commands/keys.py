"""`luthier keys`: every action of the app with its id and its keys."""

from __future__ import annotations

import click

from tui.commands.output import examples, json_option, out, plain_table, print_json, say_aside, talk


@click.command(epilog=examples("luthier keys", "luthier keys chat"))
@click.argument("place", required=False)
@json_option
def keys(place: str | None, as_json: bool) -> None:
    """The actions of the app, their keys, and the ids by which keymap.toml names them.

    A line such as `chat.retry = "ctrl+y"` or `runs.stop = ["x", "f7"]` in keymap.toml in Luthier's
    home changes the keys of an action. What cannot be used keeps its usual keys.
    """
    from jobs.near import did_you_mean
    from tui import keymap
    from tui.key_bindings import ACTIONS
    from tui.screens import PLACE_TITLES
    from tui.shared.action import key_name, use_keys

    if place is not None and place not in PLACE_TITLES:
        hint = did_you_mean(place, PLACE_TITLES)
        raise click.UsageError(f"No place is called {place!r}. {hint}".rstrip())
    own = keymap.read(ACTIONS)
    use_keys(own.changed)
    actions = [action for action in ACTIONS if place in (None, action.place)]
    for problem in own.problems:
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
        note = f" (usually {usual})" if action.id in own.changed else ""
        table.add_row(action.id, " ".join(action.key_names), f"{action.help}{note}")
    out.print(table)
    say_aside("keymap.toml in Luthier's home changes them: `luthier keys --help`.")
