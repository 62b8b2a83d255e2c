"""Data: the ledger, the sample viewer, the totals, and the two forms, over looks at data that were
made by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from jobs.job import Job
from tests.tui import data_folders, folders
from tests.tui.driving import ready, screen_text, text_of, until, visible
from tests.tui.lock_holder import held
from trainer.recipe import Recipe
from tui.app import LuthierApp
from tui.data.forms import FormatModal, LookModal, recipe_for
from tui.data.ledger_table import LedgerTable
from tui.data.screen import DataScreen
from tui.data.token_view import TokenView
from tui.shared.error_modal import ErrorModal
from tui.shared.form import Field
from tui.shared.path_suggester import PathSuggester


async def shown(pilot: Pilot[None]) -> DataScreen:
    """The screen, once it has read what the look left."""
    app = await ready(pilot)
    screen = app.screen
    assert isinstance(screen, DataScreen)
    await until(pilot, lambda: screen.inspection is not None and screen.entry is not None)
    await pilot.pause()
    return screen


def fill(form: LookModal | FormatModal, **values: str) -> None:
    for key, value in values.items():
        form.field(key).query_one(Input).value = value


def errors(form: LookModal | FormatModal) -> list[str]:
    return [field.key for field in form.query(Field) if field.has_class("-wrong")]


async def test_without_a_look_the_next_key_is_named() -> None:
    app = LuthierApp("data")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        assert "n looks at a file" in text_of(app, "#no-data")
        await pilot.press("n")
        assert isinstance(app.screen, LookModal)


async def test_the_newest_look_is_shown_with_its_format_rows_and_totals() -> None:
    data_folders.finished()
    app = LuthierApp("data")
    async with app.run_test(size=(140, 40)) as pilot:
        await shown(pilot)
        text = screen_text(app)
    assert "pirates.jsonl" in text and "as builtin sees it, context 2,048" in text
    assert "every row has `conversations` whose items have `from` and `value`: ShareGPT" in text
    assert "3  ~ repaired" in text and "merged_speaker" in text and "7  ✗ dropped" in text
    assert "97.5 %" in text and "2 ✗ unreadable  rows 20, 29" in text
    assert "── context" in text and "median 611, longest 2,301" in text
    assert "reasoning_content" in text


async def the_sample_can_be_copied(pilot: Pilot[None], screen: DataScreen) -> None:
    app = screen.app
    await pilot.press("c")
    assert app.clipboard.startswith(
        '{"source": {"file": "/data/pirates.jsonl", "row": 0}, "turns": [2, 4], "input_ids": [0'
    )


async def filter_narrows_stays_and_is_cleared(pilot: Pilot[None], screen: DataScreen) -> None:
    app = screen.app
    table = screen.query_one(LedgerTable)
    await pilot.press("slash", *"dropped", "enter")
    assert len(table) == 3 and "3 of 240   esc shows all" in screen_text(app)
    assert visible(screen.query_one("#data-filter"))
    screen.query_one("#data-filter", Input).value = "no_turns 29"
    await pilot.pause()
    assert screen.entry is not None and (len(table), screen.entry.row) == (1, 29)
    screen.query_one("#data-filter", Input).value = "zither"
    await pilot.pause()
    assert screen.entry is None and len(table) == 0
    await pilot.press("escape")
    assert len(table) == 240 and not visible(screen.query_one("#data-filter"))
    await pilot.press("g")


async def a_dropped_row_says_why(pilot: Pilot[None], screen: DataScreen) -> None:
    app = screen.app
    await pilot.press(*"jjjjjjj")
    await until(pilot, lambda: "row 7 in its file" in screen_text(app))
    text = screen_text(app)
    assert "like row 2" in text and '"value": "row 7"' in text
    assert "i ids" not in text
    await pilot.press("g")


async def tokens_are_marked_and_have_ids(pilot: Pilot[None], screen: DataScreen) -> None:
    app = screen.app
    await pilot.press("j")
    await until(pilot, lambda: "▸x0.5 Aye, hard tack" in screen_text(app))
    assert "<|im_end|>■" in screen_text(app) and "52 of 108 tokens trained" in screen_text(app)
    await pilot.press("enter", "i")
    assert screen.query_one(TokenView).has_focus and not visible(screen.query_one("#ledger-panel"))
    await pilot.press("pagedown")
    await until(pilot, lambda: "▸ yes" in screen_text(app))
    assert '0.5  "Aye"' in screen_text(app)
    await pilot.press("i", "r")
    await until(pilot, lambda: '"value": "row 1"' in screen_text(app))
    await pilot.press("escape")
    assert screen.query_one(LedgerTable).has_focus


async def a_split_row_has_several_samples(pilot: Pilot[None], screen: DataScreen) -> None:
    app = screen.app
    await pilot.press(*"jjjjjjjjjjj")
    await until(pilot, lambda: "sample 1 of 2" in screen_text(app))
    await pilot.press("right_square_bracket")
    await until(pilot, lambda: "sample 2 of 2" in screen_text(app))
    await pilot.press("right_square_bracket")
    await until(pilot, lambda: "sample 1 of 2" in screen_text(app))
    await pilot.press("g")


async def totals_are_one_key_away(pilot: Pilot[None], screen: DataScreen) -> None:
    app = screen.app
    assert not visible(screen.query_one("#overview-panel"))
    await pilot.press("l")
    await until(pilot, lambda: "── context" in screen_text(app))
    assert "97.5 %" in screen_text(app)
    await pilot.press("escape")
    assert visible(screen.query_one(LedgerTable))


async def test_a_look_is_read_at_80x24() -> None:
    data_folders.finished()
    app = LuthierApp("data")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await shown(pilot)
        assert screen.check_action("propose", ()) is False
        await the_sample_can_be_copied(pilot, screen)
        await filter_narrows_stays_and_is_cleared(pilot, screen)
        await a_dropped_row_says_why(pilot, screen)
        await a_split_row_has_several_samples(pilot, screen)
        await totals_are_one_key_away(pilot, screen)
        await tokens_are_marked_and_have_ids(pilot, screen)


async def test_keys_of_a_list_move_the_cursor_through_a_long_ledger() -> None:
    data_folders.finished(rows=4_000)
    app = LuthierApp("data")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await shown(pilot)
        await until(pilot, lambda: len(screen.query_one(LedgerTable)) == 4_000)
        for key, row in (("G", 3_999), ("k", 3_998), ("g", 0), ("pagedown", 7), ("pageup", 0)):
            await pilot.press(key)
            await pilot.pause()
            assert screen.entry is not None and screen.entry.row == row


async def test_a_running_look_shows_how_far_it_is_and_can_be_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped: list[str] = []
    monkeypatch.setattr("jobs.job.stop", lambda job: stopped.append(job.id))
    job = data_folders.running()
    app = LuthierApp("data")
    with held(job):
        async with app.run_test(size=(80, 24)) as pilot:
            await ready(pilot)
            await until(pilot, lambda: "40 %" in screen_text(app))
            assert "reading the data" in screen_text(app) and "● running" in screen_text(app)
            await pilot.press("s")
    assert stopped == [job.id]


async def test_what_a_policy_stops_stands_above_the_totals() -> None:
    data_folders.refused()
    app = LuthierApp("data")
    async with app.run_test(size=(140, 40)) as pilot:
        await shown(pilot)
        text = screen_text(app)
        assert (
            "pirates.jsonl   ✗ Some rows need a decision" in text
            and "row 20" in text
            and "2 ✗ unreadable" in text
        )
        await pilot.press("e")
        assert isinstance(app.screen, ErrorModal)


async def test_a_failed_look_says_why() -> None:
    job = data_folders.running()
    said = {
        "title": "Some rows need a decision",
        "message": "pirates.jsonl, row 3: two users.",
        "hint": "policy.consecutive",
    }
    folders.write(
        job,
        folders.event("error", 20, **said),
        folders.event("exited", 19, code=1, stopped=False, swept=0),
    )
    app = LuthierApp("data")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: "Some rows need a decision" in screen_text(app))
        assert "policy.consecutive" in screen_text(app)
        await pilot.press("e")
        assert isinstance(app.screen, ErrorModal)


async def test_a_look_opens_from_the_runs() -> None:
    data_folders.finished()
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DataScreen))
        await shown(pilot)
        await pilot.press("1", "5")
        assert isinstance(app.screen, DataScreen)


async def test_the_form_to_look_checks_its_fields_and_opens_what_it_starts(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Recipe] = []

    def start(recipe: Recipe) -> Job:
        started.append(recipe)
        return data_folders.finished()

    monkeypatch.setattr("trainer.data.inspection.start", start)
    data = home / "pirates.jsonl"
    data.write_text("{}\n")
    app = LuthierApp("data")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("n")
        form = app.screen
        assert isinstance(form, LookModal)
        fill(form, source="/nowhere.jsonl", model="", context="few")
        await pilot.press("enter")
        assert errors(form) == ["source", "model", "context"]
        fill(form, source=str(data), model="builtin", context="512")
        await pilot.press("enter")
        await shown(pilot)
    assert [source.path for source in started[0].sources] == [str(data)] and started[
        0
    ].train.max_length == 512


async def test_the_format_can_be_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Recipe] = []

    def start(recipe: Recipe) -> Job:
        started.append(recipe)
        return data_folders.finished(number=21)

    monkeypatch.setattr("trainer.data.inspection.start", start)
    data_folders.finished()
    app = LuthierApp("data")
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        await pilot.press("f")
        form = app.screen
        assert isinstance(form, FormatModal)
        assert form.field("format").value == "sharegpt"
        assert form.field("columns").value == "turns=conversations, role=from, content=value"
        fill(form, format="sonnet", columns="turns", roles="kirk=boss")
        await pilot.press("enter")
        assert errors(form) == ["format", "columns", "roles"]
        fill(
            form,
            format="transcript",
            columns="turns=log, role=who",
            roles="",
            speakers="Captain=assistant, others=user",
        )
        await pilot.press("enter")
        await shown(pilot)
    mapping = started[0].format
    assert (mapping.format, mapping.columns) == ("transcript", {"turns": "log", "role": "who"})
    assert mapping.speakers == {"Captain": "assistant", "others": "user"}


async def test_rows_of_an_unknown_layout_are_read_as_proposed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[Recipe] = []

    def start(recipe: Recipe) -> Job:
        started.append(recipe)
        return data_folders.finished(number=21)

    monkeypatch.setattr("trainer.data.inspection.start", start)
    data_folders.unknown()
    app = LuthierApp("data")
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: "Format not recognised" in screen_text(app))
        assert "p shows how the rows might be read" in screen_text(app)
        await pilot.press("p")
        await until(pilot, lambda: "Aye, that was Neil Armstrong" in screen_text(app))
        text = screen_text(app)
        assert (
            "12 of 12 rows would be read as ShareGPT" in text
            and 'columns = {turns = "data.conversation"}' in text
        )
        assert "▸" in text and "■" in text and "row 0" in text
        await pilot.press("down")
        await until(pilot, lambda: 'ignore = ["score"]' in screen_text(app))
        await pilot.press("c")
        assert app.clipboard == '[format]\nignore = ["score"]'
        await pilot.press("up", "enter")
        await shown(pilot)
    assert started[0].format.columns == {"turns": "data.conversation"}


def test_paths_are_completed(tmp_path: Path) -> None:
    (tmp_path / "pirates.jsonl").touch()
    (tmp_path / "parrots").mkdir()
    (tmp_path / ".hidden").touch()
    suggest = PathSuggester().get_suggestion
    assert asyncio.run(suggest(f"{tmp_path}/pi")) == f"{tmp_path}/pirates.jsonl"
    assert asyncio.run(suggest(f"{tmp_path}/pa")) == f"{tmp_path}/parrots/"
    assert (
        asyncio.run(suggest(f"{tmp_path}/")) is None
        and asyncio.run(suggest(f"{tmp_path}/zz")) is None
    )
    assert asyncio.run(suggest("/no/such/folder/x")) is None


def test_a_recipe_says_data_and_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('data = ["a.jsonl"]\n[train]\nmax_length = 99\n')
    recipe = recipe_for(str(path), "builtin")
    assert recipe.sources[0].path == str(tmp_path / "a.jsonl") and recipe.train.max_length == 99
    assert recipe_for("hub:owner/name", "m", 64).sources[0].path == "hub:owner/name"
