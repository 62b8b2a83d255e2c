"""`luthier make` with Luthier's own server: a real model, which is too small to ask well, writes
the questions under a real grammar; and a real training on what was made."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs.job import create, wait
from models.run_folder import RECIPE_FILE, RunFolder
from serve.servers import Server
from tests.real.conftest import LUTHIER
from tests.real.forks import Forks, events
from tests.workshop.making import written
from trainer.launch import run_spec
from trainer.recipe import load, to_toml
from workshop.making.launch import make as start_making
from workshop.making.order import Order
from workshop.making.recipe import load as load_making

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def make(*arguments: str) -> dict[str, Any]:
    answer = subprocess.run(
        [*LUTHIER, "make", *arguments, "--json"],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    result: dict[str, Any] = json.loads(answer.stdout)
    return result


@pytest.mark.parametrize("method", ["qa", "interview"])
def test_the_server_that_runs_is_asked_and_each_passage_has_one_end(
    server: Server, tmp_path: Path, method: str
) -> None:
    book, out = written.epub(tmp_path / "keeper.epub"), tmp_path / "made"
    log = server.job.directory / "requests.jsonl"
    before = len(log.read_text().splitlines()) if log.is_file() else 0
    arguments = [str(book), "--recipe", method, "--out", str(out), "--at-once", "2"]
    result = make(*arguments)
    assert result["passages"] == result["kept"] + result["rejected"] == 3
    assert result["unanswered"] == 0 and result["tokens_out"] > 0
    # the grammar holds the model to the form, unless it talks until it is cut off
    assert "unreadable" not in result["reasons"]
    asked = len(log.read_text().splitlines())
    assert asked > before
    again = make(*arguments)
    assert {**again, "id": ""} == {**result, "id": ""}
    assert len(log.read_text().splitlines()) == asked
    ledger = [
        json.loads(line) for line in (out / "origins" / "ledger.jsonl").read_text().splitlines()
    ]
    assert [entry["number"] for entry in ledger] == [0, 1, 2]
    text = (out / "origins" / "keeper.epub.txt").read_text()
    for entry in ledger:
        location = entry["location"]
        assert location["chapter"] in written.CHAPTERS
        assert text[location["start"] : location["end"]]


@pytest.mark.parametrize("method", ["dialogue", "continue"])
def test_what_it_makes_trains_a_model_and_holds_its_part_out(
    forks: Forks, tmp_path: Path, method: str
) -> None:
    document = tmp_path / "source.txt"
    if method == "dialogue":  # as a podcast
        talk = [
            (f"{name}: {text} ({round_})") for round_ in range(12) for name, text in written.TALK
        ]
        document.write_text("\n".join(talk))
    else:  # as a book
        parts = [
            f"{text} That was year {year}." for year in range(8) for text in written.PARAGRAPHS
        ]
        document.write_text("\n\n".join(parts))
    making = load_making(method)
    recipe = msgspec.structs.replace(
        making.recipe,
        turns=1,
        heldout=0.25,
        checks=msgspec.structs.replace(making.recipe.checks, nearest=1.0),
    )
    making = msgspec.structs.replace(making, recipe=recipe)
    making_job = start_making(Order([str(document)], str(tmp_path / "made"), making), "")
    assert wait(making_job, 60)
    training = load(tmp_path / "made" / "recipe.toml")
    training = msgspec.structs.replace(
        training,
        model=str(forks.model),
        train=msgspec.structs.replace(training.train, epochs=2.0, learning_rate=5e-3),
        evaluation=msgspec.structs.replace(training.evaluation, times=0),
    )
    job = create(run_spec(training))
    (job.directory / RECIPE_FILE).write_text(to_toml(training))
    assert forks.work(job) == 0, (job.directory / "output.log").read_text()[-3000:]
    (data,) = events(job, "data")
    assert [each["format"] for each in data["formats"]] == ["messages"]
    heldout = (tmp_path / "made" / "heldout.jsonl").read_text().splitlines()
    samples = RunFolder(job.directory).heldout_samples.read_text().splitlines()
    assert len(samples) == len(heldout) > 0
    losses = [event["loss"] for event in events(job, "step")]
    assert losses[-1] < losses[0]
