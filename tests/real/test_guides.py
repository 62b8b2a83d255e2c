"""The guides' recipes from the source file to a finished run of the built-in model: a podcast, a
book, OpenAssistant and OpenOrca. As docs/recipes.md has them, with fewer and larger steps."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.job import find
from jobs.state import Done
from models.runs import Run
from tests.fakes.openai_server import FAKE_KEY, FakeServer
from tests.real import guide_data
from tests.real.conftest import LUTHIER
from tests.real.forks import events
from tests.workshop.making import interviewer, written

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

_WITHOUT_GPU = ("train.base_bits=16", "train.optimizer=adamw")
_SHORT = (
    "certify=false",
    "evaluation.times=0",
    "train.epochs=2",
    "train.global_batch=4",
    "train.learning_rate=2e-3",
)


def luthier(*arguments: str) -> str:
    answer = subprocess.run([*LUTHIER, *arguments], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def trained(preset: str, data: Path, *changes: str) -> Run:
    """The run of a recipe, with changes, on the built-in model."""
    options = [part for change in (*_WITHOUT_GPU, *_SHORT, *changes) for part in ("--set", change)]
    recipe = data.with_name(f"{preset}-here.toml")
    recipe.write_text(
        luthier("recipes", preset, "--model", "builtin", "--data", str(data), *options)
    )
    luthier("train", str(recipe), "--follow")
    job = find(recipe.stem, "run")
    assert isinstance(job.state(), Done)
    losses = [event["loss"] for event in events(job, "step")]
    assert len(losses) >= 4
    assert min(losses[-2:]) < losses[0]
    run = Run(job)
    assert run.can_talk
    config = json.loads((run.folder.adapter / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (64, 16)
    return run


def data_of(run: Run) -> dict[str, Any]:
    (data,) = events(run.job, "data")
    return dict(data)


def made(folder: Path, *arguments: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(luthier("make", *arguments, "--out", str(folder), "--json"))
    return result


@pytest.fixture
def interviewing(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setenv("MAKING_KEY", FAKE_KEY)
    with FakeServer(models=("writer",)) as server:
        server.answer = interviewer.write
        server.tokens_per_second = 10_000
        yield server


def own_recipe(folder: Path, method: str, **changes: str) -> Path:
    """A packaged recipe of a making, copied and edited as docs/make.md says."""
    luthier("make", "--copy", str(folder), "--recipe", method)
    path = folder / "recipe.toml"
    text = path.read_text()
    for key, value in changes.items():
        text, count = re.subn(rf"(?m)^{key} = \S+", f"{key} = {value}", text)
        assert count == 1
    path.write_text(text)
    return folder


def answers_in(*files: Path) -> set[str]:
    return {
        message["content"]
        for file in files
        for line in file.read_text().splitlines()
        for message in json.loads(line)["messages"]
        if message["role"] == "assistant"
    }


@pytest.mark.usefixtures("builtin_model")
def test_a_podcast_becomes_a_persona(tmp_path: Path) -> None:
    episode, folder = written.subtitles(tmp_path / "episode.vtt"), tmp_path / "made"
    recipe = own_recipe(tmp_path / "talk", "dialogue", turns="1", heldout="0.0")
    speakers = ("--speaker", "Ole=assistant", "--speaker", "Mara=user")
    result = made(folder, str(episode), "--recipe", str(recipe), *speakers)
    assert (result["train"], result["heldout"]) == (3, 0)
    talk = [text for name, text in written.TALK if name == "OLE"]
    assert answers_in(folder / "train.jsonl") == {talk[0], f"{talk[1]} {talk[2]}", talk[3]}
    few = ("heldout.share=0", "train.epochs=4", "train.global_batch=2")
    run = trained("llama-2-7b-podcast", folder / "train.jsonl", *few)
    assert data_of(run)["formats"][0]["format"] == "messages"


@pytest.mark.usefixtures("builtin_model")
def test_a_book_becomes_interviews(tmp_path: Path, interviewing: FakeServer) -> None:
    book, folder = written.epub(tmp_path / "keeper.epub"), tmp_path / "made"
    recipe = own_recipe(tmp_path / "own", "interview", shortest="80", turns="1", heldout="0.3")
    endpoint = ("--at", f"{interviewing.base_url}/v1", "--key-env", "MAKING_KEY")
    result = made(folder, str(book), "--recipe", str(recipe), "--model", "writer", *endpoint)
    assert result["unanswered"] == 0 and result["train"] >= 3 and result["heldout"] >= 1
    train, heldout = folder / "train.jsonl", folder / "heldout.jsonl"
    assert answers_in(train, heldout) <= {*written.PARAGRAPHS}
    few = (f"heldout.files={heldout}", "train.global_batch=2")
    run = trained("llama-2-7b-interviews", train, *few)
    assert len(run.folder.heldout_samples.read_text().splitlines()) == result["heldout"]


@pytest.mark.usefixtures("builtin_model")
def test_openassistants_trees_train(tmp_path: Path) -> None:
    run = trained("mistral-7b-oasst", guide_data.oasst_trees(tmp_path, 12))
    data = data_of(run)
    assert data["formats"][0]["mapping"]["layout"] == "oasst_tree"
    # the better ranked answer to the first question is followed, and both turns are trained
    assert data["ledger"]["reasons"]["repaired"] == {"other_branches": 12}
    assert (data["train"], data["heldout"]) == (9, 3)


@pytest.mark.usefixtures("builtin_model")
def test_openassistants_messages_are_the_same_conversations(tmp_path: Path) -> None:
    messages = guide_data.oasst_messages(tmp_path, 3)
    out = tmp_path / "tokens.jsonl"
    luthier("data", "tokens", str(messages), "--model", "builtin", "--out", str(out))
    samples = [json.loads(line) for line in out.read_text().splitlines()]
    # each end is a conversation here: the worse answer, and the better one with what follows
    assert sorted(len(sample["turns"]) for sample in samples) == [1, 1, 1, 2, 2, 2]


@pytest.mark.usefixtures("builtin_model")
def test_openorca_trains_with_its_system_prompts(tmp_path: Path) -> None:
    run = trained("mistral-7b-openorca", guide_data.openorca(tmp_path, 12))
    data = data_of(run)
    assert data["formats"][0]["format"] == "question_answer"
    assert data["formats"][0]["mapping"]["columns"]["system"] == "system_prompt"
    assert (data["train"], data["heldout"]) == (9, 3)
