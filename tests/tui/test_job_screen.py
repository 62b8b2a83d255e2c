"""The screen of a job that is no run, driven by writing its events."""

from __future__ import annotations

import asyncio

from jobs.job import Job
from tests.tui import folders
from tests.tui.driving import ready, screen_text, text_of, until
from tests.tui.lock_holder import held
from tui.app import LuthierApp
from tui.runs.chart_board import ChartBoard
from tui.runs.job_screen import JobScreen
from tui.runs.run_screen import RunScreen
from tui.shared.log_panel import LogPanel
from tui.shared.phase_lines import phase_lines


def certify_job(run: Job) -> Job:
    job = folders.make_job("captain-certificate", 20, age=200, kind="certify", log="one\ntwo\n")
    folders.orders(job, {"run": str(run.directory), "model": "builtin"})
    folders.begin(job, 200)
    folders.write(
        job,
        folders.event("phase", 190, name="loading transformers", seconds_left=25.0),
        folders.event("phase", 150, name="the base model in vLLM", done=1, total=28),
        folders.event("phase", 120, name="the base model in vLLM", done=7, total=28),
    )
    return Job(job.directory)  # which reads its orders


async def test_a_certificate_that_is_made_shows_its_phases(jobs_by_name: dict[str, Job]) -> None:
    job, app = certify_job(jobs_by_name["captain"]), LuthierApp()
    with held(job):
        async with app.run_test(size=(120, 35)) as pilot:
            await ready(pilot)
            app.open_job(job)
            await until(pilot, lambda: "loading transformers" in screen_text(app))
            assert not app.screen.query(ChartBoard)
            lines = text_of(app, "#job-phase-lines").splitlines()
            assert [line.split("  ")[0] for line in lines] == [
                "✓ loading transformers",
                "◔ the base model in vLLM",
            ]
            assert lines[0].rstrip().endswith("40 s")
            assert "7 of 28" in lines[1]
            assert "two" in screen_text(app)


async def test_one_that_is_done_shows_what_came_of_it_and_leads_to_its_run(
    jobs_by_name: dict[str, Job],
) -> None:
    job, app = certify_job(jobs_by_name["captain"]), LuthierApp()
    reasons = ["A stop token was never trained."]
    folders.write(
        job,
        folders.event("result", 90, verdict="red", reasons=reasons, certificate="/x/c.json"),
        folders.event("exited", 90, code=0, stopped=False, swept=0),
    )
    async with app.run_test(size=(120, 35)) as pilot:
        await ready(pilot)
        app.open_job(job)
        await until(pilot, lambda: "✗ red" in screen_text(app))
        text = screen_text(app)
        assert "A stop token was never trained." in text
        title = text_of(app, "#job-title")
        assert title == "captain-certificate   ✓ done   certificate   1 m 49 s   1 m ago"
        assert "◔" not in text_of(app, "#job-phase-lines")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        assert app.screen.job.id == jobs_by_name["captain"].id  # type: ignore[attr-defined]


async def test_its_log_can_be_searched_and_esc_ends_the_search(
    jobs_by_name: dict[str, Job],
) -> None:
    job, app = certify_job(jobs_by_name["captain"]), LuthierApp()
    async with app.run_test(size=(120, 35)) as pilot:
        await ready(pilot)
        app.open_job(job)
        await until(pilot, lambda: isinstance(app.screen, JobScreen))
        await until(pilot, lambda: app.focused is not None)
        await pilot.press("slash", "t", "w", "o", "enter")
        panel = app.screen.query_one(LogPanel)
        await until(pilot, lambda: "1 of 1" in panel.matches)
        await pilot.press("escape")
        assert panel.matches == "" and isinstance(app.screen, JobScreen)
        await pilot.press("escape")
        await asyncio.sleep(0)
        assert not isinstance(app.screen, JobScreen)


def test_a_job_without_phases_has_no_lines() -> None:
    assert phase_lines([], folders.NOW) == []
