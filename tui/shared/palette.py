"""The command palette: every action of the registry, with its key."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider

from tui.key_bindings import ACTIONS, place_of
from tui.screens import PLACE_TITLES
from tui.shared.action import Action

if TYPE_CHECKING:
    from tui.app import LuthierApp


def label(action: Action) -> str:
    """ "run: stop"; what works everywhere has no prefix."""
    return (
        action.title
        if action.place == "app"
        else f"{PLACE_TITLES[action.place].lower()}: {action.title}"
    )


class Palette(CommandPalette):
    CSS_PATH = "palette.tcss"


class ActionProvider(Provider):
    async def discover(self) -> Hits:
        for action in self._in_order():
            yield DiscoveryHit(label(action), partial(self._run, action), help=_help(action))

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
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
