"""What each shell sends at a press of tab, and how it takes the answer.

The scripts (`luthier.bash` and its like) call `luthier` with the variable _LUTHIER_COMPLETE. The
answer is fields that end with a zero byte, which no name can have: first what else the shell is to
do ("file", "dir", "nospace", bash's "quoted" or nothing), then the candidates. Nothing of it is
ever evaluated.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path
from typing import Literal, get_args

import click
from click.shell_completion import CompletionItem, ShellComplete

from tui.completion import grammar
from tui.completion.typed_line import Word, continued, words_of

Shell = Literal["bash", "zsh", "fish"]
SHELLS: tuple[Shell, ...] = get_args(Shell)
VARIABLE = "_LUTHIER_COMPLETE"
_WIDTH = 80  # of a terminal that does not say its own
_WITHOUT_WIDTH = ("Mn", "Me", "Cf")


def script(shell: Shell) -> str:
    """What the shell loads."""
    return Path(__file__).with_name(f"luthier.{shell}").read_text(encoding="utf-8")


def answer(shell: str, arguments: list[str]) -> None:
    """Write the answer to stdout, as bytes: a file's name may be no UTF-8. Only a shell reads it,
    never a terminal."""
    writers = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    shell_name, _, instruction = shell.partition("_")
    if instruction == "source" and shell_name in SHELLS:  # how earlier versions loaded the script
        sys.stdout.write(script(shell_name))
        return
    if shell in writers and arguments and not sys.stdout.isatty():
        fields = writers[shell](arguments)
        sys.stdout.buffer.write(b"".join(os.fsencode(field) + b"\0" for field in fields))
        sys.stdout.buffer.flush()


def candidates(words: list[str], incomplete: str) -> list[CompletionItem[str]]:
    """What may stand in place of the last word; click knows by the grammar."""
    completer = ShellComplete(grammar.load(), {}, "luthier", VARIABLE)
    try:
        items = completer.get_completions(words, incomplete)
    except click.ClickException:
        return []
    option, equals, _ = incomplete.partition("=")
    if not (equals and option.startswith("-")):
        return items
    # click answers with the value alone; the word is all of it
    return [
        item
        if item.type != "plain"
        else CompletionItem(f"{option}={item.value}", item.type, item.help)
        for item in items
    ]


def _extra(items: list[CompletionItem[str]]) -> str:
    """What the shell is to do beside offering the candidates."""
    kinds = {item.type for item in items}
    if "plain" not in kinds:
        return next(iter(kinds), "")
    return "nospace" if all(item.value.endswith(("/", ":")) for item in items) else ""


def _plain(items: list[CompletionItem[str]]) -> list[CompletionItem[str]]:
    return [item for item in items if item.type == "plain"]


def _bash(arguments: list[str]) -> list[str]:
    """The line up to the cursor and COMP_WORDBREAKS come, and candidates as bash writes them."""
    line, breaks = (*arguments, "")[:2]
    _, *before, word = [Word(), *words_of(line, breaks)]
    items = candidates([each.text for each in before[1:]], word.text)
    fitting = [item for item in _plain(items) if not word.quote or item.value.isprintable()]
    extra = _extra(items)
    if word.quote and extra == "nospace" and all(item.value.endswith("/") for item in fitting):
        extra = "quoted"
    return [extra, *(continued(word, item.value) for item in fitting)]


def _zsh(arguments: list[str]) -> list[str]:
    """The line without the command and the terminal's width come; of each candidate its value and
    how it is shown, in one line of that terminal."""
    line, columns = (*arguments, "")[:2]
    *before, word = words_of(line)
    items = candidates([each.text for each in before], word.text)
    plain = _plain(items)
    room = int(columns or _WIDTH) - 1  # scripts of earlier versions send no width
    longest = max((_cell_count(_shown(item.value)) for item in plain), default=0)
    fields = [_extra(items)]
    for item in plain:
        display = f"{_fitted(_shown(item.value), longest)}  {_shown(item.help or '')}".rstrip()
        fields += [item.value, _fitted(display, room).rstrip()]
    return fields


def _fish(arguments: list[str]) -> list[str]:
    """The words before, and the last one as it was typed, come; each candidate goes with its
    description behind a tab."""
    *before, typed = arguments
    word = words_of(typed)[-1]
    items = candidates(before, word.text)
    described = [
        f"{item.value}\t{_shown(item.help or '')}".rstrip("\t")
        for item in _plain(items)
        if "\t" not in item.value
    ]
    return [_extra(items), *described]


def _shown(text: str) -> str:
    from tui.shared.foreign_text import one_line

    return one_line(text)


def _fitted(text: str, cells: int) -> str:
    """The text in so many cells: padded, or cut. Rich, which measures text elsewhere, takes too
    long to import."""
    if _cell_count(text) <= cells:
        return text + " " * (cells - _cell_count(text))
    while _cell_count(text) >= cells:
        text = text[:-1]
    return f"{text}…"


def _cell_count(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    without_width = sum(unicodedata.category(character) in _WITHOUT_WIDTH for character in text)
    return len(text) + wide - without_width
