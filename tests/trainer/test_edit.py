"""The recipe of a waiting run, replaced by another: read and planned first, or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.home import models_directory
from jobs.job import Job
from jobs.luthier_error import LuthierError
from tests.tui import folders
from tests.tui.lock_holder import held
from trainer.edit import draft, replace_recipe
from trainer.launch import frozen_recipe, run_spec
from trainer.recipe import load


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """A run of a sweep over the learning rate and the weight of the data, in the queue."""
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    folders.base_model(models_directory() / "builtin")
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ahoy"}]
    (tmp_path / "data.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    recipe = (
        f"name = 'ann'\ndata = [{{path = '{tmp_path}/data.jsonl', weight ="
        " 2.0}]\n[train]\nlearning_rate = 1e-3\n"
    )
    job = folders.make_job("ann", 1, age=100)
    (job.directory / "recipe.toml").write_text(recipe)
    bond = {
        "id": "s",
        "name": "s",
        "number": 1,
        "of": 2,
        "varies": {"train.learning_rate": 1e-3, "data[0].weight": 2.0},
    }
    run_spec(load(job.directory / "recipe.toml"), bond).replace(job.directory)
    folders.wait_in_queue(job, 1, ago=50)
    with held(job):
        yield Job(job.directory)


def edit(job: Job, old: str, new: str) -> None:
    with draft(job) as path:
        path.write_text(path.read_text().replace(old, new))
        replace_recipe(job, path)


def files(job: Job) -> dict[str, str]:
    return {
        path.name: path.read_text()
        for path in job.directory.iterdir()
        if path.suffix in (".toml", ".json")
    }


def test_the_run_follows_its_new_recipe_at_its_old_place(waiting: Job) -> None:
    edit(waiting, "learning_rate = 1e-3", "learning_rate = 5e-4\nglobal_batch = 4")
    changed = Job(waiting.directory)
    assert frozen_recipe(changed).train.learning_rate == 5e-4
    assert changed.spec.settings["global_batch"] == 4
    assert (changed.order, changed.created) == (1, waiting.created)
    assert set(files(waiting)) == {"recipe.toml", "spec.json"}


def test_a_run_of_a_sweep_stays_in_it_with_its_new_values(waiting: Job) -> None:
    edit(waiting, "learning_rate = 1e-3", "learning_rate = 5e-4")
    sweep = Job(waiting.directory).spec.settings["sweep"]
    assert sweep["id"] == "s" and sweep["varies"] == {
        "train.learning_rate": 5e-4,
        "data[0].weight": 2.0,
    }


@pytest.mark.parametrize(
    ("old", "new", "title"),
    [
        ("learning_rate", "learning_rat", "Unknown key in the recipe"),
        ("1e-3", "'fast'", "Wrong value in the recipe"),
        ("data.jsonl", "gone.jsonl", "No such"),
        ("name = 'ann'", "name = 'ann'\nmodel = 'nix'", "No such model"),
        ("[train]", "[train", "The recipe is not valid TOML"),
    ],
)
def test_a_wrong_recipe_changes_nothing(waiting: Job, old: str, new: str, title: str) -> None:
    before = files(waiting)
    with pytest.raises(LuthierError) as caught:
        edit(waiting, old, new)
    assert caught.value.title.startswith(title)
    assert files(waiting) == before


def test_a_run_that_has_started_keeps_its_recipe(waiting: Job) -> None:
    before = files(waiting)
    waiting.order_path.unlink()  # its supervisor has its slots
    with pytest.raises(LuthierError, match="is not waiting"):
        edit(waiting, "1e-3", "5e-4")
    assert files(waiting) == before
