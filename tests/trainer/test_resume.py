"""What a run depended on when it began, compared with what is there now; and which runs may go
on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs.events import EventLog
from jobs.job import Job, create
from jobs.luthier_error import LuthierError
from models.run_folder import RECIPE_FILE, RunFolder
from trainer import launch, resume
from trainer.launch import run_spec
from trainer.recipe import Checkpoints, Lora, Recipe, Train, to_toml


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    folder = tmp_path / "base"
    folder.mkdir()
    for name in (
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ):
        (folder / name).write_text('{"chat_template": "x"}')
    return folder


@pytest.fixture
def recipe(tmp_path: Path, model: Path) -> Recipe:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("a", "b"):
        row = {
            "messages": [
                {"role": "user", "content": name},
                {"role": "assistant", "content": "hello"},
            ]
        }
        (data / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    return Recipe(data=[str(data)], model=str(model), train=Train(learning_rate=1e-3))


@pytest.fixture
def job(recipe: Recipe) -> Job:
    """A run that has ended without a result, as a kill leaves it, with one checkpoint."""
    made = create(run_spec(recipe))
    (made.directory / RECIPE_FILE).write_text(to_toml(recipe))
    (made.directory / "data").mkdir()
    (made.directory / "data" / "train.jsonl").write_text("samples")
    log = EventLog(made.events_path)
    log.append("queued", attempt=1)
    log.append("exited", code=-9, stopped=False)
    resume.write(made.directory, resume.fingerprint(made.directory, recipe, Path(recipe.model)))
    folder = RunFolder(made.directory).checkpoint(10)
    folder.mkdir(parents=True)
    (folder / "COMPLETE").write_text("{}")
    return made


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    jobs: list[Job] = []
    monkeypatch.setattr(launch, "start", jobs.append)
    return jobs


def with_recipe(job: Job, change: Callable[[Recipe], Recipe]) -> None:
    (job.directory / RECIPE_FILE).write_text(to_toml(change(launch.frozen_recipe(job))))


def train(**values: Any) -> Callable[[Recipe], Recipe]:
    return lambda recipe: msgspec.structs.replace(
        recipe, train=msgspec.structs.replace(recipe.train, **values)
    )


CHANGES: list[tuple[str, Callable[[Job, Path], Any]]] = [
    (
        r"recipe: train\.learning_rate was 0\.001, now 0\.002",
        lambda job, base: with_recipe(job, train(learning_rate=2e-3)),
    ),
    (
        r"recipe: train\.epochs was 3\.0, now 5\.0",
        lambda job, base: with_recipe(job, train(epochs=5.0)),
    ),
    (
        r"data: .*/a\.jsonl has changed",
        lambda job, base: (base.parent / "data" / "a.jsonl").write_text("{}\n"),
    ),
    (
        r"data: .*/c\.jsonl is new",
        lambda job, base: (base.parent / "data" / "c.jsonl").write_text("{}\n"),
    ),
    (
        r"samples: data/train\.jsonl has changed",
        lambda job, base: (job.directory / "data" / "train.jsonl").write_text("other"),
    ),
    (
        r"samples: data/train\.jsonl is gone",
        lambda job, base: (job.directory / "data" / "train.jsonl").unlink(),
    ),
    (
        r"began: chat template: changed\.",
        lambda job, base: (base / "chat_template.jinja").write_text("y"),
    ),
    (
        r"base model: model\.safetensors has changed",
        lambda job, base: (base / "model.safetensors").write_text("{ }"),
    ),
    (
        r"tokenizer: tokenizer\.json has changed",
        lambda job, base: (base / "tokenizer.json").write_text("{ }"),
    ),
]


@pytest.mark.parametrize(("message", "change"), CHANGES)
def test_each_change_is_named_and_can_be_forced(
    job: Job, model: Path, started: list[Job], message: str, change: Callable[[Job, Path], Any]
) -> None:
    change(job, model)
    with pytest.raises(resume.Changed, match=message) as caught:
        launch.resume(job)
    assert caught.value.message.count(";") == 0
    assert f"luthier resume {job.id} --force" in caught.value.hint
    assert not started
    launch.resume(job, force=True)
    assert started == [job]
    assert resume.is_forced(job.directory)


def test_without_a_change_it_starts_and_is_not_forced(job: Job, started: list[Job]) -> None:
    assert launch.resume(job) == job
    assert started == [job]
    assert not resume.is_forced(job.directory)


def test_what_changes_no_weight_is_no_difference(
    job: Job, tmp_path: Path, started: list[Job]
) -> None:
    with_recipe(
        job,
        lambda recipe: msgspec.structs.replace(
            recipe, name="other", share_gpu=True, checkpoints=Checkpoints(keep=5)
        ),
    )
    (tmp_path / "data" / "b.jsonl").unlink()  # its samples are there
    launch.resume(job)
    assert started == [job]


def test_versions_and_devices(job: Job) -> None:
    now = resume.recorded(job.directory)
    before = {**now, "versions": {**now["versions"], "trl": "1.0.0"}, "devices": ["NVIDIA H200"]}
    found = resume.differences(before, now)
    assert found == [
        f"trl: was 1.0.0, now {now['versions']['trl']}",
        "device: was NVIDIA H200, now cpu",
    ]
    with pytest.raises(LuthierError, match="planned for a GPU"):
        resume.check_possible(job.id, before, now)
    assert not resume.differences({**now, "devices": ["cpu", "x"]}, now)


@pytest.mark.parametrize("section", [Lora(r=4), Train(global_batch=8), Train(micro_batch=4)])
def test_some_changes_cannot_be_forced(job: Job, started: list[Job], section: Lora | Train) -> None:
    change = {"lora": section} if isinstance(section, Lora) else {"train": section}
    with_recipe(job, lambda recipe: msgspec.structs.replace(recipe, **change))
    with pytest.raises(LuthierError, match="do not fit"):
        launch.resume(job, force=True)
    assert not started


def test_without_a_checkpoint_there_is_nothing_to_compare(job: Job, started: list[Job]) -> None:
    (RunFolder(job.directory).checkpoint(10) / "COMPLETE").unlink()
    with_recipe(job, train(learning_rate=1.0))
    launch.resume(job)
    assert started == [job]


def test_a_run_that_is_done_has_nothing_left(job: Job, started: list[Job]) -> None:
    log = EventLog(job.events_path)
    log.append("queued", attempt=2)
    log.append("result", loss=1.0)
    log.append("exited", code=0, stopped=False)
    with pytest.raises(LuthierError, match="is done"):
        launch.resume(job, force=True)
    assert not started


def test_of_a_large_file_blocks_are_compared(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(100 << 20)
    before = resume.identity(path)
    with path.open("r+b") as file:
        file.seek(-10, 2)
        file.write(b"x")
    assert resume.identity(path)[0] == before[0]
    assert resume.identity(path) != before
