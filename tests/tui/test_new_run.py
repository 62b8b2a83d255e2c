"""A new run: its fields, and what stands beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from jobs.job import Job, all_jobs
from jobs.luthier_error import LuthierError
from models.run_folder import RECIPE_FILE
from tests.tui import data_folders, folders
from tests.tui.driving import ready, screen_text, text_of, until
from trainer.data.inspection import check_as_seen
from trainer.plan.plan import Plan
from trainer.recipe import Recipe, to_toml
from trainer.sweep import Sweep
from tui.app import LuthierApp
from tui.new_run.data_look import DataLook
from tui.new_run.keys_modal import KeysModal, KeyValueModal
from tui.new_run.screen import NewRunScreen
from tui.runs.run_screen import RunScreen
from tui.runs.runs_screen import RunsScreen
from tui.shared.confirm_modal import ConfirmModal
from tui.shared.error_modal import ErrorModal
from tui.shared.toml_modal import TomlModal

ROW = '{"messages": [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "Aye."}]}'


@pytest.fixture(autouse=True)
def no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at data are jobs, which load a tokenizer."""
    monkeypatch.setattr(DataLook, "job_for", lambda recipe: (None, False))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The recipes that are started."""
    recipes: list[Recipe] = []

    def train(recipe: Recipe, plan: Plan | None = None) -> Job:
        recipes.append(recipe)
        return folders.make_job(recipe.name, 1, age=0)

    monkeypatch.setattr("trainer.launch.train", train)
    return recipes


@pytest.fixture
def pirates(home: Path) -> Path:
    data = home / "pirates.jsonl"
    data.write_text("".join(ROW.replace("Hm", f"Hm {number}") + "\n" for number in range(40)))
    return data


async def opened(pilot: Pilot[None]) -> NewRunScreen:
    app = await ready(pilot)
    await pilot.press("n")
    assert isinstance(app.screen, NewRunScreen)
    return app.screen


def fill(screen: NewRunScreen, **values: str) -> None:
    for key, value in values.items():
        screen.form.input(key).value = value


async def test_an_error_stands_at_its_field_and_goes_as_soon_as_it_is_filled(pirates: Path) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("escape")  # nothing was typed: there is nothing to ask
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))
        screen = await opened(pilot)
        screen.form.input("name").focus()
        await pilot.press("enter")
        assert screen.form.wrong == ["data"] and "a data file or a folder" in screen_text(app)
        assert screen.focused is screen.form.input("data")
        fill(screen, data="/nowhere.jsonl", model="")
        await until(pilot, lambda: screen.form.wrong == ["data", "model"])
        assert "no such file or folder: /nowhere.jsonl" in screen_text(app)
        fill(screen, data=str(pirates), model="none", recipe="none.toml")
        await until(pilot, lambda: screen.form.wrong == ["recipe"])
        fill(screen, recipe="", data="x" * 60_000)
        await until(pilot, lambda: screen.form.wrong == ["data"])
        assert "file name too long: " in screen_text(app)
        fill(screen, data=str(pirates))
        await until(pilot, lambda: screen.form.wrong == ["model"])
        fill(screen, model="builtin")
        await until(pilot, lambda: screen.form.wrong == [])
        await until(pilot, lambda: "40 conversations, 10 of them held out" in screen_text(app))


async def test_a_data_file_is_all_that_a_run_needs(pirates: Path, started: list[Recipe]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        screen = await opened(pilot)
        fill(screen, data=str(pirates))
        await until(pilot, lambda: "preparing the model" in screen_text(app))
        text = screen_text(app)
        for part in (
            "3 epochs, 6 steps",
            "tensor memory of",
            "6 steps",
            "measured in train",
        ):
            assert part in text
        assert "beside its base, as an adapter" in text and "then certified" in text
        await until(pilot, lambda: "user: Hm 0" in screen_text(app))
        assert "row 0   not tokenised yet" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        assert [type(screen) for screen in app.screen_stack] == [RunsScreen, RunScreen]
    assert [(run.name, run.model, run.data) for run in started] == [
        ("pirates", "builtin", [str(pirates)])
    ]


async def test_what_becomes_of_the_rows_stands_beside_the_choices(
    pirates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = data_folders.finished()
    monkeypatch.setattr(DataLook, "job_for", lambda recipe: (job, False))
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        screen = await opened(pilot)
        fill(screen, data=str(pirates))
        await until(pilot, lambda: "Aye, that was Neil Armstrong" in screen_text(app))
        text = screen_text(app)
        assert "3 ✗ dropped" in text and "2  the row has no turn" in text
        assert "tokens trained" in text and "▸Aye, that was" in text.replace("▸ ", "▸")


async def test_a_starting_point_fills_in_the_rest(pirates: Path, started: list[Recipe]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        screen.form.input("recipe").focus()
        await pilot.press(*"vicuna")
        await pilot.pause()
        await pilot.press("right")  # takes what is suggested
        await until(pilot, lambda: screen.form.field("model").value == "Llama-2-7b-hf")
        assert "train.base_bits" in text_of(app, "#run-changes")
        fill(screen, model="builtin", data=str(pirates))
        await pilot.press("enter")
        await until(pilot, lambda: bool(started) or bool(screen.form.wrong))
    assert [(run.name, run.model, run.train.base_bits, run.lora.r) for run in started] == [
        ("pirates", "builtin", 8, 8)
    ]


async def test_a_refused_run_keeps_what_was_chosen_and_says_why(
    pirates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(recipe: Recipe, plan: Plan | None = None) -> Job:
        raise LuthierError("The disk is full", "Nothing can be written.", "Make room.")

    monkeypatch.setattr("trainer.launch.train", train)
    app = LuthierApp()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        fill(screen, data=str(pirates))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ErrorModal))
        assert "Make room." in screen_text(app)
        await pilot.press("escape")
        assert "The disk is full" in text_of(app, "#form-error")
        await pilot.press("escape")
        assert isinstance(app.screen, ConfirmModal)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        assert screen.form.field("data").value == str(pirates)
        await pilot.press("escape", "y")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))


async def test_enter_shows_the_whole_reason_why_there_is_no_plan(pirates: Path) -> None:
    """It can be copied there, with the command in it."""
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        fill(screen, data=str(pirates), model="nothing-like-it")
        await until(pilot, lambda: "model" in screen.form.wrong)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ErrorModal))
        await pilot.press("escape")
        fill(screen, model="builtin")
        await until(pilot, lambda: not screen.form.wrong)


async def test_no_run_is_started_on_data_that_a_look_has_refused(pirates: Path, home: Path) -> None:
    """Unless the file has changed since."""
    job = data_folders.refused()
    (job.directory / RECIPE_FILE).write_text(to_toml(Recipe(data=[str(pirates)])))
    os.utime(pirates, (0, 0))
    with pytest.raises(LuthierError, match="Some rows need a decision"):
        check_as_seen(Recipe(data=[str(pirates)]))
    app = LuthierApp()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        fill(screen, data=str(pirates))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ErrorModal))
        assert "Mend the data." in screen_text(app)
    assert all_jobs("run") == []
    os.utime(pirates)
    check_as_seen(Recipe(data=[str(pirates)]))


async def test_a_key_that_mends_what_was_refused_is_planned_with(pirates: Path, home: Path) -> None:
    damaged = home / "damaged.jsonl"
    damaged.write_text(f'{pirates.read_text()}{{"messages": [\n')
    app = LuthierApp()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        fill(screen, data=str(damaged))
        await until(pilot, lambda: screen.form.wrong == ["data"])
        await pilot.press("f3", *"policy.damage", "enter")
        app.screen.query_one(Input).value = "drop"
        await pilot.press("enter", "escape")
        await until(pilot, lambda: not screen.form.wrong and "memory" in screen_text(app))


async def test_data_in_a_layout_of_its_own_is_read_as_proposed_with_one_key(
    home: Path, started: list[Recipe]
) -> None:
    data = home / "shop.jsonl"
    data.write_text(
        "".join(
            f'{{"first_text": "Where is {number}?", "second_text": "There."}}\n'
            for number in range(20)
        )
    )
    app = LuthierApp()
    async with app.run_test(size=(120, 35)) as pilot:
        screen = await opened(pilot)
        fill(screen, data=str(data))
        for text in (
            "Format not recognised",
            "^r makes this change, ^n shows another",
            "20 conversations, 5 of them held out",  # with the change
            "user: Where is 0?",
        ):
            await until(pilot, lambda text=text: text in screen_text(app))  # type: ignore[misc]
        assert screen.form.wrong == ["data"]
        await pilot.press("ctrl+n")
        await until(pilot, lambda: "user: There." in screen_text(app))
        assert screen.form.wrong == ["data"]
        await pilot.press("ctrl+n")
        await until(pilot, lambda: "user: Where is 0?" in screen_text(app))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: not screen.form.wrong and "^o whole plan" in screen_text(app))
        await until(pilot, lambda: "proposal" not in screen_text(app))
        assert 'prompt = "first_text"' in text_of(app, "#run-changes")
        await pilot.press("enter")
        await until(pilot, lambda: bool(started))
    assert started[0].format.columns == {"prompt": "first_text", "completion": "second_text"}


async def test_rows_that_nothing_reads_stand_beside_the_reason(home: Path) -> None:
    data = home / "numbers.jsonl"
    data.write_text('{"speed": 3, "sizes": [1, 2]}\n' * 4)
    app = LuthierApp()
    async with app.run_test(size=(120, 35)) as pilot:
        screen = await opened(pilot)
        fill(screen, data=str(data))
        for text in ("sizes: [1, 2]", "row 0   as the file has it"):
            await until(pilot, lambda text=text: text in screen_text(app))  # type: ignore[misc]
        assert screen.form.wrong == ["data"]
        assert "f3 and ^e change the recipe." in text_of(app, "#form-error")
        await pilot.press("ctrl+r", "ctrl+n")  # nothing is proposed
        assert screen.draft.value("format") is None and "^r" not in screen_text(app)


async def test_a_recipe_with_lists_queues_a_sweep(
    home: Path, monkeypatch: pytest.MonkeyPatch, pirates: Path
) -> None:
    recipe = home / "grid.toml"
    recipe.write_text('data = ["pirates.jsonl"]\n[lora]\nr = [8, 16]\n')
    names: list[str] = []

    def start_sweep(sweep: Sweep) -> tuple[str, list[Job]]:
        names.extend(member.recipe.name for member in sweep.members)
        jobs = [folders.make_job(name, number, age=0) for number, name in enumerate(names, start=1)]
        return "grid-sweep", jobs

    monkeypatch.setattr("trainer.sweep.start_sweep", start_sweep)
    app = LuthierApp()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        fill(screen, recipe=str(recipe))
        await until(pilot, lambda: "a sweep of 2 runs" in screen_text(app))
        assert screen.form.field("data").value == str(pirates)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
    assert names == ["grid-r8", "grid-r16"]


async def test_every_key_can_be_set_in_a_field_of_its_own(
    pirates: Path, started: list[Recipe]
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        fill(screen, data=str(pirates))
        await pilot.press("f3")
        assert isinstance(app.screen, KeysModal)
        await pilot.press(*"train.epochs", "enter")
        assert isinstance(app.screen, KeyValueModal)
        assert "How many times the model sees each conversation." in screen_text(app)
        app.screen.query_one(Input).value = "-1"
        await pilot.press("enter")
        assert isinstance(app.screen, KeyValueModal) and "train.epochs" in screen_text(app)
        app.screen.query_one(Input).value = "1.5"
        await pilot.press("enter")
        assert isinstance(app.screen, KeysModal)
        await pilot.press("escape")
        assert "train.epochs" in text_of(app, "#run-changes")
        await pilot.press("enter")
        await until(pilot, lambda: bool(started))
    assert started[0].train.epochs == 1.5


async def test_the_whole_recipe_is_edited_as_toml(pirates: Path, started: list[Recipe]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        fill(screen, data=str(pirates))
        await until(pilot, lambda: bool(screen.draft.sources))
        for text in ("no TOML [", f'data = ["{pirates}"]\nname = "bo\'sun"\n[lora]\nr = 4\n'):
            await pilot.press("ctrl+e")
            dialog = app.screen
            assert isinstance(dialog, TomlModal)  # a pilot has no terminal for an editor
            if text.startswith("data"):  # what could not be read is there again
                assert dialog.query_one(TextArea).text == "no TOML ["
            dialog.query_one(TextArea).text = text
            await pilot.press("ctrl+s")
            await until(pilot, lambda: app.screen is screen)
        assert screen.form.field("name").value == "bo'sun"
        await pilot.press("enter")
        await until(pilot, lambda: bool(started))
    assert (started[0].name, started[0].lora.r) == ("bo'sun", 4)
