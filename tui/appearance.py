"""The app's themes: Luthier's, Textual's and the user's own; which one it begins with, and how
another one is chosen."""

from __future__ import annotations

from textual.app import App
from textual.filter import LineFilter
from textual.theme import Theme

from tui import themes
from tui.user_themes import read_themes


class Appearance:
    """`is_light`: whether the terminal is, for a user who has chosen nothing yet."""

    def __init__(self, app: App[None], is_light: bool) -> None:
        self._app = app
        self._is_choosing = False
        self._palette_filter: LineFilter | None = None
        for theme in themes.THEMES:
            app.register_theme(theme)
        users_themes, self.problems = read_themes(app.available_themes)
        """What is wrong with the user's files of themes, in words."""
        for theme in users_themes:
            app.register_theme(theme)
        self._begin_with(
            themes.first_theme(app.available_themes, is_light, app.console.color_system)
        )
        self._kept = app.theme

    def _begin_with(self, name: str) -> None:
        """Set the theme as Textual does, but for its second parse of all CSS and its second paint:
        nothing is drawn yet."""
        app = self._app
        app.set_reactive(App.theme, name)
        theme = app.current_theme
        app.set_class(True, f"-theme-{theme.name}", update=False)
        app.set_class(theme.dark, "-dark-mode", update=False)
        app.set_class(not theme.dark, "-light-mode", update=False)
        app._refresh_truecolor_filter(app.ansi_theme)
        app.stylesheet.set_variables(app.get_css_variables())
        self._fit_filters(theme)

    def _fit_filters(self, theme: Theme) -> None:
        filters = [each for each in self._app._filters if each is not self._palette_filter]
        if theme.name == themes.PALETTE_THEME:
            from tui.shared.palette_filter import PaletteFilter

            self._palette_filter = self._palette_filter or PaletteFilter()
            filters.append(self._palette_filter)
        self._app._filters = filters

    def begin(self) -> None:
        """Remember from now on what is chosen."""
        self._app.theme_changed_signal.subscribe(self._app, self._theme_changed)

    def _theme_changed(self, theme: Theme) -> None:
        self._fit_filters(theme)
        self._remember(theme)

    def choose(self) -> None:
        from tui.shared.theme_picker import ThemePicker

        def chosen(name: str | None) -> None:
            self._is_choosing = False
            if name is not None:
                self._app.theme = name
                self._remember(self._app.current_theme)

        self._is_choosing = True
        self._app.push_screen(ThemePicker(), chosen)

    def _remember(self, theme: Theme) -> None:
        if self._is_choosing or theme.name == self._kept:  # only looked at
            return
        self._kept = theme.name
        try:
            themes.save_theme(theme)
        # a settings file that cannot be written, or that is no TOML
        except (OSError, ValueError) as error:
            self._app.notify(f"The theme was not saved: {error}", severity="warning")
