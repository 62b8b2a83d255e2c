"""The theme is remembered in config.toml, beside whatever else stands there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tui.driving import ready, until
from tui import themes
from tui.app import LuthierApp

NAMES = [theme.name for theme in themes.THEMES]
first_theme = themes.first_theme  # conftest puts another in its place
saved_theme = themes.saved_theme


def test_saving_keeps_what_else_is_there(home: Path) -> None:
    (home / "config.toml").write_text(
        '# mine\ntheme = "nord"\n[trainer]\npython = "/usr/bin/python3"\n'
    )
    themes.save_theme(themes.THEMES[1])
    assert (
        home / "config.toml"
    ).read_text() == '# mine\ntheme = "luthier-light"\n[trainer]\npython = "/usr/bin/python3"\n'
    assert saved_theme(NAMES) == "luthier-light"


@pytest.mark.parametrize("text", ["", "theme = 3", 'theme = "gone"', "theme ="])
def test_a_file_that_names_no_theme_is_no_obstacle(home: Path, text: str) -> None:
    (home / "config.toml").write_text(text)
    assert saved_theme(NAMES) is None


async def test_choosing_a_theme_remembers_it_and_starting_does_not(home: Path) -> None:
    app = LuthierApp()
    async with app.run_test() as pilot:
        await ready(pilot)
        assert not (home / "config.toml").exists()
        app.theme = "luthier-light"
        await until(pilot, (home / "config.toml").exists)


async def test_a_damaged_file_is_left_as_it_is(home: Path) -> None:
    (home / "config.toml").write_text("theme =")
    app = LuthierApp()
    async with app.run_test() as pilot:
        await ready(pilot)
        app.theme = "luthier-light"
        await until(pilot, lambda: any("not saved" in note.message for note in app._notifications))
    assert (home / "config.toml").read_text() == "theme ="
