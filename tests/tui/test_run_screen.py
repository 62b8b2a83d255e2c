"""The screen of a run, driven by writing its events. A test walks through one opened run in steps,
each of which leaves the screen as the next one needs it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from jobs.job import Job
from models.standing import NO_CERTIFICATE, Standing
from tests.tui import folders
from tests.tui.driving import lines_of, ready, screen_text, text_of, until, visible
from tests.tui.run_events import eventful
from tui.app import LuthierApp
from tui.runs import run_view
from tui.runs.chart import Chart
from tui.runs.export_modal import ExportModal
from tui.runs.facts import Figures
from tui.runs.header import next_steps
from tui.runs.overlay_modal import OverlayModal
from tui.runs.run_screen import RunScreen
from tui.runs.samples_panel import SamplesPanel
from tui.runs.timeline import Timeline
from tui.shared.certificate_modal import CertificateModal
from tui.shared.error_modal import ErrorModal
from tui.shared.log_view import LogView
from tui.shared.row_table import RowTable
from tui.shared.text_pane import TextPane
from workshop import number_format


async def open_run(pilot: Pilot[None], app: LuthierApp, job: Job, *others: Job) -> RunScreen:
    await ready(pilot)
    app.open_run(job, others)
    screen = app.screen
    assert isinstance(screen, RunScreen)
    await until(pilot, lambda: screen.is_mounted and bool(screen.query(LogView)))
    await pilot.pause()
    return screen


async def open_log(pilot: Pilot[None], app: LuthierApp, job: Job) -> RunScreen:
    screen = await open_run(pilot, app, job)
    screen.panels.choose("log")
    await pilot.pause()
    return screen


def readout(app: LuthierApp) -> str:
    return text_of(app, "#readout")


def big_title(screen: RunScreen) -> str:
    return str(screen.query_one("#big-panel").border_title)


async def test_its_head_has_the_phase_the_age_of_the_last_step_and_a_stall(
    jobs_by_name: dict[str, Job],
) -> None:
    """Its last step is of 2 s before, a usual one takes 1.7 s."""
    app, job = LuthierApp(), jobs_by_name["pirate"]
    os.utime(job.log_path, (folders.NOW - 2, folders.NOW - 2))
    with pytest.MonkeyPatch.context() as clock:
        async with app.run_test(size=(140, 40)) as pilot:
            screen = await open_run(pilot, app, job)
            await until(pilot, lambda: "training" in text_of(app, "#run-title"))
            assert "last step" not in text_of(app, "#run-title")
            phase = folders.event("phase", 1, name="evaluating: answers 1 to 3 of 3")
            folders.write(job, phase)
            clock.setattr(number_format, "now", lambda: folders.NOW + 60)
            screen.advance()
            title = text_of(app, "#run-title")
            assert "evaluating: answers 1 to 3 of 3   last step 1 m ago" in title
            assert "stalled" not in title
            clock.setattr(number_format, "now", lambda: folders.NOW + 240)
            screen.advance()
            title = text_of(app, "#run-title")
            assert "stalled? silent for 4 m   last step 4 m ago" in title
            os.utime(job.log_path, (folders.NOW + 235, folders.NOW + 235))
            screen.advance()
            title = text_of(app, "#run-title")
            assert "stalled" not in title and "last step 4 m ago" in title


async def the_log_follows_its_end(pilot: Pilot[None], screen: RunScreen, job: Job) -> None:
    app = screen.app
    log = screen.query_one(LogView)
    await until(pilot, lambda: "step 340 of 800" in screen_text(app))
    await pilot.press("k", "k")
    assert not log.following
    with job.log_path.open("a") as file:
        file.write("a new line\n")
    screen.advance()
    await pilot.pause()
    assert "a new line" not in screen_text(app)
    await pilot.press("G")
    assert log.following
    await until(pilot, lambda: "a new line" in screen_text(app))


async def text_is_looked_for_in_the_log(pilot: Pilot[None], screen: RunScreen, job: Job) -> None:
    app = screen.app
    log = screen.query_one(LogView)
    await until(pilot, lambda: "step 340 of 800" in screen_text(app))
    assert log.check_action("find_next", ()) is False
    await pilot.press("slash")
    screen.query_one("#log-search", Input).value = "STEP 12"
    await pilot.press("enter")
    assert log.found == "11 of 11"
    await until(pilot, lambda: "'STEP 12' 11 of 11" in str(screen.panels.border_title))
    assert "step 129 of 800" in screen_text(app) and not log.following
    await pilot.press("N")
    assert log.found == "10 of 11"
    await pilot.press("n", "n")
    assert log.found == "1 of 11" and "step 12 of 800" in screen_text(app)
    with job.log_path.open("a") as file:
        file.write("step 1200 at last\n")
    screen.advance()
    assert log.found == "1 of 12"
    await pilot.press("escape")
    assert log.search is None and app.screen is screen


async def its_keys_work(pilot: Pilot[None], screen: RunScreen, job: Job) -> None:
    app = screen.app
    log = screen.query_one(LogView)
    places = []
    for key in ("home", "j", "ctrl+d", "ctrl+u", "k", "f"):
        await pilot.press(key)
        places.append(log.scroll_offset.y)
    page = places[2] - 1
    assert page > 1 and places == [0, 1, 1 + page, 1, 0, log.max_scroll_y]
    await pilot.press("y", "c")
    assert screen.board.view.logarithmic and app.clipboard == str(job.directory)
    for key in ("s", "question_mark", "o", "x"):
        await pilot.press(key)
        assert app.screen is not screen
        await pilot.press("escape")
        assert app.screen is screen
    await pilot.press("y")


async def figures_follow_new_steps(pilot: Pilot[None], screen: RunScreen, job: Job) -> None:
    app = screen.app
    await until(
        pilot, lambda: screen.is_mounted and "340 / 800" in app.screen.query_one(Figures).text
    )
    shown_figures = app.screen.query_one(Figures).text
    for figure in ("0.910", "1.030", "1.27", "441", "9 m 59 s", "13 m 02 s"):
        assert figure in shown_figures
    assert visible(screen.board.big) and visible(screen.query_one(LogView))
    step = {
        "step": 341,
        "total": 800,
        "epoch": 1.28,
        "loss": 0.777,
        "learning_rate": 1e-4,
        "tensor_bytes": 1_234_000_000,
    }
    folders.write(job, folders.event("step", 0, **step))
    screen.advance()
    shown_figures = app.screen.query_one(Figures).text
    assert all(figure in shown_figures for figure in ("341 / 800", "0.777", "1.234 GB"))


async def it_rests_behind_another_screen(pilot: Pilot[None], screen: RunScreen) -> None:
    assert screen._poll is not None and screen._poll._active.is_set()
    await pilot.press("2")
    await pilot.pause()
    assert not screen._poll._active.is_set()


async def test_the_log_and_the_keys_at_80x24(jobs_by_name: dict[str, Job]) -> None:
    job = jobs_by_name["pirate"]
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await open_log(pilot, app, job)
        await the_log_follows_its_end(pilot, screen, job)
        await text_is_looked_for_in_the_log(pilot, screen, job)
        await its_keys_work(pilot, screen, job)
        await figures_follow_new_steps(pilot, screen, job)
        await it_rests_behind_another_screen(pilot, screen)


async def test_while_it_starts_the_phase_and_its_time_are_shown(
    jobs_by_name: dict[str, Job],
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await open_run(pilot, app, jobs_by_name["parrot"])
        await until(pilot, lambda: "loading the model  1 m 00 s" in text_of(app, "#run-title"))
        assert not visible(screen.board.big) and "Waiting for the first step" in screen_text(app)
        assert screen.check_action("do", ("zoom", 0.5)) is False


async def test_a_run_that_ended_names_what_is_next_and_ends_its_chart(
    jobs_by_name: dict[str, Job],
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        screen = await open_run(pilot, app, jobs_by_name["captain"])
        next_line = "next   a chat   t certificate none yet   v serve"
        await until(pilot, lambda: text_of(app, "#run-error") == next_line)
        line = screen.query_one("#run-error")
        assert visible(line)
        await pilot.click(line, offset=(next_line.index("certificate"), 0))
        await until(pilot, lambda: isinstance(app.screen, CertificateModal))
        await pilot.press("escape")
        app.pop_screen()
        screen = await open_run(pilot, app, jobs_by_name["first-try"])
        await until(pilot, lambda: "1 d" in app.screen.query_one(Figures).text)
        assert screen.board.view.end == 120 and "120 / 400" in app.screen.query_one(Figures).text


@pytest.mark.heavy
async def test_no_state_has_more_than_seven_hints(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        for name in ("captain", "pirate", "too-large", "rebooted", "first-try"):
            screen = await open_run(pilot, app, jobs_by_name[name])
            visible_bindings = [
                each for each in screen.active_bindings.values() if each.binding.show
            ]
            hints = {each.binding.id for each in visible_bindings if each.enabled}
            assert len(hints) <= 9, hints  # with help and quit
            app.pop_screen()


async def samples_are_walked_and_compared(pilot: Pilot[None], screen: RunScreen, job: Job) -> None:
    app = screen.app
    samples = screen.query_one(SamplesPanel)
    await until(pilot, lambda: "friend" in screen_text(app))
    assert "prompt 1 of 2   step 300  6 of 6" in text_of(
        app, "#samples-head"
    ) and "matey" in screen_text(app)
    await pilot.press("comma", "comma")
    assert samples.step == 200 and "the gold lies beneath the palm on Skull Island." in screen_text(
        app
    )
    await pilot.press("d", "d")
    assert "what differs from the answer before" in text_of(
        app, "#samples-head"
    ) and "answer at step 150" in screen_text(app)
    await pilot.press("p")
    assert "mend the sails" in screen_text(app) and "prompt 2 of 2" in text_of(app, "#samples-head")
    sample = {"step": 350, "index": 1, "prompt": "", "reference": "", "answer": "A newer one."}
    folders.write(job, folders.event("sample", 0, **sample))
    screen.advance()
    assert samples.step == 200  # the reader stays where he was
    await pilot.press("full_stop", "full_stop", "full_stop")
    assert samples.step == 350 and "A newer one." in screen_text(app)


async def the_timeline_goes_to_its_step(pilot: Pilot[None], screen: RunScreen) -> None:
    screen.panels.choose("timeline")
    await pilot.pause()
    lines = lines_of(screen.query_one(Timeline))
    assert any(
        "out of memory: micro-batch 2, accumulation 8" in line and "1.2 GB more" in line
        for line in lines
    )
    assert any("resumed from step 200" in line for line in lines)
    assert (
        sum("removed" in line for line in lines) == 4 and "checkpoint, the best so far" in lines[-1]
    )
    await pilot.press("home", "down", "enter")
    assert screen.board.cursor == 8
    await pilot.press("escape")


async def the_data_panel_has_the_totals(pilot: Pilot[None], screen: RunScreen) -> None:
    app = screen.app
    screen.panels.choose("data")
    await until(pilot, lambda: "samples to train" in screen_text(app))
    text = screen_text(app)
    for total in ("2,200", "91.7 %", "merged roles", "920.0 k (50 %)", "9 checks passed"):
        assert total in text


async def the_cursor_reads_exact_values(pilot: Pilot[None], screen: RunScreen, job: Job) -> None:
    app = screen.app
    await until(pilot, lambda: "step 340" in readout(app))
    await pilot.press("b")
    assert screen.board.cursor == 300
    steps = {
        step["step"]: step
        for step in map(json.loads, job.events_path.read_text().splitlines())
        if step["kind"] == "step"
    }
    assert f"loss {steps[300]['loss']:#.6g}" in readout(
        app
    ) and "★ checkpoint, the best so far" in readout(app)
    assert "300 / 800" in app.screen.query_one(Figures).text and "at step 300" in str(
        screen.query_one("#figures-panel").border_title
    )
    await pilot.press("right")
    assert (screen.board.cursor or 0) > 300
    await pilot.press("escape")
    assert screen.board.cursor is None and app.screen is screen
    big = screen.board.big
    await pilot.hover(big, offset=(big.picture.left + 10, 4))
    await until(pilot, lambda: screen.board.cursor is not None)
    assert f"loss {steps[screen.board.cursor or 0]['loss']:#.6g}" in readout(app)
    await pilot.hover(LogView)
    await until(pilot, lambda: screen.board.cursor is None)


async def test_a_runs_past_is_read_in_its_panels_and_charts(jobs_by_name: dict[str, Job]) -> None:
    job = jobs_by_name["pirate"]
    eventful(job)
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        screen = await open_run(pilot, app, job)
        await samples_are_walked_and_compared(pilot, screen, job)
        await the_timeline_goes_to_its_step(pilot, screen)
        await the_data_panel_has_the_totals(pilot, screen)
        await the_cursor_reads_exact_values(pilot, screen, job)


async def test_without_a_cursor_the_last_step_that_is_seen_is_read(
    jobs_by_name: dict[str, Job],
) -> None:
    events = map(json.loads, jobs_by_name["captain"].events_path.read_text().splitlines())
    losses = {event["step"]: event["loss"] for event in events if event["kind"] == "step"}
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        screen = await open_run(pilot, app, jobs_by_name["captain"])
        await until(pilot, lambda: "step 300" in readout(app))
        await pilot.press("plus", "plus", "H")
        last = int(screen.board.view.span.high)
        assert last < 300
        assert f"step {last}" in readout(app) and f"loss {losses[last]:#.6g}" in readout(app)


async def zoom_pan_and_smoothing(pilot: Pilot[None], screen: RunScreen) -> None:
    app = screen.app
    await until(pilot, lambda: "step 340" in readout(app))
    await pilot.press("m")
    assert "smoothed over 50 steps" in big_title(screen)
    await pilot.press("M", "M", "M", "M", "M")
    assert "smoothed" not in big_title(screen) and "smoothed" not in readout(app)
    await pilot.press("plus")
    assert "steps " in big_title(screen) and screen.board.view.span.width == 400
    before = screen.board.view.span
    await pilot.press("shift+left")
    assert screen.board.view.span.low < before.low
    await pilot.press("left", "left")
    assert screen.board.view.span.low <= (screen.board.cursor or 0) <= screen.board.view.span.high
    await pilot.press("0")
    assert not screen.board.view.zoomed
    await pilot.press("escape")


async def the_wheel_zooms_where_it_points(pilot: Pilot[None], screen: RunScreen) -> None:
    app = screen.app
    await until(pilot, lambda: "step 340" in readout(app))
    board, big = screen.board, screen.board.big
    big.post_message(Chart.Zoomed(0.5, 100.0))
    await until(pilot, lambda: board.view.zoomed)
    assert board.view.span.place(100) == 100 / 800
    await pilot.press("0")
    left = big.picture.left
    await pilot.mouse_down(big, offset=(left + 10, 3))
    await pilot.hover(big, offset=(left + 40, 3))
    await pilot.mouse_up(big, offset=(left + 40, 3))
    await until(pilot, lambda: board.view.zoomed)
    steps_a_cell = 800 / big.picture.columns
    assert (
        abs(board.view.span.low - 10.5 * steps_a_cell) < 1
        and abs(board.view.span.high - 40.5 * steps_a_cell) < 1
    )
    assert isinstance(screen.focused, LogView)
    await pilot.press("0", "escape")


async def another_chart_becomes_large(pilot: Pilot[None], screen: RunScreen) -> None:
    app = screen.app
    await until(pilot, lambda: "step 340" in readout(app))
    await pilot.press("tab")
    assert big_title(screen).startswith("eval loss") and "eval loss 1.03030 at 300" in readout(app)
    await pilot.press("shift+tab")
    assert big_title(screen).startswith("loss")
    small = [chart for chart in screen.query("#small-charts Chart").results(Chart) if chart.display]
    assert [chart.key for chart in small] == [
        "eval_loss",
        "learning_rate",
        "grad_norm",
        "tokens_per_second",
        "tensor_bytes",
    ]
    await pilot.click(small[1])
    await until(pilot, lambda: big_title(screen).startswith("learning rate"))
    assert isinstance(screen.focused, LogView)
    await pilot.press("z")
    await until(
        pilot,
        lambda: not visible(screen.query_one(LogView)) and screen.board.big.size.height > 25,
    )
    await pilot.press("escape")
    await until(pilot, lambda: visible(screen.query_one(LogView)))


async def test_the_charts_are_zoomed_and_chosen(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        screen = await open_log(pilot, app, jobs_by_name["pirate"])
        await zoom_pan_and_smoothing(pilot, screen)
        await the_wheel_zooms_where_it_points(pilot, screen)
        await another_chart_becomes_large(pilot, screen)


def test_the_verdict_stands_beside_the_certificates_key() -> None:
    possible = {"chat": True, "certificate": True, "serve": True, "export": False}
    line = next_steps(possible, Standing("green"), is_being_certified=False)
    assert str(line) == "next   a chat   t certificate ✓ green   v serve"
    line = next_steps(possible, NO_CERTIFICATE, is_being_certified=False)
    assert "t certificate none yet   v serve" in str(line)
    nothing = dict.fromkeys(possible, False)
    assert not next_steps(nothing, Standing("green"), is_being_certified=False)


async def test_a_lost_run_does_not_age(jobs_by_name: dict[str, Job]) -> None:
    """It began 3,999 s before now and told its last of 40 steps 3,930 s before."""
    app = LuthierApp()
    with pytest.MonkeyPatch.context() as clock:
        async with app.run_test(size=(140, 40)) as pilot:
            screen = await open_run(pilot, app, jobs_by_name["rebooted"])
            for later, age in ((0, "1 h ago"), (7200, "3 h ago")):
                clock.setattr(number_format, "now", lambda later=later: folders.NOW + later)
                screen.advance()
                assert "1 m 09 s" in app.screen.query_one(Figures).text
                assert age in app.screen.query_one(Figures).text
                assert f"Last heard from {age}" in text_of(app, "#run-error")


async def test_a_failed_run_says_why_and_e_shows_the_log(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await open_run(pilot, app, jobs_by_name["too-large"])
        await until(
            pilot, lambda: "Out of memory. The model needs 31.2 GB" in text_of(app, "#run-error")
        )
        assert "No step was taken" in screen_text(app) and screen.check_action("do", ("resume",))
        await pilot.press("e")
        assert isinstance(app.screen, ErrorModal)
        await until(pilot, lambda: "RuntimeError: out of memory" in screen_text(app))


async def test_a_long_past_is_read_in_a_thread_with_its_progress(
    jobs_by_name: dict[str, Job], monkeypatch: object
) -> None:
    job = folders.make_job("long", 40, age=9_000)
    folders.begin(job, 9_000)
    folders.steps(job, 5_000, 6_000, ago=8_990)
    long = run_view._LONG
    run_view._LONG = 1000
    try:
        app = LuthierApp()
        async with app.run_test(size=(80, 24)) as pilot:
            screen = await open_run(pilot, app, job)
            assert screen.view.tracks[0].reader is None or screen.record.step == 5_000
            await until(pilot, lambda: screen.record.step == 5_000 and visible(screen.board.big))
            folders.write(job, folders.event("step", 0, step=5_001, total=6_000, loss=0.5))
            screen.advance()
            assert "5,001 / 6,000" in app.screen.query_one(Figures).text
    finally:
        run_view._LONG = long


# Several runs


async def test_runs_are_drawn_over_each_other_with_what_differs(
    jobs_by_name: dict[str, Job],
) -> None:
    for name, rate in (("pirate", 1e-4), ("captain", 2e-4)):
        recipe = f'name = "{name}"\nmodel = "builtin"\n[train]\nlearning_rate = {rate}\nseed = 42\n'
        (jobs_by_name[name].directory / "recipe.toml").write_text(recipe)
        print_of = {
            "data": {f"/data/{name}.jsonl": [12_345, "ab" * 16]},
            "samples": {},
            "model": {},
            "devices": ["cpu"],
        }
        versions = {"torch": "2.13.0", "trl": "1.14.2" if name == "pirate" else "1.14.1"}
        text = json.dumps({**print_of, "recipe": {}, "template": name * 4, "versions": versions})
        (jobs_by_name[name].directory / "fingerprint.json").write_text(text)
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        screen = await open_run(pilot, app, jobs_by_name["pirate"])
        await pilot.press("o")
        assert isinstance(app.screen, OverlayModal)
        boxes = app.screen.query_one("CheckList")
        rows = [
            row
            for row in app.rows or []
            if row.kind == "run" and row.id != jobs_by_name["pirate"].id
        ]
        boxes.select(jobs_by_name["captain"].id)  # type: ignore[attr-defined]
        assert len(rows) > 3
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen and len(screen.view.tracks) == 2)
        await until(pilot, lambda: "learning_rate" in screen_text(app))
        text = screen.query_one("#panel-differs TextPane", TextPane).text
        for shown in (
            "● pirate",
            "○ captain",
            "train.learning_rate",
            "1.14.1",
            "captaincapta",
            "abababababab",
            "settings are the same",
        ):
            assert shown in text
        assert "train.seed" not in text
        signs = {cell.text for row in screen.board.big.picture.rows for cell in row}
        assert {"●", "○"} <= signs
        assert "step 340" in readout(app) and readout(app).endswith(" at 300")  # captain's last
        screen.board.show_step(200)
        assert "● pirate 0.987800 (0.984395)" in readout(
            app
        ) and "○ captain 0.987800 (0.984395)" in readout(app)
        await pilot.press("o")
        app.screen.query_one("CheckList").deselect_all()  # type: ignore[attr-defined]
        await pilot.press("enter")
        await until(pilot, lambda: len(screen.view.tracks) == 1)
        assert screen.panels.current == "samples"


async def test_marked_runs_of_the_list_are_drawn_over_each_other(
    jobs_by_name: dict[str, Job],
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        table = app.screen.query_one(RowTable)
        for name in ("captain", "pirate"):
            table.highlight(jobs_by_name[name].id)
            await pilot.press("space")
        assert "● captain" in screen_text(app) and "○ pirate" in screen_text(app)
        table.highlight(jobs_by_name["first-try"].id)
        await pilot.press("space", "enter")
        screen = app.screen
        assert isinstance(screen, RunScreen)
        await until(
            pilot,
            lambda: (
                [track.name for track in screen.view.tracks] == ["captain", "pirate", "first-try"]
            ),
        )
        await pilot.press("escape")
        await until(pilot, lambda: "● captain" not in screen_text(app))


async def test_no_more_than_four_runs_are_drawn(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await open_run(
            pilot,
            app,
            jobs_by_name["pirate"],
            jobs_by_name["captain"],
            jobs_by_name["first-try"],
            jobs_by_name["halting"],
            jobs_by_name["rebooted"],
        )
        assert [track.slot for track in screen.view.tracks] == [0, 1, 2, 3]
        await pilot.press("o")
        app.screen.query_one("CheckList").select_all()  # type: ignore[attr-defined]
        await pilot.press("enter")
        assert isinstance(app.screen, OverlayModal)
        await until(pilot, lambda: "At most 3 runs" in screen_text(app))


# Export


async def test_x_writes_the_charts(jobs_by_name: dict[str, Job], tmp_path: Path) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await open_run(pilot, app, jobs_by_name["pirate"])
        await pilot.press("x")
        modal = app.screen
        assert isinstance(modal, ExportModal)
        field = modal.query_one("#field-file Input", Input)
        field.value = str(tmp_path / "no" / "where.svg")
        await pilot.press("enter")
        await until(pilot, lambda: "It was not written" in text_of(app, "#form-error"))
        field.value = str(tmp_path / "loss.svg")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen)
        assert (tmp_path / "loss.svg").read_text().startswith("<svg")
