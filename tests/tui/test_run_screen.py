"""The screen of one run, driven by writing its events."""

from __future__ import annotations

import math
from pathlib import Path

from textual.pilot import Pilot

from jobs.job import Job
from tests.tui import folders
from tests.tui.driving import ready, screen_text, text_of, until, visible
from tui.app import LuthierApp
from tui.log_index import LogIndex
from tui.run_record import RunRecord
from tui.screens.run import RunScreen
from tui.series import Series, Span, columns, smoothed
from tui.widgets.chart import LossChart
from tui.widgets.error_modal import ErrorModal
from tui.widgets.log_view import LogView


def test_a_long_series_stays_small_and_keeps_its_peaks() -> None:
    series = Series()
    for x in range(100_000):
        series.append(x, 9.0 if x == 54_321 else 1.0 + 0.1 * math.sin(x))
    assert len(series.buckets) <= 2048
    assert max(bucket.high for bucket in series.buckets) == 9.0
    assert sum(bucket.count for bucket in series.buckets) == 100_000
    drawn = columns(series, Span(0, 100_000), 160)
    assert len(drawn) == 160 and max(bucket.high for _, bucket in drawn) == 9.0


def test_a_loss_that_is_no_number_is_left_out() -> None:
    record = RunRecord()
    record.add(folders.event("step", 1, step=1, total=2, loss="nan"))
    record.add(folders.event("step", 1, step=2, total=2, loss=float("inf")))
    assert record.train.buckets == [] and record.step == 2


def test_a_resumed_run_takes_its_last_steps_again() -> None:
    record = RunRecord()
    for step in range(1, 11):
        record.add(folders.event("step", 100 - step, step=step, total=20, loss=1.0))
    record.add(folders.event("eval", 90, step=10, loss=1.0))
    record.add(folders.event("resumed", 80, step=6))
    assert [bucket.start for bucket in record.train.buckets] == [1, 2, 3, 4, 5, 6] and record.evals == []


def test_the_smoothed_line_neither_lags_nor_bends() -> None:
    series = Series()
    for x in range(100):
        series.append(x, 2.0 * x)
    line = smoothed(columns(series, Span(0, 99), 100), reach=5)
    assert all(abs(value - 2.0 * column) < 1e-9 for column, value in line)


def test_the_log_index_reads_lines_as_a_terminal_shows_them(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_bytes(b"first\r\n 10%\r 99%\r100%\n\x1b[32mgreen\x1b[0m\ttab\nunfin")
    index = LogIndex(path)
    assert index.extend() and len(index) == 4
    assert [index.line(number) for number in range(4)] == ["first", "100%", "green   tab", "unfin"]
    with path.open("ab") as file:
        file.write(b"ished\nnext\n")
    assert index.extend() and not index.extend()
    assert [index.line(3), index.line(4)] == ["unfinished", "next"] and len(index) == 5


async def open_run(pilot: Pilot[None], app: LuthierApp, job: Job) -> RunScreen:
    app.open_run(job)
    screen = app.screen
    assert isinstance(screen, RunScreen)
    await until(pilot, lambda: screen.is_mounted and bool(screen.query(LogView)))
    await pilot.pause()
    return screen


async def test_it_shows_the_figures_and_follows_new_steps(made: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        screen = await open_run(pilot, app, made["pirate"])
        await until(pilot, lambda: screen.is_mounted and "340 / 800" in text_of(app, "Figures"))
        figures = text_of(app, "Figures")
        for shown in ("0.910", "1.030", "1.27", "441", "9 m 59 s", "13 m 02 s"):
            assert shown in figures
        assert visible(screen.query_one(LossChart)) and visible(screen.query_one(LogView))
        step = {
            "step": 341,
            "total": 800,
            "epoch": 1.28,
            "loss": 0.777,
            "learning_rate": 1e-4,
            "grad_norm": 1.0,
            "tokens_per_second": 440.0,
        }
        folders.write(made["pirate"], folders.event("step", 0, **step))
        screen.advance()
        assert "341 / 800" in text_of(app, "Figures") and "0.777" in text_of(app, "Figures")


async def test_while_it_starts_the_phase_and_its_time_are_shown(made: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        screen = await open_run(pilot, app, made["parrot"])
        await until(pilot, lambda: "loading the model  1 m 00 s" in text_of(app, "#run-title"))
        assert not visible(screen.query_one(LossChart))


async def test_a_failed_run_says_why_and_e_shows_the_log(made: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await open_run(pilot, app, made["too-large"])
        await until(pilot, lambda: "Out of memory. The model needs 31.2 GB" in text_of(app, "#run-error"))
        await pilot.press("e")
        assert isinstance(app.screen, ErrorModal)
        await until(pilot, lambda: "RuntimeError: out of memory" in screen_text(app))


async def test_the_log_follows_until_scrolled_up_and_again_at_the_end(made: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        screen = await open_run(pilot, app, made["pirate"])
        log = screen.query_one(LogView)
        await until(pilot, lambda: "step 340 of 800" in screen_text(app))
        await pilot.press("k", "k")
        assert not log.following
        with made["pirate"].log_path.open("a") as file:
            file.write("a new line\n")
        screen.advance()
        await pilot.pause()
        assert "a new line" not in screen_text(app)
        await pilot.press("G")
        assert log.following
        await until(pilot, lambda: "a new line" in screen_text(app))


async def test_it_rests_while_another_screen_is_looked_at(made: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        screen = await open_run(pilot, app, made["pirate"])
        await pilot.pause()
        assert screen._timer is not None and screen._timer._active.is_set()
        await pilot.press("2")
        await pilot.pause()
        assert not screen._timer._active.is_set()


async def test_its_keys_work_at_80x24(made: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        screen = await open_run(pilot, app, made["pirate"])
        await pilot.pause()
        log = screen.query_one(LogView)
        places = []
        for key in ("home", "j", "ctrl+d", "ctrl+u", "k", "f"):
            await pilot.press(key)
            places.append(log.scroll_offset.y)
        page = places[2] - 1
        assert page > 1 and places == [0, 1, 1 + page, 1, 0, log.max_scroll_y]
        await pilot.press("y", "c")
        assert screen.query_one(LossChart).logarithmic and app.clipboard == str(made["pirate"].directory)
        for key in ("s", "question_mark"):
            await pilot.press(key)
            assert app.screen is not screen
            await pilot.press("escape")
            assert app.screen is screen
