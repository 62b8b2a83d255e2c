"""`luthier chats`: the chats of before."""

from __future__ import annotations

from pathlib import Path

import click

from serve.chats import export as exporting
from serve.chats import search as searching
from serve.chats import store
from tui.commands.output import (
    confirm,
    examples,
    json_option,
    out,
    plain_table,
    print_json,
    talk,
    write,
    write_json,
)
from tui.completion.name_parameter import Name
from workshop.number_format import age


@click.group(
    invoke_without_command=True, epilog=examples("luthier chats", "luthier chats search verb")
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="How many chats to list.",
)
@json_option
@click.pass_context
def chats(context: click.Context, limit: int, as_json: bool) -> None:
    """List the chats, the most recently used first. ID is a chat's id, the end of an id, or
    "last"."""
    if context.invoked_subcommand is not None:
        return
    summaries = searching.chats(limit)
    if as_json:
        print_json([chat.to_json() for chat in summaries])
        return
    if not summaries:
        talk.print(
            "No chats yet. Luthier keeps each chat from its first prompt on: start one with"
            " `luthier chat`, or press 4 in the app."
        )
        return
    table = plain_table("id", "", "models", ">turns", ">votes", "used")
    for chat in summaries:
        models = "names hidden" if chat.blind else ", ".join(dict.fromkeys(chat.models))
        table.add_row(
            chat.id,
            _short(chat.title),
            models,
            str(chat.turns),
            str(chat.votes or ""),
            age(chat.updated),
        )
    out.print(table)


@chats.command(epilog=examples("luthier chats search verb"))
@click.argument("words", nargs=-1, required=True)
@json_option
def search(words: tuple[str, ...], as_json: bool) -> None:
    """Search the chats: list those in which one prompt or answer contains all of these WORDS."""
    hits = searching.search(" ".join(f'"{word}"' if " " in word else word for word in words))
    if as_json:
        print_json(
            [
                {
                    "chat": hit.chat.id,
                    "title": hit.chat.title,
                    "speaker": hit.speaker,
                    "excerpt": hit.excerpt,
                }
                for hit in hits
            ]
        )
        return
    if not hits:
        talk.print("No prompt or answer contains all of these words.")
        return
    table = plain_table("id", "who", "")
    for hit in hits:
        table.add_row(hit.chat.id, hit.speaker or "you", hit.excerpt)
    out.print(table)


@chats.command(epilog=examples("luthier chats export 7f3a"))
@click.argument("chat_id", metavar="ID", type=Name("chat"))
@click.option(
    "--out",
    "path",
    type=click.Path(path_type=Path),
    help="The file to write, ending in .md or .jsonl. Default: Markdown on stdout.",
)
@json_option
def export(chat_id: str, path: Path | None, as_json: bool) -> None:
    """Export a chat as Markdown or as JSONL, which has one line per model in the format that
    training reads."""
    chat = store.load(searching.find(chat_id))
    if path is not None:
        exporting.export(chat, path.absolute())
        talk.print(f"Written to {path}.")
    else:
        write_json(exporting.jsonl(chat)) if as_json else write(exporting.markdown(chat), end="")


@chats.command(epilog=examples("luthier chats remove 7f3a"))
@click.argument("chat_id", metavar="ID", type=Name("chat"))
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def remove(chat_id: str, yes: bool) -> None:
    """Delete a chat with its answers and votes."""
    full_id = searching.find(chat_id)
    if not yes:
        confirm(
            f"Delete {full_id}, {_short(store.load(full_id).title)!r}, with its answers and votes?"
        )
    store.remove(full_id)
    talk.print(f"{full_id} is deleted.")


def _short(title: str, width: int = 48) -> str:
    return title if len(title) <= width else f"{title[: width - 1]}…"
