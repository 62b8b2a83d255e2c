"""A parameter of a command that names something of the user's: a run, a model, a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import click
from click.shell_completion import CompletionItem

NameKind = Literal[
    "run",
    "job",
    "living job",
    "server",
    "served model",
    "model",
    "preset",
    "sweep",
    "endpoint",
    "chat",
    "recipe file",
    "data file",
    "import source",
    "export form",
]

_MAY_BE_PATHS: frozenset[NameKind] = frozenset(
    ("model", "recipe file", "data file", "import source")
)


class Name(click.ParamType[Any]):
    """The name of something of one of these kinds. The command itself finds it, and says what is
    near where there is none."""

    name = "text"

    def __init__(self, *kinds: NameKind, as_path: bool = False) -> None:
        self.kinds = kinds
        self.as_path = as_path

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | Path:
        return Path(value) if self.as_path else str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """The names that begin so. Those that stand in the line already are left out."""
        from tui.completion.names import suggestions

        values = ctx.params.get(param.name or "")
        used = {str(value) for value in values} if isinstance(values, list | tuple) else set()
        items = [
            CompletionItem(suggestion.name, help=suggestion.help)
            for kind in self.kinds
            for suggestion in suggestions(kind, incomplete)
            if suggestion.name not in used
        ]
        if items or _MAY_BE_PATHS.isdisjoint(self.kinds):
            return items
        return [CompletionItem(incomplete, type="file")]


class Words(click.ParamType[str]):
    """Free text with words that are usual for it. Words that are slow to import come from a
    function."""

    name = "text"

    def __init__(self, *words: str | Callable[[], Iterable[str]]) -> None:
        self._words = words

    @property
    def words(self) -> list[str]:
        """All of them."""
        groups = ([word] if isinstance(word, str) else word() for word in self._words)
        return [word for words in groups for word in words]

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        return [CompletionItem(word) for word in self.words if word.startswith(incomplete)]
