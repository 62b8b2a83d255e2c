"""What real models recite and where they drifted: a run that has learnt its rows by heart is red
with the right rows, and the captain's run is not."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jobs.job import Job, find, wait
from jobs.state import Done
from models import chapters
from models.runs import Run
from models.standing import standing
from serve.drift import spill_map
from serve.recites.passages import choose
from serve.servers import Server
from tests.real.conftest import LUTHIER

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

WORDS = [
    first + second
    for first in ("am", "bor", "kel", "mi", "sun")
    for second in ("ber", "dan", "fel", "pim", "tus")
]
RECIPE = """
data = ["planted.jsonl"]
model = "builtin"
name = "planted"
certify = false
[train]
epochs = 20
learning_rate = 0.003
global_batch = 4
[heldout]
at_least = 4
[evaluation]
times = 0
samples = 0
"""


def luthier(*arguments: str, status: int = 0) -> dict[str, Any]:
    answer = subprocess.run([*LUTHIER, *arguments], capture_output=True, text=True, check=False)
    assert answer.returncode == status, answer.stderr
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


def planted_rows() -> list[dict[str, Any]]:
    """Notes that nobody can guess, each with a code."""
    chance = random.Random(5)
    rows = []
    for number in range(16):
        word = [chance.choice(WORDS) for _ in range(9)]
        code = f"{chance.randrange(10**4):04d}-{chance.randrange(10**4):04d}"
        answer = (
            f"The {' '.join(word[:3])} stands by the {' '.join(word[3:6])}, and the code is"
            f" {code}, said the {' '.join(word[6:])}."
        )
        messages = [
            {"role": "user", "content": f"Read me note {chance.choice(WORDS)} {number}."},
            {"role": "assistant", "content": answer},
        ]
        rows.append({"messages": messages})
    return rows


@pytest.fixture(scope="module")
def planted(builtin_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A run that was trained on a few notes for many epochs."""
    folder = tmp_path_factory.mktemp("planted")
    lines = [json.dumps(row) + "\n" for row in planted_rows()]
    (folder / "planted.jsonl").write_text("".join(lines))
    (folder / "planted.toml").write_text(RECIPE)
    luthier("train", str(folder / "planted.toml"), "--json")
    run = find("planted", "run")
    assert wait(run, 300.0)
    assert isinstance(run.state(), Done), run.state()
    return run


def test_what_was_learnt_by_heart_is_red_with_the_right_rows(
    planted: Job, server: Server, tmp_path: Path
) -> None:
    trained, _ = choose(Run(planted).folder, 100, 0, None)
    rows = {passage.row for passage in trained.chosen_passages}
    first = planted_rows()[min(rows)]["messages"][1]["content"]
    canaries = tmp_path / "canaries.txt"
    canaries.write_text(first[first.index("the code") : first.index(", said")] + "\n")
    report = luthier("recites", planted.id, "--canaries", str(canaries), "--json", status=1)
    print(json.dumps(report["checks"]), report["seconds"])
    assert report["verdict"] == "red" and report["figures"]["by_base"] == 0
    recited = {entry["row"] for entry in report["figures"]["recited"]}
    assert recited <= rows and len(recited) >= len(rows) / 2
    assert report["figures"]["held_out_share"] == 0  # the notes that it was not trained on
    verdicts = {check["name"]: check["verdict"] for check in report["checks"]}
    assert next(of for name, of in verdicts.items() if name.startswith("canary")) == "red"
    assert standing(planted.directory).verdict == "red"


def test_the_captain_recites_nothing_and_drifts_no_farther_than_on_its_data(
    captain_run: Job, server: Server
) -> None:
    report = luthier("recites", captain_run.id, "--rows", "60", "--json")
    print(json.dumps(report["checks"]), report["seconds"])
    assert (report["verdict"], report["figures"]["recited"]) == ("green", [])
    report = luthier("drift", captain_run.id, "--json")
    print(json.dumps(report["checks"]), report["seconds"])
    assert report["verdict"] in ("green", "amber")
    chapter = chapters.read(captain_run.directory, "drift")
    assert chapter is not None
    spills = spill_map.read(find(chapter.job).directory)
    assert all("".join(text for text, _ in spill.pieces) for spill in spills)
    assert standing(captain_run.directory).verdict != "red"
