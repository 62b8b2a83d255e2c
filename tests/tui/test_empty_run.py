"""What stands on the screen of a run where there is nothing to show: what will come, or that
nothing will."""

from __future__ import annotations

import pytest

from jobs.job import Job
from tests.tui import folders
from tests.tui.driving import ready, screen_text, until
from tests.tui.lock_holder import held
from tests.tui.test_run_screen import open_run
from tui.app import LuthierApp
from tui.runs.overlay_modal import OverlayModal
from tui.runs.timeline import Timeline
from tui.shared.log_view import LogView


async def test_empty_panels_say_what_will_fill_them(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await open_run(pilot, app, jobs_by_name["parrot"])
        assert "The first evaluation brings them" in screen_text(app)
        for keys, panel, text in (
            (["right_square_bracket"], "log", "The log is empty"),
            (["right_square_bracket"] * 2, "data", "The data is not prepared yet"),
        ):
            await pilot.press(*keys)
            assert screen.panels.current == panel
            await until(pilot, lambda text=text: text in screen_text(app))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "true_text", "false_text"),
    [("pirate", "none yet", "not measured"), ("captain", "not measured", "none yet")],
)
async def test_a_chart_without_a_point_says_whether_one_may_come(
    jobs_by_name: dict[str, Job], name: str, true_text: str, false_text: str
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(200, 60)) as pilot:
        await open_run(pilot, app, jobs_by_name[name])
        await until(pilot, lambda: "tensor memory" in screen_text(app))
        await until(pilot, lambda: true_text in screen_text(app))
        charts = "\n".join(screen_text(app).splitlines()[5:])  # the title has the certificate
        assert false_text not in charts


async def test_nothing_is_promised_of_a_run_that_has_ended(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await open_run(pilot, app, jobs_by_name["too-large"])
        screen.panels.choose("samples")
        await until(pilot, lambda: "No sample answers." in screen_text(app))
        screen.panels.choose("data")
        await until(
            pilot, lambda: "The run ended before its data was prepared." in screen_text(app)
        )


async def test_a_certificate_that_is_being_made_is_not_none(jobs_by_name: dict[str, Job]) -> None:
    run = jobs_by_name["captain"]
    maker = folders.make_job("captain-certificate", 1700, 5, "certify")
    folders.orders(maker, {"run": str(run.directory)})
    app = LuthierApp()
    with held(maker):
        async with app.run_test(size=(120, 35)) as pilot:
            await open_run(pilot, app, run)
            await until(pilot, lambda: "t certificate is being made" in screen_text(app))
    app = LuthierApp()
    async with app.run_test(size=(120, 35)) as pilot:
        await open_run(pilot, app, run)
        await until(pilot, lambda: "t certificate none yet" in screen_text(app))


async def test_a_failed_run_shows_its_log_first(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(120, 35)) as pilot:
        await ready(pilot)
        screen = await open_run(pilot, app, jobs_by_name["too-large"])
        assert screen.panels.current == "log"
        await until(pilot, lambda: isinstance(app.focused, LogView))
        await pilot.press("right_square_bracket")
        assert screen.panels.query_one(Timeline).display


async def test_nothing_is_drawn_over_the_only_run() -> None:
    only = folders.make_job("captain", 1, age=0)
    folders.begin(only, 0)
    app = LuthierApp()
    async with app.run_test(size=(120, 35)) as pilot:
        await ready(pilot)
        screen = await open_run(pilot, app, only)
        await pilot.press("o")
        assert app.screen is screen
        assert [toast.message for toast in app._notifications] == ["Overlay needs another run."]
        another = folders.make_job("pirate", 2, age=0)
        folders.begin(another, 0)
        app.read_jobs()
        await until(pilot, lambda: len(app.rows or []) == 2)
        await pilot.press("o")
        assert isinstance(app.screen, OverlayModal)
