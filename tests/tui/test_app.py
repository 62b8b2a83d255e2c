"""The frame: screens by number, back, quitting, failures, small terminals."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import pytest
from textual.app import App

import tui
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.machine import Meter
from tests.tui.driving import ready, screen_text, text_of, until
from tui import garbage
from tui.app import LuthierApp
from tui.runs.run_screen import RunScreen
from tui.shared.error_modal import ErrorModal
from tui.shared.footer import KeyFooter
from tui.shared.messages import JobsRead


async def test_numbers_open_the_screens_and_escape_never_quits(
    jobs_by_name: dict[str, Job],
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        for key, place in [("2", "models"), ("3", "serve"), ("1", "runs")]:
            await pilot.press(key)
            assert app.current_mode == place
        await pilot.press("escape", "escape")
        assert app.is_running


async def test_garbage_is_searched_for_again_once_the_first_screen_is_painted() -> None:
    garbage.put_off()
    try:
        async with LuthierApp().run_test() as pilot:
            await ready(pilot)
            assert gc.isenabled()
    finally:
        gc.enable()


async def test_a_screen_keeps_its_place_while_another_is_looked_at(
    jobs_by_name: dict[str, Job],
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("down", "down", "enter")
        assert isinstance(app.screen, RunScreen) and app.screen.job.id == jobs_by_name["pirate"].id
        await pilot.press("2", "1")
        assert isinstance(app.screen, RunScreen)
        await pilot.press("1")
        assert app.current_mode == "runs" and not isinstance(app.screen, RunScreen)


@pytest.mark.parametrize("start", ["runs", "models", "serve", "chat"])
async def test_starts_where_it_is_told(start: str) -> None:
    app = LuthierApp(start_screen=start)
    async with app.run_test() as pilot:
        await pilot.pause()
        assert app.current_mode == start


async def test_header_tells_what_runs(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        assert text_of(app, "#app-state") == "● 3 running   ◌ 1 waiting   ● serving"
        await pilot.resize_terminal(160, 40)
        whole = "● 3 running   ◌ 1 waiting   ● serving captain-server"
        await until(pilot, lambda: text_of(app, "#app-state") == whole)


async def test_jobs_that_are_read_while_the_app_closes_end_nothing(
    jobs_by_name: dict[str, Job],
) -> None:
    app = LuthierApp()
    async with app.run_test() as pilot:
        await ready(pilot)
    app.on_jobs_read(JobsRead(app.rows or [], [], Meter().read()))


async def test_quitting_with_jobs_alive_says_so_once(
    jobs_by_name: dict[str, Job], capsys: pytest.CaptureFixture[str]
) -> None:
    app = LuthierApp()
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("q")
    assert capsys.readouterr().err == "5 jobs keep running. `luthier runs --all` lists them.\n"
    assert app.return_code == 0


async def test_ctrl_c_stops_nothing(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("ctrl+c")
        assert app.is_running and jobs_by_name["pirate"].alive()


async def test_q_is_text_in_an_input_and_ctrl_q_quits_even_there(
    jobs_by_name: dict[str, Job],
) -> None:
    app = LuthierApp()
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("slash", "q", "4")
        assert app.is_running and app.current_mode == "runs"
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not app.is_running)


async def test_a_failure_in_the_background_is_shown_and_can_be_copied() -> None:
    def fail() -> None:
        raise LuthierError("No strings", "The shop is shut.", "Come back on Monday.")

    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        app.screen.in_background(fail)  # type: ignore[attr-defined]  # a LuthierScreen
        await until(pilot, lambda: isinstance(app.screen, ErrorModal))
        await pilot.pause()
        shown = screen_text(app)
        assert (
            "No strings" in shown
            and "The shop is shut." in shown
            and "Come back on Monday." in shown
        )
        await pilot.press("c")
        assert app.clipboard == "No strings: The shop is shut.\nCome back on Monday."
        await pilot.press("x")
        assert not isinstance(app.screen, ErrorModal)


@pytest.mark.parametrize("later", ["set_timer", "call_after_refresh", "call_next"])
async def test_what_a_timer_could_not_do_is_shown_and_the_app_goes_on(later: str) -> None:
    def fail() -> None:
        Path("x" * 300).stat()

    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        if later == "set_timer":
            app.screen.set_timer(0.01, fail)
        else:
            getattr(app.screen.query_one(KeyFooter), later)(fail)
        await until(pilot, lambda: isinstance(app.screen, ErrorModal))
        await until(pilot, lambda: "name is too long" in screen_text(app))
        await pilot.press("x", "2")
        await until(pilot, lambda: app.current_mode == "models")


async def test_an_unexpected_failure_leaves_its_details_in_a_file(home: object) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        app.show_failure(ZeroDivisionError("division by zero"))
        await pilot.pause()
        assert (
            isinstance(app.screen, ErrorModal)
            and app.screen.error.title == "Unexpected ZeroDivisionError"
        )
        assert "crash.log" in app.screen.error.hint


async def test_a_terminal_too_small_says_what_it_needs() -> None:
    app = LuthierApp()
    async with app.run_test(size=(59, 20)) as pilot:
        await ready(pilot)
        assert screen_text(app).split() == ["needs", "60x15"]
        await pilot.resize_terminal(60, 15)
        await pilot.pause()
        assert "Luthier" in screen_text(app)


def test_themes_are_ours_first_and_never_ansi() -> None:
    app: App[None] = LuthierApp()
    assert app.theme == "luthier-dark"
    assert {"luthier-dark", "luthier-light", "luthier-contrast"} <= set(app.available_themes)
    assert not [
        name for name in app.available_themes if name.startswith("ansi") or name.endswith("ansi")
    ]


def test_no_handler_calls_that_of_the_class_above() -> None:
    """Textual calls the handler of each class itself: it would run twice."""
    sources = Path(tui.__path__[0]).rglob("*.py")
    calls = re.compile(r"super\(\)\._?on_")
    assert [path.name for path in sources if calls.search(path.read_text(encoding="utf-8"))] == []
