"""Writes the facts that the code knows into docs/: keys, commands, the recipe's keys, formats of
data, resume rules, exit statuses, events and the glossary. Whole pages, or regions of pages between
two comments. `python tools/doc_pages.py` writes them; with `check` it compares."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT))

from tools import event_page  # noqa: E402
from trainer.data.formats_exports import EXPORTS  # noqa: E402
from trainer.data.formats_markup import MARKUPS  # noqa: E402
from trainer.key_facts import described_keys, resume_rows  # noqa: E402
from trainer.recipe import Recipe  # noqa: E402
from tui.cli import SECTIONS, luthier  # noqa: E402
from tui.commands.exit_status import MEANINGS  # noqa: E402
from tui.completion import grammar  # noqa: E402
from tui.key_bindings import ACTIONS  # noqa: E402
from tui.screens import PLACE_TITLES, SUMMARIES  # noqa: E402
from tui.shared.action import Action  # noqa: E402
from tui.shared.glossary import terms  # noqa: E402

_MADE = "<!-- Made by tools/doc_pages.py from {source}. Do not edit. -->"
_END = "<!-- end of {name} -->"
_EVERYWHERE = ("app", "list", "log", "search")


# ---- pages


def keys_page() -> str:
    """Every key, screen by screen: what works everywhere comes first."""
    groups = [*_EVERYWHERE, *(group for group in PLACE_TITLES if group not in _EVERYWHERE)]
    lines = [
        "# Keys",
        "",
        _MADE.format(source="the app's registry of actions"),
        "",
        "`?` shows the keys of the screen that you are on, and `ctrl+p` finds every action by its"
        " name.",
        "`^x` means ctrl+x. The mouse works too: tabs, rows, charts and the hints in the footer are"
        " clickable.",
    ]
    for group in groups:
        lines += ["", f"## {PLACE_TITLES[group]}", ""]
        if group in SUMMARIES:
            lines += [SUMMARIES[group], ""]
        lines += ["| key | action | what it does |", "|---|---|---|"]
        lines += [_key_row(action) for action in ACTIONS if action.place == group]
    return "\n".join(lines) + "\n"


def _key_row(action: Action) -> str:
    keys = " ".join(f"`{_cell(key)}`" for key in action.key_names)
    return f"| {keys} | {_cell(action.title)} | {_cell(action.help)} |"


def commands_page() -> str:
    """Every command with its options, in the sections of `luthier --help`."""
    lines = [
        "# Commands",
        "",
        _MADE.format(source="the commands' own help"),
        "",
        "Everything that the app does is also a command. `luthier COMMAND --help` shows the same in"
        " the terminal.",
        "A RUN or an ID can be an id, a part of an id, or a name; a name means the newest run with"
        " that name.",
    ]
    context = click.Context(luthier, info_name="luthier")
    for section in SECTIONS:
        lines += ["", f"## {section.title}"]
        for name in section.commands:
            command = luthier.get_command(context, name)
            assert command is not None
            lines += _command(command, context, name)
    return "\n".join(lines) + "\n"


def _command(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join(command.collect_usage_pieces(context))
    yield from ("", f"### `{context.command_path}`", "", "```sh")
    yield f"{context.command_path} {usage}".rstrip()
    yield from ("```", "", _paragraphs(command.help or ""))
    if examples := _examples(command.epilog or ""):
        yield from ("", "```sh", *examples, "```")
    rows = [
        record
        for parameter in command.get_params(context)
        if (record := parameter.get_help_record(context)) is not None
        and record[1]  # an argument has none: the help's first paragraph is about it
        and "--help" not in record[0]
    ]
    if rows:
        yield from ("", "| option | what it does |", "|---|---|")
        yield from (f"| `{_cell(names)}` | {_cell(text)} |" for names, text in rows)
    if isinstance(command, click.Group):
        for subcommand in command.list_commands(context):
            entry = command.get_command(context, subcommand)
            if entry is not None and not entry.hidden:
                yield from _command(entry, context, subcommand)


def _examples(epilog: str) -> list[str]:
    return [line.strip() for line in epilog.splitlines() if line.strip().startswith("luthier ")]


def _paragraphs(text: str) -> str:
    """The help's paragraphs; what it sets as it is (\\b) stays code."""
    blocks = []
    for block in text.strip().split("\n\n"):
        if block.lstrip().startswith("\b"):
            blocks.append("```sh\n" + block.replace("\b", "").strip("\n") + "\n```")
        else:
            blocks.append(" ".join(block.split()))
    return "\n\n".join(blocks)


