"""The command palette: every action of the registry, with its key, and every job by its name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider

from jobs.state import word
from tui.key_bindings import ACTIONS, place_of
from tui.screens import PLACE_TITLES
from tui.shared.action import Action
from workshop import number_format

if TYPE_CHECKING:
    from tui.app import LuthierApp


def label(action: Action) -> str:
    """ "run: stop"; what works everywhere has no prefix."""
    return (
        action.title
        if action.place == "app"
        else f"{PLACE_TITLES[action.place].lower()}: {action.title}"
    )


_NAMED = 2  # a job of that name comes before what merely has its letters in a long help


class Palette(CommandPalette):
    CSS_PATH = "palette.tcss"


class ActionProvider(Provider):
    async def discover(self) -> Hits:
        for action in self._in_order():
            yield DiscoveryHit(label(action), partial(self._run, action), help=_help(action))

    async def search(self, query: str) -> Hits:
        matcher, app = self.matcher(query), cast("LuthierApp", self.app)
        for row in app.rows or []:
            name = f"open {row.name}"
            if query.lower() in name:
                yield Hit(
                    _NAMED * matcher.match(name),
                    matcher.highlight(name),
                    partial(app.journey.open_listed, row),
                    text=name,
                    help=f"{row.kind}, {word(row.state)}, {number_format.age(row.created)}",
                )
        for action in self._in_order():
            score = matcher.match(f"{label(action)} {action.help}")
            if score > 0:
                yield Hit(
                    score,
                    matcher.highlight(label(action)),
                    partial(self._run, action),
                    text=label(action),
                    help=_help(action),
                )

    def _in_order(self) -> list[Action]:
        """What can be done here first."""
        here = place_of(self.screen)
        return sorted(ACTIONS, key=lambda action: (action.place != here, action.place != "app"))

    async def _run(self, action: Action) -> None:
        await cast("LuthierApp", self.app).perform(action)


def _help(action: Action) -> str:
    return f"{'  '.join(action.key_names)}  {action.help}"
