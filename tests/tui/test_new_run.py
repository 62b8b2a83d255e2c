"""The form for a new run."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input

from jobs.job import Job
from jobs.luthier_error import LuthierError
from tests.tui import folders
from tests.tui.driving import ready, screen_text, text_of, until
from trainer.recipe import Recipe
from trainer.sweep import Sweep
from tui.app import LuthierApp
from tui.runs.new_run import NewRunModal
from tui.runs.run_screen import RunScreen


def fill(form: NewRunModal, **values: str) -> None:
    for key, value in values.items():
        form.field(key).query_one(Input).value = value


def errors(form: NewRunModal) -> list[str]:
    return [field.key for field in form.query(".field.-wrong")]  # type: ignore[attr-defined]  # these are Fields


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The recipes that are started."""
    recipes: list[Recipe] = []

    def train(recipe: Recipe) -> Job:
        recipes.append(recipe)
        return folders.make_job(recipe.name, 1, age=0)

    monkeypatch.setattr("trainer.launch.train", train)
    return recipes


async def test_errors_stand_beside_their_fields(home: Path) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("n")
        form = app.screen
        assert isinstance(form, NewRunModal)
        fill(form, epochs="many", rate="-1", r="8.5", data="/nowhere.jsonl")
        await pilot.press("enter")
        assert errors(form) == ["data", "epochs", "rate", "r"]
        fill(form, recipe=str(home / "none.toml"))
        await pilot.press("enter")
        assert errors(form) == ["recipe"]
        assert form.field("epochs").disabled


async def test_the_fields_become_a_recipe_and_the_run_opens(
    home: Path, started: list[Recipe]
) -> None:
    data = home / "pirates.jsonl"
    data.write_text("{}\n")
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("n")
        assert isinstance(app.screen, NewRunModal)
        fill(app.screen, data=str(data), epochs="1.5", rate="1e-4", r="8")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
    recipe = started[0]
    assert (recipe.name, recipe.model, recipe.data) == ("pirates", "builtin", [str(data)])
    assert (recipe.train.epochs, recipe.train.learning_rate, recipe.lora.r, recipe.lora.alpha) == (
        1.5,
        1e-4,
        8,
        16,
    )


async def test_a_known_recipe_fills_the_form_in_and_leaves_it_open(
    home: Path, started: list[Recipe]
) -> None:
    data = home / "talk.jsonl"
    data.write_text("{}\n")
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("n")
        form = app.screen
        assert isinstance(form, NewRunModal)
        await pilot.press(*"vicuna")
        assert form.field("epochs").disabled
        await pilot.pause()
        await pilot.press("right")  # takes what is suggested
        await until(pilot, lambda: form.field("recipe").value == "vicuna-7b-8bit")
        await until(pilot, lambda: form.field("r").value == "8")
        assert (form.field("model").value, form.field("rate").value) == ("Llama-2-7b-hf", "2e-5")
        assert not form.field("epochs").disabled
        fill(form, model="builtin", data=str(data), epochs="1")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
    recipe = started[0]
    assert (recipe.name, recipe.model, recipe.train.epochs, recipe.train.base_bits) == (
        "talk",
        "builtin",
        1.0,
        8,
    )
    assert (recipe.lora.targets, recipe.lora.alpha, recipe.tokens.template) == (
        ["q_proj", "v_proj"],
        16,
        "vicuna",
    )


async def test_a_refused_run_keeps_the_form_and_says_why(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = home / "recipe.toml"
    recipe.write_text('data = ["gone.jsonl"]\n')

    def train(recipe: Recipe) -> Job:
        raise LuthierError("No such data", f"{recipe.data[0]} is not there.", "Check the path.")

    monkeypatch.setattr("trainer.launch.train", train)
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("n")
        assert isinstance(app.screen, NewRunModal)
        fill(app.screen, recipe=str(recipe))
        await pilot.press("enter")
        await until(pilot, lambda: "No such data" in text_of(app, "#form-error"))
        assert isinstance(app.screen, NewRunModal)
        await pilot.press("escape")
        assert "esc again leaves without saving" in screen_text(app)
        await pilot.press("escape")
        assert not isinstance(app.screen, NewRunModal)


async def test_a_recipe_with_lists_queues_a_sweep(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = home / "grid.toml"
    recipe.write_text('data = ["x.jsonl"]\n[lora]\nr = [8, 16]\n')
    names: list[str] = []

    def start_sweep(sweep: Sweep) -> tuple[str, list[Job]]:
        names.extend(member.recipe.name for member in sweep.members)
        jobs = [folders.make_job(name, number, age=0) for number, name in enumerate(names, start=1)]
        return "grid-sweep", jobs

    monkeypatch.setattr("trainer.sweep.start_sweep", start_sweep)
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("n")
        assert isinstance(app.screen, NewRunModal)
        fill(app.screen, recipe=str(recipe))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        assert isinstance(app.screen, RunScreen)
    assert names == ["grid-r8", "grid-r16"]
