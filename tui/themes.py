"""Luthier's colours: a dark and a light theme with one accent, the amber of varnish; one of plain
contrast; and one that takes the terminal's own palette."""

from __future__ import annotations

import os
from collections.abc import Collection

from textual.theme import Theme

from workshop import config

DEFAULT_THEME = "luthier-dark"
LIGHT_THEME = "luthier-light"
PALETTE_THEME = "luthier-terminal"
PALETTE_VARIABLES = {"ansi-background": "ansi_default", "ansi-foreground": "ansi_default"}
"""Textual's style sheets read them, and its own themes of that kind alone have them."""


def _theme(
    name: str,
    dark: bool,
    ink: str,
    muted: str,
    paper: str,
    surface: str,
    panel: str,
    accent: str,
    hues: tuple[str, str, str, str],
) -> Theme:
    blue, green, yellow, red = hues
    return Theme(
        name=name,
        dark=dark,
        primary=accent,
        accent=accent,
        secondary=blue,
        success=green,
        warning=yellow,
        error=red,
        foreground=ink,
        background=paper,
        surface=surface,
        panel=panel,
        text_alpha=1.0,
        variables={
            "foreground-muted": muted,
            "foreground-disabled": muted,
            "text-muted": muted,
            "text-disabled": muted,
            "block-cursor-background": panel,
            "block-cursor-foreground": ink,
            "block-cursor-text-style": "bold",
            "block-cursor-blurred-background": surface,
            "border": accent,
            "border-blurred": panel,
            "footer-background": paper,
            "footer-foreground": ink,
            "footer-item-background": paper,
            "footer-key-background": paper,
            "footer-description-background": paper,
            "footer-key-foreground": accent,
            "input-cursor-background": accent,
            "input-selection-background": f"{accent} 30%",
            "scrollbar": panel,
            "scrollbar-hover": accent,
            "scrollbar-active": accent,
            "scrollbar-background": paper,
            "scrollbar-background-hover": paper,
            "scrollbar-background-active": paper,
            "scrollbar-corner-color": paper,
        },
    )


THEMES = [
    _theme(
        "luthier-dark",
        dark=True,
        ink="#d9d4c8",
        muted="#a09b90",
        paper="#161512",
        surface="#1e1c18",
        panel="#2c2923",
        accent="#e2a458",
        hues=("#7fa8cf", "#93b57a", "#d8bb5a", "#de7a68"),
    ),
    _theme(
        "luthier-light",
        dark=False,
        ink="#2e2a23",
        muted="#635d52",
        paper="#faf7f1",
        surface="#f2ede3",
        panel="#e4dccd",
        accent="#8a4f0c",
        hues=("#2b5f8a", "#3f6826", "#755808", "#a83427"),
    ),
    _theme(
        "luthier-contrast",
        dark=True,
        ink="#ffffff",
        muted="#c8c8c8",
        paper="#000000",
        surface="#000000",
        panel="#3a3a3a",
        accent="#ffb84d",
        hues=("#8cc8ff", "#9cff7a", "#ffe14d", "#ff8f80"),
    ),
    Theme(
        name=PALETTE_THEME,
        ansi=True,
        primary="ansi_magenta",
        accent="ansi_magenta",
        secondary="ansi_cyan",
        success="ansi_green",
        warning="ansi_yellow",
        error="ansi_red",
        foreground="ansi_default",
        background="ansi_default",
        variables={
            **PALETTE_VARIABLES,
            "panel": "ansi_bright_black",
            "foreground-muted": "ansi_bright_black",
            "foreground-disabled": "ansi_bright_black",
            "text-muted": "ansi_bright_black",
            "text-disabled": "ansi_bright_black",
            "block-cursor-background": "ansi_blue",
            "block-cursor-foreground": "ansi_bright_white",
            "block-cursor-blurred-background": "ansi_blue",
            "block-cursor-blurred-foreground": "ansi_bright_white",
            "border": "ansi_magenta",
            "border-blurred": "ansi_bright_black",
            "footer-key-foreground": "ansi_magenta",
            "screen-selection-background": "ansi_blue",
            "screen-selection-foreground": "ansi_bright_white",
            "input-selection-background": "ansi_blue",
            "input-selection-foreground": "ansi_bright_white",
            "scrollbar": "ansi_bright_black",
            "scrollbar-hover": "ansi_magenta",
            "scrollbar-active": "ansi_magenta",
            "scrollbar-background": "ansi_default",
            "scrollbar-background-hover": "ansi_default",
            "scrollbar-background-active": "ansi_default",
        },
    ),
]


def can_be_drawn(theme: Theme) -> bool:
    """Of the themes in the terminal's palette, only Luthier's own; and none without colour, where
    Textual draws them black on black."""
    is_ours_or_users = not theme.name.startswith("ansi-")
    return not theme.ansi or (is_ours_or_users and "NO_COLOR" not in os.environ)


def first_theme(available: Collection[str], is_light: bool, colours: str | None) -> str:
    """The theme to begin with. `colours` is Rich's name of what the terminal can draw: one of 16
    colours draws its own palette, where the others would lose their accents and the cursor."""
    if colours == "standard" and PALETTE_THEME in available:
        return PALETTE_THEME
    return saved_theme(available) or (LIGHT_THEME if is_light else DEFAULT_THEME)


def saved_theme(available: Collection[str]) -> str | None:
    """The theme that config.toml names, if there is such a one."""
    name = config.read().get("theme")
    return name if isinstance(name, str) and name in available else None


def save_theme(theme: Theme) -> None:
    """Remember the theme in config.toml."""
    config.save("theme", theme.name)