def glossary_page() -> str:
    lines = [
        "# Glossary",
        "",
        _MADE.format(source="tui/shared/glossary.toml"),
        "",
        "The terms that Luthier uses. In the app, `?` shows those of the screen that you are on.",
        "",
        "| term | meaning |",
        "|---|---|",
        *(f"| **{_cell(term.name)}** | {_cell(term.text)} |" for term in terms()),
    ]
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "keys.md": keys_page,
    "commands.md": commands_page,
    "glossary.md": glossary_page,
    "events.md": event_page.page,
}


# ---- regions of pages


def recipe_table(written: str) -> str:
    """The recipe's keys. Rows of keys that have no facts are written by hand, and stay below the
    row that they follow."""
    rows_of_keys = {_first_cell(key.row): key.row for key in described_keys(Recipe)}
    by_hand: dict[str, list[str]] = {}
    above = ""
    for row in written.splitlines():
        if _first_cell(row) in rows_of_keys:
            above = _first_cell(row)
        elif above:
            by_hand.setdefault(above, []).append(row)
    rows = [row for cell, text in rows_of_keys.items() for row in (text, *by_hand.get(cell, []))]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows])


def _first_cell(row: str) -> str:
    return row.removeprefix("|").partition("|")[0].strip()


def resume_table(_: str) -> str:
    return "\n".join(["| a change of | needs |", "|---|---|", *resume_rows(Recipe)])


def status_table(_: str) -> str:
    rows = [f"| {int(status)} | {meaning} |" for status, meaning in MEANINGS.items()]
    return "\n".join(["| exit status | meaning |", "|---|---|", *rows])


def markup_table(_: str) -> str:
    rows = (f"| `{each.name}` | {_cell(each.title)} |" for each in MARKUPS)
    return "\n".join(["| `layout` | markup |", "|---|---|", *rows])


def export_table(_: str) -> str:
    rows = (f"| `{each.name}` | {_cell(each.title)} |" for each in EXPORTS)
    return "\n".join(["| `layout` | what it is |", "|---|---|", *rows])


REGIONS: dict[tuple[str, str], Callable[[str], str]] = {
    # page, region: what it should be, made of what is written there
    ("data.md", "exports"): export_table,
    ("data.md", "markups"): markup_table,
    ("recipe.md", "recipe keys"): recipe_table,
    ("runs.md", "resume rules"): resume_table,
    ("scripting.md", "exit statuses"): status_table,
}


def with_region(page: str, name: str, make: Callable[[str], str]) -> str:
    """The page with the region's text made again."""
    begin, end = _MADE.format(source=name) + "\n", "\n" + _END.format(name=name)
    before, opening, from_region = page.partition(begin)
    written, closing, after = from_region.partition(end)
    if not opening or not closing:
        raise ValueError(f"the page has no region {name!r}")
    return f"{before}{begin}{make(written)}{end}{after}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def current() -> dict[Path, str]:
    """Each page with facts of the code, as it should be now."""
    pages = {DOCS / name: make() for name, make in PAGES.items()}
    for (name, region), make in REGIONS.items():
        path = DOCS / name
        page = pages.get(path) or path.read_text(encoding="utf-8")
        pages[path] = with_region(page, region, make)
    return {**pages, grammar.GRAMMAR: grammar.text(luthier)}


def outdated() -> list[str]:
    """The names of the pages that say something else than the code."""
    return [
        path.name
        for path, text in current().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str]) -> int:
    if arguments == ["check"]:
        names = outdated()
        for name in names:
            print(f"{name} is outdated: python tools/doc_pages.py writes it again.")
        return 1 if names else 0
    for page_path, page_text in current().items():
        page_path.write_text(page_text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
