"""Luthier's colours: a dark and a light theme with one accent, the amber of varnish, and a pair of
plain contrast."""

from __future__ import annotations

from collections.abc import Collection

from textual.theme import Theme

from workshop import config

DEFAULT_THEME = "luthier-dark"


def _theme(
    name: str,
    dark: bool,
    ink: str,
    paper: str,
    surface: str,
    panel: str,
    accent: str,
    others: tuple[str, str, str, str],
) -> Theme:
    blue, green, yellow, red = others
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
        paper="#161512",
        surface="#1e1c18",
        panel="#2c2923",
        accent="#e2a458",
        others=("#7fa8cf", "#93b57a", "#d8bb5a", "#de7a68"),
    ),
    _theme(
        "luthier-light",
        dark=False,
        ink="#2e2a23",
        paper="#faf7f1",
        surface="#f2ede3",
        panel="#e4dccd",
        accent="#9a5a10",
        others=("#2d638f", "#47732c", "#85650a", "#b1392b"),
    ),
    _theme(
        "luthier-contrast",
        dark=True,
        ink="#ffffff",
        paper="#000000",
        surface="#000000",
        panel="#3a3a3a",
        accent="#ffb84d",
        others=("#8cc8ff", "#9cff7a", "#ffe14d", "#ff8f80"),
    ),
]


def saved_theme(available: Collection[str]) -> str:
    """The theme that config.toml names, if there is such a one."""
    name = config.read().get("theme")
    return name if isinstance(name, str) and name in available else DEFAULT_THEME


def save_theme(theme: Theme) -> None:
    """Remember the theme in config.toml."""
    config.save("theme", theme.name)
