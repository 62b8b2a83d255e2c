"""The queue on the Runs screen: its order, moves, edits, and what a reboot left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.widgets import TextArea

from jobs.job import Job, wait
from jobs.spec import Spec
from jobs.state import Lost
from tests.tui import folders
from tests.tui.driving import lines_of, ready, screen_text, text_of, until
from tests.tui.lock_holder import held
from trainer import launch
from trainer.resume import Changed
from tui.app import LuthierApp
from tui.runs.recipe_editor import RecipeEditor
from tui.shared.confirm_modal import ConfirmModal
from tui.shared.error_modal import ErrorModal
from tui.shared.row_table import RowTable
from workshop.job_list import ordinal


@pytest.fixture
def line(home: Path) -> Iterator[list[Job]]:
    """Three runs that wait, the middle one made last."""
    jobs = [
        folders.make_job(name, number, age=100 - number)
        for number, name in enumerate(("ann", "bob", "cid"), start=1)
    ]
    for number, job in zip((1, 3, 2), jobs, strict=True):
        folders.wait_in_queue(job, number, ago=50)
    with held(*jobs):
        yield [jobs[0], jobs[2], jobs[1]]


def names(app: LuthierApp) -> list[str]:
    return [text.split()[0] for text in lines_of(app.screen.query_one("#jobs", RowTable))]


def test_places_in_words() -> None:
    assert [ordinal(place) for place in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111)] == (
        ["next", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th"]
    )


async def test_the_queue_stands_in_its_order_and_says_who_is_next(line: list[Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        assert names(app) == ["ann", "cid", "bob"]
        shown = lines_of(app.screen.query_one("#jobs", RowTable))
        assert (
            "next, waits for pirate-00ff on gpu-0" in shown[0]
            and "2nd, waits for" in shown[1]
            and "3rd, waits for" in shown[2]
        )


async def test_on_a_narrow_screen_what_it_waits_for_runs_on_over_the_empty_columns(
    line: list[Job],
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        first, *_ = lines_of(app.screen.query_one("#jobs", RowTable))
        assert "next, waits for pirate-00ff on gpu-0" in first and first.split()[-2:] == ["1", "m"]


async def test_keys_move_a_job_and_the_cursor_stays_on_it(line: list[Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        hints = screen_text(app).splitlines()[-1]
        assert "J later" in hints and "K sooner" not in hints and "e edit" in hints
        await pilot.press("J")
        await until(pilot, lambda: names(app) == ["cid", "ann", "bob"])
        await pilot.pause()
        hints = screen_text(app).splitlines()[-1]
        assert "J later" in hints and "K sooner" in hints
        await pilot.press("J")
        await until(pilot, lambda: names(app) == ["cid", "bob", "ann"])
        await pilot.press("K", "K")
        await until(pilot, lambda: names(app) == ["ann", "cid", "bob"])
        assert app.screen.query_one("#jobs", RowTable).highlighted_id == line[0].id
        assert [job.order for job in line] == [1, 2, 3]


async def test_a_waiting_job_is_taken_out_of_the_queue_or_deleted(line: list[Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("s")
        assert (
            isinstance(app.screen, ConfirmModal)
            and app.screen.question == "Take ann out of the queue?"
        )
        await pilot.press("n", "d")
        await until(pilot, lambda: isinstance(app.screen, ConfirmModal))
        assert isinstance(app.screen, ConfirmModal) and "It leaves the queue." in app.screen.message


RECIPE = """
name = "ann"
model = "builtin"
data = ["{data}"]
[train]
epochs = 2
"""


@pytest.fixture
def editable(line: list[Job], home: Path) -> Job:
    folders.base_model(home / "models" / "builtin")
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ahoy"}]
    (home / "data.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    (line[0].directory / "recipe.toml").write_text(RECIPE.format(data=home / "data.jsonl"))
    return line[0]


async def test_a_recipe_is_edited_checked_planned_and_replaced(editable: Job) -> None:
    created = editable.created
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, RecipeEditor))
        text = app.screen.query_one(TextArea)
        text.text = text.text.replace("epochs = 2", "epocs = 5")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "Did you mean train.epochs?" in screen_text(app))
        assert "the recipe: unknown key train.epocs" in text_of(app, "#form-error")
        text.text = text.text.replace("epocs = 5", "epochs = 5")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: not isinstance(app.screen, RecipeEditor))
        assert any("ann follows its new recipe" in note.message for note in app._notifications)
    changed = Job(editable.directory)
    assert changed.spec.settings["epochs"] == 5 and launch.frozen_recipe(changed).train.epochs == 5
    assert (changed.created, changed.order) == (created, 1)
    assert sorted(path.name for path in changed.directory.glob("recipe*")) == ["recipe.toml"]


async def test_a_run_that_started_meanwhile_keeps_its_recipe(editable: Job) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, RecipeEditor))
        editable.order_path.unlink()
        text = app.screen.query_one(TextArea)
        text.text = text.text.replace("epochs = 2", "epochs = 5")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "Not in the queue" in screen_text(app))
        await pilot.press("escape")
        assert isinstance(app.screen, RecipeEditor)
        assert "esc again leaves without saving" in screen_text(app)
        await pilot.press("escape")
        assert not isinstance(app.screen, RecipeEditor)
    assert launch.frozen_recipe(editable).train.epochs == 2


async def test_what_a_reboot_left_is_offered_and_queued_again_with_one_key(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    left = [
        folders.make_job(name, number, age=1000)
        for number, name in enumerate(("ann", "bob"), start=1)
    ]
    for number, job in enumerate(left, start=1):
        folders.wait_in_queue(job, number, ago=500)
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        assert "2 jobs were waiting when the machine went down. Q queues them again" in screen_text(
            app
        )
        assert "Q queue again" in screen_text(app).splitlines()[-1]
        await pilot.press("Q")
        await until(
            pilot, lambda: any("2 jobs wait again" in note.message for note in app._notifications)
        )
        await until(pilot, lambda: not app.screen.query_one("#left-waiting").display)
    assert not any(isinstance(job.state(), Lost) for job in left)
    assert all(wait(job, 20) for job in left)


async def test_resume_says_what_has_changed_and_can_be_forced(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def resume(job: Job, force: bool = False) -> Job:
        asked.append((job.spec.name, force))
        if not force:
            raise Changed("The run cannot be resumed exactly", "The data has changed.", "Force it.")
        return job

    monkeypatch.setattr(launch, "resume", resume)
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("end", "up", "up")
        await pilot.pause()
        assert "R resume" in screen_text(app).splitlines()[-1]
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, ConfirmModal))
        assert "The data has changed." in screen_text(app)
        await pilot.press("y")
        await until(
            pilot, lambda: any("first-try continues" in note.message for note in app._notifications)
        )
    assert asked == [("first-try", False), ("first-try", True)]


async def test_a_resume_that_cannot_be_is_told(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("end", "up", "up", "R")
        await until(pilot, lambda: isinstance(app.screen, ErrorModal))
        assert "No such recipe" in screen_text(app)


def test_a_job_that_is_no_run_but_waited_is_only_queued_again(home: Path) -> None:
    job = folders.make_job("sure", 1, age=1000, kind="certify")
    folders.wait_in_queue(job, 1, ago=500)
    assert isinstance(job.state(), Lost) and isinstance(job.spec, Spec)
