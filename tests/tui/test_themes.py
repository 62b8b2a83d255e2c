"""The theme is remembered in config.toml, beside whatever else stands there."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.color import Color

from jobs.job import Job
from tests.tui.driving import ready, screen_text, until
from tests.tui.every_screen import painted
from tui import themes
from tui.app import LuthierApp
from tui.shared.palette_filter import PaletteFilter

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


def test_the_terminal_decides_until_somebody_chooses(home: Path) -> None:
    assert first_theme(NAMES, is_light=False, colours="truecolor") == "luthier-dark"
    assert first_theme(NAMES, is_light=True, colours="truecolor") == "luthier-light"
    assert first_theme(NAMES, is_light=True, colours="standard") == "luthier-terminal"
    themes.save_theme(themes.THEMES[0])
    assert first_theme(NAMES, is_light=True, colours="truecolor") == "luthier-dark"


@pytest.mark.parametrize("name", [theme.name for theme in themes.THEMES if not theme.ansi])
def test_every_text_colour_stands_out(name: str) -> None:
    theme = next(theme for theme in themes.THEMES if theme.name == name)
    colours = theme.to_color_system().generate()
    texts = (
        *("foreground", "foreground-muted", "foreground-disabled", "text-muted", "text-disabled"),
        *("primary", "secondary", "success", "warning", "error", "accent"),
    )
    faint = {
        (text, paper): round(ratio, 2)
        for text in texts
        for paper in ("background", "surface", "panel")
        if (ratio := contrast(Color.parse(colours[text]), Color.parse(colours[paper]))) < 4.5
    }
    assert faint == {}


@pytest.mark.parametrize("place", ["runs", "models", "serve", "chat", "data", "board", "settings"])
@pytest.mark.heavy
async def test_without_unicode_all_is_ascii(jobs_by_name: dict[str, Job], place: str) -> None:
    app = LuthierApp(place, ascii_only=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await painted(pilot)
        assert {character for character in screen_text(app) if not character.isascii()} == set()


async def test_a_theme_is_shown_while_the_cursor_is_on_it(home: Path) -> None:
    app = LuthierApp()
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("ctrl+t")
        await pilot.press("up")
        await until(pilot, lambda: app.theme == "luthier-contrast")
        await pilot.press("escape")
        assert app.theme == "luthier-dark" and not (home / "config.toml").exists()
        await pilot.press("ctrl+t", "down")
        await until(pilot, lambda: app.theme == "luthier-light")
        await pilot.press("enter")
        await until(pilot, (home / "config.toml").exists)
        assert 'theme = "luthier-light"' in (home / "config.toml").read_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("primary = ", "Invalid value"),
        ("dark = true", "it needs the colour `primary`"),
        ('primary = "amber-ish"', "primary is not a colour: 'amber-ish'"),
        ('primray = "#fff"', "Did you mean primary?"),
        ('primary = "#fff"\ndark = "yes"', "dark is true or false"),
        ('primary = "#fff"\nname = "nord"', "another theme named 'nord'"),
        ('primary = "#fff"\nvariables = 3', "variables is a table"),
        ('primary = "#fff"\n[variables]\nborder-blured = "red"', "Did you mean border-blurred"),
        ('primary = "#fff"\n[variables]\nborder = "red; x"', "border is not a colour"),
        ('primary = "#fff"\n[variables]\nlink-style = "loud"', "link-style is not a text style"),
    ],
)
async def test_a_users_theme_that_is_broken_is_named_once(
    home: Path, text: str, words: str
) -> None:
    (home / "themes").mkdir()
    (home / "themes" / "mine.toml").write_text(text)
    app = LuthierApp()
    async with app.run_test() as pilot:
        await ready(pilot)
        (note,) = app._notifications
        assert note.message.startswith("themes/mine.toml: ") and words in note.message
        assert "mine" not in app.available_themes


async def test_a_users_theme_is_drawn(home: Path) -> None:
    (home / "themes").mkdir()
    (home / "themes" / "mine.toml").write_text(
        'primary = "#0af"\nbackground = "#000033"\n[variables]\nblock-cursor-text-style = "bold"\n'
    )
    app = LuthierApp()
    async with app.run_test() as pilot:
        await ready(pilot)
        app.theme = "mine"
        await pilot.pause()
        await until(pilot, lambda: app.screen.background_colors[1].hex == "#000033")


async def test_sixteen_colours_have_a_cursor(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test() as pilot:
        await ready(pilot)
        app.theme = themes.PALETTE_THEME
        await pilot.pause()
        await pilot.press("down")
        lines = app.screen._compositor.render_strips()
        cursor_rows = {
            line.text
            for line in lines
            if any(
                segment.style and segment.style.bgcolor and segment.style.bgcolor.number == 4
                for segment in line
            )
        }
        assert len(cursor_rows) == 1, cursor_rows
        assert all(
            colour is None or colour.is_default or colour.is_system_defined
            for line in lines
            for segment in line
            if segment.style
            for colour in (segment.style.color, segment.style.bgcolor)
        )


def contrast(ink: Color, paper: Color) -> float:
    """WCAG's ratio, of what is seen where the ink is transparent."""
    lights = sorted(_light(colour) for colour in (paper + ink, paper))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _light(colour: Color) -> float:
    parts = [
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4
        for part in colour.normalized
    ]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


async def test_every_word_under_the_cursor_has_its_ink_in_the_terminals_colours(
    jobs_by_name: dict[str, Job],
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(120, 24)) as pilot:
        await ready(pilot)
        app.theme = themes.PALETTE_THEME
        await pilot.pause()
        recolour, background = app._filters[-1], app.screen.background_colors[0]
        inks = {
            (style.bgcolor.name, style.color.name)
            for strip in app.screen._compositor.render_strips()
            for text, style, _ in strip.apply_filter(recolour, background)
            if text.strip() and style and style.bgcolor and style.color
        }
        assert {ink for paper, ink in inks if paper == "color(4)"} == {"bright_white"}
        app.theme = "luthier-dark"
        await pilot.pause()
        assert not any(isinstance(each, PaletteFilter) for each in app._filters)
