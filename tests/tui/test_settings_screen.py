"""The screen of settings: what config.toml says, and that nothing invalid gets there."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from textual.widgets import Input

from jobs.job import Job
from tests.tui.driving import lines_of, ready, screen_text, text_of, until
from tui.app import LuthierApp
from tui.runs.runs_screen import RunsScreen
from tui.settings.picker import SettingPicker
from tui.settings.screen import SettingsScreen
from tui.settings.table import SETTINGS
from tui.shared.confirm_modal import ConfirmModal
from tui.shared.path_modal import PathModal
from tui.shared.row_table import RowTable
from workshop import config

pytestmark = pytest.mark.heavy

MINE = (
    '# mine\ntheme = "luthier-light"  # for the day\n\n'
    '[endpoints.own]\nurl = "http://a.example/v1"\n'
)


def table(app: LuthierApp) -> RowTable:
    return app.screen.query_one("#settings", RowTable)


def stored(home: Path) -> dict[str, object]:
    return tomllib.loads((home / "config.toml").read_text())


async def test_a_change_is_saved_at_once_and_comments_stay(home: Path) -> None:
    (home / "config.toml").write_text(MINE)
    app = LuthierApp("settings")
    async with app.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        lines = "\n".join(lines_of(table(app)))
        assert "luthier-light" in lines and "http://a.example/v1" in lines
        table(app).highlight("silent")
        await pilot.press("enter")
        assert app.notices.silent and stored(home)["silent"] is True
        assert "# mine" in (home / "config.toml").read_text()
        await pilot.press("space")
        assert not app.notices.silent
        await pilot.press("backspace")
        assert "silent" not in stored(home)
        table(app).highlight("theme")
        await pilot.press("right")
        assert app.theme == stored(home)["theme"] != "luthier-light"
        assert "# for the day" in (home / "config.toml").read_text()


async def test_a_choice_is_picked_with_its_effect_and_others_follow(
    jobs_by_name: dict[str, Job],
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        runs = app.screen
        assert isinstance(runs, RunsScreen)
        await pilot.press("8")
        table(app).highlight("sort_runs")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, SettingPicker))
        app.screen.query_one(Input).value = "eval"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, SettingsScreen))
        assert config.read() == {"sort_runs": "eval loss"}
        assert runs.sorting.order.column == "eval loss"
        table(app).highlight("training_beside_server")
        await pilot.press("right")
        assert config.read()["training_beside_server"] == "sleep"
        assert "wakes by itself" in text_of(app, "#setting-words")


async def test_what_cannot_be_used_is_shown_and_the_default_holds(home: Path) -> None:
    (home / "config.toml").write_text('theme = "gone"\nsilent = "yes"\ntools = 3\n')
    app = LuthierApp("settings")
    async with app.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        lines = {line.split()[0]: line for line in lines_of(table(app))}
        assert "! luthier-dark  not gone" in lines["theme"] and "! off  not yes" in lines["silence"]
        table(app).highlight("silent")
        await until(pilot, lambda: "neither true nor false" in text_of(app, "#setting-words"))
        table(app).highlight("tools.convert_hf_to_gguf")
        script = home / "convert.py"
        script.touch()
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, PathModal))
        app.screen.query_one(Input).value = str(home / "nowhere.py")
        await pilot.press("enter")
        assert isinstance(app.screen, PathModal) and "No such file" in screen_text(app)
        app.screen.query_one(Input).value = str(script)
        await pilot.press("enter")
        await until(pilot, lambda: "tools is not a table" in screen_text(app))
        assert stored(home)["tools"] == 3


async def test_a_file_that_is_no_toml_is_left_alone(home: Path) -> None:
    (home / "config.toml").write_text("theme =")
    app = LuthierApp("settings")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        assert "config.toml cannot be read" in text_of(app, "#settings-problem")
        table(app).highlight("silent")
        await pilot.press("enter", "space", "backspace", "e")
        assert isinstance(app.screen, SettingsScreen)
    assert (home / "config.toml").read_text() == "theme ="


async def test_an_endpoint_is_forgotten(home: Path) -> None:
    (home / "config.toml").write_text(MINE)
    app = LuthierApp("settings")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        table(app).highlight("endpoint own")
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, ConfirmModal))
        await pilot.press("y")
        await until(pilot, lambda: "own" not in str(stored(home)))
        assert "# mine" in (home / "config.toml").read_text()


async def test_every_default_can_be_used() -> None:
    app = LuthierApp("settings")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        for setting in SETTINGS:
            assert setting.default is None or not setting.problem(app, setting.default)
            assert setting.word_of(app, setting.default) and setting.words.endswith(".")


async def test_headings_get_air_as_soon_as_there_is_room(home: Path) -> None:
    app = LuthierApp("settings")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        for height, has_air in ((40, True), (24, False)):
            await pilot.resize_terminal(80, height)
            await pilot.pause()
            lines = screen_text(app).splitlines()
            above = lines[next(at for at, line in enumerate(lines) if "App" in line) - 1]
            assert (above.strip() == "") is has_air
