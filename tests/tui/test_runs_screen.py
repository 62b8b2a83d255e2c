"""The list of runs and other jobs."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import cast

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from jobs.home import home
from jobs.job import Job, damaged_jobs, find
from jobs.spec import Kind
from models import chapters
from models.events import Step
from tests.tui import folders
from tests.tui.certificates import chapter
from tests.tui.driving import lines_of, ready, screen_text, text_of, until, visible
from tui.app import LuthierApp
from tui.new_run.screen import NewRunScreen
from tui.runs.run_screen import RunScreen
from tui.runs.runs_screen import RunsScreen
from tui.shared.confirm_modal import ConfirmModal
from tui.shared.row_table import RowTable
from workshop import job_list
from workshop.job_list import read_rows, seconds_left
from workshop.runs.eval_losses import NO_EVAL_LOSSES


def test_rows_say_step_loss_and_time_left(jobs_by_name: dict[str, Job]) -> None:
    rows = {row.name: row for row in read_rows({})}
    pirate = rows["pirate"]
    assert (pirate.step, pirate.total) == (340, 800)
    assert pirate.seconds_left is not None and abs(pirate.seconds_left - 460 * 1.7) < 1
    assert rows["captain"].seconds_left is None
    assert [row.name for row in job_list.tuned(rows.values())] == ["captain"]


def test_an_ended_job_is_read_again_only_when_its_events_grow(jobs_by_name: dict[str, Job]) -> None:
    first = {row.id: row for row in read_rows({})}
    second = {row.id: row for row in read_rows(first)}
    captain, pirate = jobs_by_name["captain"].id, jobs_by_name["pirate"].id
    assert second[captain] is first[captain] and second[pirate] is not first[pirate]
    folders.begin(jobs_by_name["captain"], 5)
    assert {row.id: row for row in read_rows(first)}[captain] is not first[captain]


def test_a_chapter_that_is_made_again_changes_its_runs_row(jobs_by_name: dict[str, Job]) -> None:
    captain = jobs_by_name["captain"]
    chapters.write(captain.directory, chapter("guard", "green"))
    first = {row.id: row for row in read_rows({})}
    chapters.write(captain.directory, chapter("guard", "red"))
    again = {row.id: row for row in read_rows(first)}
    assert first[captain.id].standing.verdict is None
    assert again[captain.id].standing.verdict == "red"


async def test_every_state_has_glyph_and_word(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        lines = lines_of(app.screen.query_one("#jobs", RowTable))
    signs = [
        "◐ stopping",
        "◔ starting",
        "● running",
        "◌ queued",
        "? lost",
        "✗ failed",
        "✓ done",
        "■ stopped",
        "Other jobs",
        "● running",
        "✓ done",
    ]
    assert all(sign in line for sign, line in zip(signs, lines, strict=True))
    assert "saving a checkpoint" in lines[0] and "next, waits for pirate-00ff on gpu-0" in lines[3]
    assert (
        "340/800" in lines[2] and "0.910" in lines[2] and "13 m" in lines[2] and "10 m" in lines[2]
    )
    assert "Out of memory" in lines[5]


async def test_the_empty_list_names_the_next_key() -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        assert "n starts a run" in text_of(app, "#empty")
        await pilot.press("n")
        assert isinstance(app.screen, NewRunScreen)


@pytest.mark.heavy
async def test_no_job_has_more_than_seven_hints(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        for _ in jobs_by_name:
            shown = [
                active.binding
                for active in app.screen.active_bindings.values()
                if active.binding.show and active.enabled
            ]
            assert len({binding.id for binding in shown}) <= 9  # with help and quit
            await pilot.press("down")


async def a_stopping_run_is_stopped_at_once(pilot: Pilot[None], app: LuthierApp) -> None:
    await pilot.press("s")
    assert isinstance(app.screen, ConfirmModal) and app.screen.question == "Stop halting at once?"
    await pilot.press("escape")


async def hints_are_what_can_be_done_now(pilot: Pilot[None], app: LuthierApp) -> None:
    await pilot.press("end")
    await pilot.pause()
    assert "s stop" not in screen_text(app).splitlines()[-1]
    for _ in range(3):
        await pilot.press("up")
    await pilot.pause()
    assert "v serve" in screen_text(app).splitlines()[-1]
    await pilot.press("home")


async def stop_asks_first(
    pilot: Pilot[None], app: LuthierApp, jobs_by_name: dict[str, Job]
) -> None:
    await pilot.press("down", "down", "s")
    assert isinstance(app.screen, ConfirmModal)
    assert (
        "It saves a checkpoint first" in app.screen.message
        and "R resumes from there" in app.screen.message
    )
    await pilot.press("n")
    assert jobs_by_name["pirate"].alive()
    await pilot.press("home")


async def enter_opens_the_run_and_escape_comes_back(pilot: Pilot[None], app: LuthierApp) -> None:
    await pilot.press("enter")
    assert isinstance(app.screen, RunScreen)
    await pilot.press("escape")
    assert isinstance(app.screen, RunsScreen)


async def filter_narrows_and_is_cleared_by_escape(pilot: Pilot[None], app: LuthierApp) -> None:
    table = app.screen.query_one("#jobs", RowTable)
    await pilot.press("slash")
    app.screen.query_one("#filter", Input).value = "captain done"
    await pilot.press("enter")
    assert len(lines_of(table)) == 1 and visible(app.screen.query_one("#filter"))
    app.screen.query_one("#filter", Input).value = "zither"
    await pilot.pause()
    assert "Nothing matches zither." in screen_text(app)
    await pilot.press("escape")
    assert len(lines_of(table)) == 11 and not visible(app.screen.query_one("#filter"))
    await pilot.press("home")


async def the_cursor_stays_on_its_job(
    pilot: Pilot[None], app: LuthierApp, jobs_by_name: dict[str, Job]
) -> None:
    await pilot.press("j", "j", "k")
    table = app.screen.query_one("#jobs", RowTable)
    assert table.highlighted_id == jobs_by_name["parrot"].id
    folders.make_job("newest", 11, age=1)
    rows = app.rows
    app.read_jobs()
    await until(pilot, lambda: app.rows is not rows)
    await pilot.pause()
    assert table.highlighted_id == jobs_by_name["parrot"].id and len(lines_of(table)) == 12


async def enter_on_a_server_goes_to_serve(pilot: Pilot[None], app: LuthierApp) -> None:
    await pilot.press("end", "up", "enter")
    assert app.current_mode == "serve"


async def test_the_list_and_its_keys_at_80x24(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await a_stopping_run_is_stopped_at_once(pilot, app)
        await hints_are_what_can_be_done_now(pilot, app)
        await stop_asks_first(pilot, app, jobs_by_name)
        await enter_opens_the_run_and_escape_comes_back(pilot, app)
        await filter_narrows_and_is_cleared_by_escape(pilot, app)
        await the_cursor_stays_on_its_job(pilot, app, jobs_by_name)
        await enter_on_a_server_goes_to_serve(pilot, app)


async def test_hints_can_be_clicked(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.pause()
        hints = screen_text(app).splitlines()[-1]
        await pilot.click(offset=(hints.index("new run"), 23))
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen))
        await pilot.press("escape")
        await pilot.click("#app-state")
        await pilot.click(offset=(screen_text(app).splitlines()[0].index("Models"), 0))
        await until(pilot, lambda: app.current_mode == "models")


async def test_delete_shows_size_and_path_and_deletes(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        await pilot.press("end", "up", "up", "d")
        await until(pilot, lambda: isinstance(app.screen, ConfirmModal))
        assert isinstance(app.screen, ConfirmModal)
        assert (
            str(jobs_by_name["first-try"].directory) in app.screen.message
            and "kB" in app.screen.message
        )
        await pilot.press("y")
        await until(pilot, lambda: not jobs_by_name["first-try"].directory.exists())
        await until(pilot, lambda: all(row.name != "first-try" for row in app.rows or []))


async def test_enter_opens_the_marked_runs_once_and_an_unmarked_one_alone(
    jobs_by_name: dict[str, Job],
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        table = screen.query_one(RowTable)
        for name in ("captain", "pirate"):
            table.highlight(jobs_by_name[name].id)
            await pilot.press("space")
        table.highlight(jobs_by_name["too-large"].id)
        await pilot.press("enter")
        assert isinstance(app.screen, RunScreen)
        assert (app.screen.job.id, app.screen.overlaid) == (jobs_by_name["too-large"].id, [])
        await pilot.press("escape")
        assert screen.marked == [jobs_by_name["captain"].id, jobs_by_name["pirate"].id]
        table.highlight(jobs_by_name["pirate"].id)
        await pilot.press("enter")
        assert isinstance(app.screen, RunScreen)
        assert app.screen.job.id == jobs_by_name["captain"].id
        assert screen.marked == []


async def test_other_jobs_stand_below_the_runs_and_say_what_they_are(home: Path) -> None:
    """As the demo leaves them: a server and an import by the names of runs, newer than these."""
    for number, (name, kind) in enumerate(
        [("captain", "run"), ("builtin", "run"), ("captain", "server"), ("builtin", "import")], 1
    ):
        job = folders.make_job(name, number, age=100.0 - number, kind=cast(Kind, kind))
        folders.begin(job, 90)
        folders.write(job, folders.event("exited", 80, code=0, stopped=True, swept=0))
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        table = app.screen.query_one("#jobs", RowTable)
        lines = lines_of(table)
        assert [line.split()[0] for line in lines] == [
            "builtin",
            "captain",
            "Other",
            "builtin",
            "captain",
        ]
        assert "import" in lines[3] and "server" in lines[4]
        assert table.highlighted_id == "20261118-0002-builtin-00ff"
        assert find("captain").spec.kind == "run" and find("captain", "server").id in table_ids(
            table
        )


def table_ids(table: RowTable) -> list[str | None]:
    return [option.id for option in table.options.options]


_ROOM = {80: (), 120: ("model", "loss"), 160: ("model", "learning rate", "loss")}


async def test_the_wider_the_list_the_more_columns(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(min(_ROOM), 40)) as pilot:
        await ready(pilot)
        table = app.screen.query_one("#jobs", RowTable)
        for width, columns in _ROOM.items():
            await pilot.resize_terminal(width, 40)
            await pilot.pause()
            titles = text_of(app, "#jobs .row-titles")
            columns_shown = [
                title for title in ("model", "learning rate", " loss") if title in titles
            ]
            line = str(table.options.get_option(jobs_by_name["captain"].id).prompt)
            assert "1.030" in line and len(line) <= width
            assert [title.strip() for title in columns_shown if title != " loss"] == [
                title for title in columns if title != "loss"
            ]
            assert ("0.950" in line) == ("loss" in columns)


async def test_runs_are_sorted_by_a_key_and_a_title_and_stay_so(
    jobs_by_name: dict[str, Job],
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        table = app.screen.query_one("#jobs", RowTable)
        newest = table_ids(table)

        def names() -> list[str]:
            return [line.split()[0] for line in lines_of(table)[:8]]

        await pilot.press("S")
        assert names() == sorted(names())
        await pilot.press("I")
        assert names() == sorted(names(), reverse=True)
        assert table.highlighted_id == jobs_by_name["halting"].id  # the cursor stays on its run
        titles = text_of(app, "#jobs .row-titles")
        await pilot.click("#jobs .row-titles", offset=(1 + titles.index("eval loss"), 0))
        assert names()[:3] == ["pirate", "captain", "first-try"]
        await pilot.click("#jobs .row-titles", offset=(1 + titles.index("eval loss"), 0))
        assert names()[:3] == ["first-try", "pirate", "captain"]  # those without one stay last
        await pilot.pause()
    again = LuthierApp()
    async with again.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        table = again.screen.query_one("#jobs", RowTable)
        assert names()[:3] == ["first-try", "pirate", "captain"]
        await pilot.click("#jobs .row-titles", offset=(1 + titles.index("eval loss"), 0))
        assert table_ids(table) == newest


async def test_a_baseline_is_pinned_and_others_are_shown_against_it(
    jobs_by_name: dict[str, Job],
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        table = app.screen.query_one("#jobs", RowTable)
        table.highlight(jobs_by_name["parrot"].id)
        await pilot.press("b")
        assert "parrot has no eval loss yet" in next(note.message for note in app._notifications)
        table.highlight(jobs_by_name["first-try"].id)
        await pilot.press("b")
        lines = {line.split()[0]: line for line in lines_of(table)}
        assert "pinned" in lines["first-try"]
        assert "-0.497" in lines["captain"] and "-" not in lines["rebooted"]
        await pilot.pause()
        assert tomllib.loads((home() / "config.toml").read_text()) == {
            "baseline_run": jobs_by_name["first-try"].id
        }
        await pilot.press("b")
        assert "pinned" not in str(lines_of(table)) and "baseline" not in text_of(
            app, "#jobs .row-titles"
        )


def test_the_best_eval_loss_is_of_the_whole_file_and_of_what_still_holds() -> None:
    job = folders.make_job("long", 1, age=100)
    folders.begin(job, 90)
    folders.write(job, folders.event("eval", 80, step=0, loss=0.1))  # the base model's
    for step, loss in ((1, 3.0), (2, 0.5), (3, 0.4), (4, "nan")):
        folders.write(job, folders.event("eval", 80, step=step, loss=loss))
    losses = NO_EVAL_LOSSES.read_on(job.events_path)
    assert losses.best == 0.4
    folders.write(job, folders.event("resumed", 70, step=2))
    with job.events_path.open("a") as file:
        file.write('{"t": 1795000000.0, "kind": "eval", "step": 3, "lo')
    losses = losses.read_on(job.events_path)
    assert losses.best == 0.5
    with job.events_path.open("a") as file:
        file.write('ss": 0.3}\n')
    assert losses.read_on(job.events_path).best == 0.3
    assert read_rows({})[0].eval_loss == 0.3


def test_the_time_left_of_a_row_counts_the_evaluations_that_are_due() -> None:
    job = folders.make_job("captain", 3, age=90)
    planned = {"evaluations": 4, "seconds": 200.0}
    folders.write(job, folders.event("plan", 89, evaluation=planned))
    read = NO_EVAL_LOSSES.read_on(job.events_path)
    assert read.seconds_due == 200.0  # nothing is measured yet: as the plan has it
    for number, seconds in ((0, 20.0), (5, 40.0), (10, None)):
        folders.write(job, folders.event("eval", 80, step=number, loss=1.0, seconds=seconds))
    read = read.read_on(job.events_path)
    assert read.seconds_due == 30.0
    folders.write(job, folders.event("resumed", 70, step=5))
    read = read.read_on(job.events_path)
    assert read.seconds_due == 60.0
    steps = [Step(step=step, total=10, t=2.0 * step) for step in (6, 7)]
    assert seconds_left(steps, read.seconds_due) == 3 * 2.0 + 60.0
    last = [Step(step=step, total=10, t=2.0 * step) for step in (9, 10)]
    assert seconds_left(last, 0.0) is None  # it is being saved


def test_a_job_that_is_damaged_while_the_app_looks_on_is_named(
    jobs_by_name: dict[str, Job],
) -> None:
    """An ended job is not read again, but for a spec that was written anew."""
    rows = {row.id: row for row in read_rows({})}
    assert damaged_jobs(rows) == []
    (jobs_by_name["captain"].directory / "spec.json").write_text("{")
    after = {row.id: row for row in read_rows(rows)}
    assert set(rows) - set(after) == {jobs_by_name["captain"].id}
    assert [damaged.id for damaged in damaged_jobs(after)] == [jobs_by_name["captain"].id]
    assert [*after] == [*sorted(after, key=[*rows].index)]
