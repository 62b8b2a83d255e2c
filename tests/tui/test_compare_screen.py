"""Comparisons in the app: the list, the form, and the report prompt by prompt."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input

from jobs.job import Job
from tests.tui import comparisons
from tests.tui.driving import lines_of, ready, screen_text, text_of, until
from tests.tui.lock_holder import held
from tui.app import LuthierApp
from tui.compare.form import CompareForm, prompts_name
from tui.compare.report_screen import ReportScreen
from tui.compare.screen import CompareScreen
from tui.shared.check_list import CheckList
from tui.shared.error_modal import ErrorModal
from tui.shared.row_table import RowTable
from tui.shared.text_pane import TextPane
from workshop.comparison.compare import Order
from workshop.comparison.reports import REPORT_JSON

pytestmark = pytest.mark.heavy


def pane(app: LuthierApp) -> str:
    return app.screen.query_one(TextPane).text


async def test_the_list_says_how_far_each_is_and_shows_the_figures(
    jobs_by_name: dict[str, Job],
) -> None:
    comparisons.compared()
    job = comparisons.asking()
    app = LuthierApp("compare")
    with held(job):
        async with app.run_test(size=(140, 40)) as pilot:
            await ready(pilot)
            lines = lines_of(app.screen.query_one("#comparisons", RowTable))
            assert "11/32" in lines[0] and "held-out conversations" in lines[0]
            assert "3 prompts" in lines[1] and "base, captain-00ff" in lines[1]
            assert "The report comes with the last answer." in pane(app)
            await pilot.press("down")
            await until(pilot, lambda: "+37.7 [+29, +46.4]" in pane(app))
            assert "34% to 100%" in pane(app) and "red certificate" in pane(app)


async def test_a_report_is_read_prompt_by_prompt(jobs_by_name: dict[str, Job]) -> None:
    comparisons.compared()
    app = LuthierApp("compare")
    async with app.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: "Answers" in pane(app))
        await pilot.press("enter")
        assert isinstance(app.screen, ReportScreen)
        assert "prompt 1 of 3" in text_of(app, "#question") and "mend the sails below" in pane(app)
        first = next(line for line in screen_text(app).splitlines() if "reference" in line)
        assert "base" in first and "captain" in first  # side by side
        await pilot.press("left")
        assert "prompt 3 of 3" in text_of(app, "#question")
        assert "The connection was lost." in pane(app) and "reference" not in pane(app)
        await pilot.press("t")
        assert "Against the references" in pane(app)
        await pilot.press("t", "d", "c", "escape")
        assert isinstance(app.screen, CompareScreen)


async def test_a_report_says_why_and_leads_to_the_flips(jobs_by_name: dict[str, Job]) -> None:
    comparisons.explained()
    app = LuthierApp("compare")
    async with app.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: "In short" in pane(app))
        assert "2 of 12 prompts flipped" in pane(app) and "Why captain differs" in pane(app)
        await pilot.press("enter")
        assert "shorter" in text_of(app, "#question") and "flipped" not in text_of(app, "#question")
        await pilot.press("n")
        head = text_of(app, "#question")
        assert "prompt 5 of 12" in head and "flipped" in head and "refuses now" in head
        await pilot.press("n")
        assert "prompt 9 of 12" in text_of(app, "#question")
        await pilot.press("n")
        assert "prompt 5 of 12" in text_of(app, "#question")


async def test_a_new_one_is_ordered_by_a_form(
    jobs_by_name: dict[str, Job], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordered: list[Order] = []

    def start(order: Order) -> Job:
        ordered.append(order)
        return jobs_by_name["captain"]

    monkeypatch.setattr("tui.compare.form.start_comparison", start)
    (home / "prompts.txt").write_text("Hello?\n")
    app = LuthierApp("compare")
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        assert "Nothing has been compared yet." in screen_text(app)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, CompareForm))
        form = app.screen
        assert isinstance(form, CompareForm)
        assert form.query_one(CheckList).selected == [jobs_by_name["captain"].id]
        await pilot.press("enter")
        assert "which file?" in screen_text(app)
        form.field("prompts").query_one(Input).value = str(home / "prompts.txt")
        form.field("limit").query_one(Input).value = "none"
        await pilot.press("enter")
        assert "a whole number" in screen_text(app)
        form.field("limit").query_one(Input).value = "5"
        form.field("by").query_one(Input).value = "topic, meta.who"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen))
    (order,) = ordered
    assert order.by == ["topic", "meta.who"]
    assert (order.runs, order.prompts, order.limit, order.max_tokens, order.judge) == (
        [jobs_by_name["captain"].id],
        str(home / "prompts.txt"),
        5,
        512,
        "",
    )


async def test_without_a_tuned_model_it_says_so(home: Path) -> None:
    app = LuthierApp("compare")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, ErrorModal))
        assert "Nothing to compare" in screen_text(app)


async def test_a_damaged_report_says_so_and_cannot_be_opened(jobs_by_name: dict[str, Job]) -> None:
    job = comparisons.compared()
    (job.directory / REPORT_JSON).write_text('{"rows": 3}')
    app = LuthierApp("compare")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: "not the report of a comparison" in pane(app))
        await pilot.press("enter")
        assert isinstance(app.screen, CompareScreen)


def test_the_conversations_that_a_run_held_out_are_named_so() -> None:
    assert prompts_name("/h/jobs/x/data/heldout.jsonl") == "held-out conversations"
    assert prompts_name("/h/questions.jsonl") == "questions.jsonl"
