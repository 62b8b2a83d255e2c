"""What each shell sends at a press of tab, and how it takes the answer.

The scripts (`luthier.bash` and its like) call `luthier` with the variable _LUTHIER_COMPLETE. The
answer is fields that end with a zero byte, which no name can have: first what else the shell is to
do ("files", "dir", "nospace" or nothing), then the candidates. Nothing of it is ever evaluated.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

import click
from click.shell_completion import CompletionItem, ShellComplete

from tui.completion import grammar
from tui.completion.typed_line import Word, continued, words_of

Shell = Literal["bash", "zsh", "fish"]
SHELLS: tuple[Shell, ...] = get_args(Shell)
VARIABLE = "_LUTHIER_COMPLETE"


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
    return [_extra(items), *(continued(word, item.value) for item in fitting)]


def _zsh(arguments: list[str]) -> list[str]:
    """The line without the command comes; of each candidate its value and how it is shown."""
    *before, word = words_of(arguments[0])
    items = candidates([each.text for each in before], word.text)
    plain = _plain(items)
    width = max((len(_shown(item.value)) for item in plain), default=0)
    pairs = [
        (item.value, f"{_shown(item.value):{width}}  {_shown(item.help or '')}".rstrip())
        for item in plain
    ]
    return [_extra(items), *(field for pair in pairs for field in pair)]


def _fish(arguments: list[str]) -> list[str]:
    """The words before, and the last one as it was typed, come; each candidate goes with its
    description behind a tab."""
    *before, typed = arguments
    word = words_of(typed)[-1]
    items = candidates(before, word.text)
    if any(item.type != "plain" for item in items):
        items = _with_files(items, word.text)
    described = [
        f"{item.value}\t{_shown(item.help or '')}".rstrip("\t")
        for item in _plain(items)
        if "\t" not in item.value
    ]
    return [_extra(items), *described]


def _with_files(items: list[CompletionItem[str]], beginning: str) -> list[CompletionItem[str]]:
    """With the files that fit: fish 3 does not complete an escaped path from within a completion.
    It does after ~, which is its own to expand."""
    from tui.completion.names import files

    option, equals, path = beginning.rpartition("=")
    with suppress(OSError):
        listed = [
            CompletionItem(f"{option}{equals}{suggestion.name}") for suggestion in files(path)
        ]
        return listed or items
    return []


def _shown(text: str) -> str:
    from tui.shared.foreign_text import one_line

    return one_line(text)
