"""The settings of config.toml, one entry each: the Settings screen is made from this table.

To add one, add an entry, and read it where it acts with `workshop.config.read()`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobs import giving_way
from jobs.files import expanded, why_no_file
from models.export.tools import SCRIPT_SETTINGS
from tui import themes
from tui.runs import run_order
from tui.runs.run_columns import SORTABLE
from workshop.config import Value
from workshop.gpu_conflict import CHOICES

if TYPE_CHECKING:
    from tui.app import LuthierApp

Kind = Literal["choice", "switch", "file"]


@dataclass(frozen=True)
class Choice:
    """A value that a setting can have, by the word for it, and what it does."""

    value: Value
    word: str
    effect: str = ""


@dataclass(frozen=True)
class Setting:
    """One key of config.toml.

    `name` is its key, "table.key" in a table. A "choice" has `choices`; a "switch" is on or off; a
    "file" is a path that must be there. `act` has the running app follow a new value. `choose` is
    done in the place of the usual list of choices.
    """

    name: str
    title: str
    group: str
    words: str
    kind: Kind
    default: Value = None
    choices: Callable[[LuthierApp], Sequence[Choice]] = field(default=lambda _: ())
    act: Callable[[LuthierApp, Value], object] | None = None
    choose: Callable[[LuthierApp], object] | None = None
    unset: str = "from PATH"
    """How a file is called that is not set."""

    def stored(self, settings: dict[str, Any]) -> object | None:
        """What config.toml has under its name; None if nothing."""
        table_name, _, key = self.name.rpartition(".")
        table = settings.get(table_name, {}) if table_name else settings
        return table.get(key) if isinstance(table, dict) else None

    def value(self, app: LuthierApp, settings: dict[str, Any]) -> Value:
        """What holds: what is stored if it can be used, else the default."""
        stored = self.stored(settings)
        if stored is None or self.problem(app, stored):
            return self.default
        return stored if isinstance(stored, str | bool) else None

    def problem(self, app: LuthierApp, value: object) -> str:
        """Why a value cannot be used; "" if it can."""
        match self.kind:
            case "switch":
                return "" if isinstance(value, bool) else "It is neither true nor false."
            case "choice":
                words = [choice.word for choice in self.choices(app)]
                if any(choice.value == value for choice in self.choices(app)):
                    return ""
                return f"The value must be one of: {', '.join(words)}."
            case "file":
                if not isinstance(value, str) or not value:
                    return "The value must be a path."
                reason = why_no_file(expanded(value))
                return f"{reason.capitalize()}." if reason else ""

    def word_of(self, app: LuthierApp, value: Value) -> str:
        """A value as a person reads it."""
        match self.kind:
            case "switch":
                return "on" if value else "off"
            case "choice":
                words = (choice.word for choice in self.choices(app) if choice.value == value)
                return next(words, str(value or ""))
            case "file":
                return str(value) if value else self.unset


def _themes(app: LuthierApp) -> list[Choice]:
    return [Choice(name, name) for name in sorted(app.available_themes)]


def _use_theme(app: LuthierApp, value: Value) -> None:
    app.theme = str(value)


def _silence(app: LuthierApp, value: Value) -> None:
    app.notices.silent = value is True


def _beside_server(app: LuthierApp) -> list[Choice]:
    return [
        Choice(None, "ask", "the run asks once, when it meets a server"),
        *(Choice(value, value, effect) for value, effect in CHOICES.items()),
    ]


def _orders(app: LuthierApp) -> list[Choice]:
    usual = Choice(None, "running first", "then what waits, then the newest")
    return [Choice(name, name, "") if name else usual for name in SORTABLE]


def _baselines(app: LuthierApp) -> list[Choice]:
    runs = [row for row in app.rows or [] if row.kind == "run" and row.eval_loss is not None]
    return [
        Choice(None, "none"),
        *(Choice(row.id, row.job.short_id, f"eval loss {row.eval_loss:.3f}") for row in runs),
    ]


SETTINGS: list[Setting] = [
    Setting(
        "theme",
        "theme",
        "App",
        "The colours. {app.theme} chooses them from everywhere.",
        "choice",
        themes.DEFAULT_THEME,
        _themes,
        _use_theme,
        lambda app: app.action_change_theme(),
    ),
    Setting(
        "silent",
        "silence",
        "App",
        "No bell and no desktop notice when a job ends while you look elsewhere."
        " {app.silence} does it too.",
        "switch",
        False,
        act=_silence,
    ),
    Setting(
        run_order.COLUMN,
        "sort runs by",
        "Runs",
        "The column by which Runs sorts. S, or a click on a column's title, does it there.",
        "choice",
        None,
        _orders,
    ),
    Setting(
        run_order.TURNED,
        "sort the other way round",
        "Runs",
        "Whether Runs lists its rows in reverse. {runs.turn} does it there.",
        "switch",
        False,
    ),
    Setting(
        run_order.BASELINE,
        "baseline",
        "Runs",
        "The run whose eval loss all others are shown against. {runs.baseline} pins one on Runs.",
        "choice",
        None,
        _baselines,
    ),
    Setting(
        giving_way.SETTING,
        "training beside a server",
        "Training",
        "What a run does when a server of Luthier's holds the GPU that it needs."
        " `luthier train --server` says it for one run.",
        "choice",
        None,
        _beside_server,
    ),
    *(
        Setting(
            f"tools.{key}",
            key,
            "Tools",
            purpose,
            "file",
            unset="none" if key.endswith("_python") else "from PATH",
        )
        for key, purpose in SCRIPT_SETTINGS.items()
    ),
]


def as_path(text: str) -> str:
    """A path as it is stored: whole, with the user's home as ~."""
    path = expanded(text.strip()).absolute()
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
