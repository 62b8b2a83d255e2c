"""The user's own themes: a TOML file each, in the home's `themes` folder. One that cannot be used
is left out and named in words, so that it never stops the start."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from rich.errors import StyleSyntaxError
from rich.style import Style
from textual.color import Color, ColorParseError
from textual.theme import Theme

from jobs.home import home
from jobs.near import did_you_mean
from tui.themes import PALETTE_VARIABLES

_COLOURS = (
    *("primary", "secondary", "warning", "error", "success", "accent"),
    *("foreground", "background", "surface", "panel", "boost"),
)
_SWITCHES = ("dark", "ansi")
_KEYS = ("name", *_COLOURS, *_SWITCHES, "variables")


class _Unusable(Exception):
    """What is wrong with a theme's file, in words."""


def read_themes(names: Collection[str]) -> tuple[list[Theme], list[str]]:
    """The themes that can be used, and a sentence for each file that cannot. `names` are those of
    the themes that there are already."""
    themes: list[Theme] = []
    problems: list[str] = []
    for path in sorted((home() / "themes").glob("*.toml")):
        try:
            theme = _read(path)
            if theme.name in {*names, *(other.name for other in themes)}:
                raise _Unusable(f"there is another theme named {theme.name!r}")
        except _Unusable as error:
            problems.append(f"themes/{path.name}: {error}.")
        else:
            themes.append(theme)
    return themes, problems


def _read(path: Path) -> Theme:
    import tomllib

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _Unusable(str(error).rstrip(".")) from None
    for key in content:
        if key not in _KEYS:
            raise _Unusable(
                f"{key!r} is not a key of a theme. {did_you_mean(key, _KEYS)}".rstrip(" .")
            )
    for key in _COLOURS:
        if key in content:
            _check_colour(key, content[key])
    for key in _SWITCHES:
        if not isinstance(content.get(key, True), bool):
            raise _Unusable(f"{key} is true or false")
    if "primary" not in content:
        raise _Unusable("it needs the colour `primary`")
    name = content.setdefault("name", path.stem)
    if not isinstance(name, str) or not name.isprintable() or not name.strip():
        raise _Unusable("name is a word")
    _check_variables(content.get("variables", {}))
    if content.get("ansi"):
        content["variables"] = PALETTE_VARIABLES | content.get("variables", {})
    return Theme(**content)


def _check_colour(key: str, text: object) -> None:
    try:
        Color.parse(text if isinstance(text, str) else "")
    except ColorParseError:
        raise _Unusable(
            f'{key} is not a colour: {text!r}. Colours read "#e2a458" or "red"'
        ) from None


def _check_variables(variables: Any) -> None:
    """Only what Textual's style sheets read, each of its kind: anything else would break them."""
    if not isinstance(variables, dict):
        raise _Unusable("variables is a table")
    for key, text in variables.items():
        if key not in _variable_names():
            hint = did_you_mean(key, _variable_names())
            raise _Unusable(f"{key!r} is not a variable of a theme. {hint}".rstrip(" ."))
        if not key.endswith("-style"):
            _check_colour(key, text)
            continue
        try:
            style = Style.parse(text if isinstance(text, str) else "red")
        except StyleSyntaxError:
            style = Style(color="red")
        if style.color is not None or style.bgcolor is not None or style.link is not None:
            raise _Unusable(
                f'{key} is not a text style: {text!r}. Styles read "bold" or "underline"'
            )


@cache
def _variable_names() -> frozenset[str]:
    return frozenset(Theme("plain", primary="#808080").to_color_system().generate())
