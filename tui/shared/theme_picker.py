"""Choosing the colours: each theme is shown while the cursor is on it, and esc brings the old one
back."""

from __future__ import annotations

from textual import on
from textual.content import Content
from textual.theme import Theme
from textual.timer import Timer
from textual.widgets import OptionList

from tui.shared.pick_modal import Pick, PickModal

_SETTLE_SECONDS = 0.06
"""A theme is drawn once the cursor stays on it: all styles are read again for it."""


class ThemePicker(PickModal[str, str]):
    """Gives back the theme's name; None leaves the one that was there."""

    heading = "Colours"

    def __init__(self) -> None:
        super().__init__()
        self._before = ""
        self._timer: Timer | None = None

    def on_mount(self) -> None:
        self._before = self.app.theme
        themes = sorted(self.app.available_themes.values(), key=_order)
        picks = [Pick(theme.name, _line(theme), theme.name) for theme in themes]
        self.set_picks(picks)
        names = [theme.name for theme in themes]
        if self._before in names:
            self.query_one(OptionList).highlighted = names.index(self._before)

    @on(OptionList.OptionHighlighted)
    def show_theme(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(_SETTLE_SECONDS, self._preview)

    def _preview(self) -> None:
        pick = self.highlighted
        if pick is not None and self.is_current:
            self.app.theme = pick.value

    def take(self) -> None:
        if self.highlighted is not None:
            self.dismiss(self.highlighted.value)

    def action_close(self) -> None:
        self.app.theme = self._before
        self.dismiss(None)


def _order(theme: Theme) -> tuple[bool, str]:
    """Luthier's own first."""
    return (not theme.name.startswith("luthier-"), theme.name)


def _line(theme: Theme) -> Content:
    kind = "the terminal's colours" if theme.ansi else _brightness(theme)
    return Content.assemble((f"{theme.name:<24}", ""), (kind, "$foreground-muted"))


def _brightness(theme: Theme) -> str:
    return "dark" if theme.dark else "light"
