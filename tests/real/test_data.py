"""Looking at data with a real model: what the command line writes is what the tokenizer says, and
Ctrl-C leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from trainer.data.inspection import inspections

pytestmark = pytest.mark.real
ROWS: list[dict[str, Any]] = [
    {
        "conversations": [
            {"from": "human", "value": "Ahoy 🌊"},
            {"from": "gpt", "value": "Aye,\n\nnaïve مرحبا 👩‍👩‍👧. Fair winds!"},
        ]
    },
    {
        "conversations": [
            {"from": "human", "value": "one"},
            {"from": "human", "value": "two"},
            {"from": "gpt", "value": "three"},
        ]
    },
    {"conversations": []},
    {"conversations": [{"from": "human", "value": "Sing!"}, {"from": "gpt", "value": "Yo ho ho!"}]},
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "pirates.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def luthier(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tui.cli", "data", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_check_accounts_for_every_row(builtin_model: Path, source: Path) -> None:
    answer = luthier("check", str(source), "--json")
    assert answer.returncode == 0, answer.stderr
    whole = json.loads(answer.stdout)
    assert whole["rows"] == len(ROWS)
    assert {state: amount["rows"] for state, amount in whole["states"].items()} == {
        "kept": 2,
        "repaired": 1,
        "split": 0,
        "dropped": 1,
    }
    assert [found["name"] for found in whole["formats"]] == ["sharegpt"]
    assert whole["train"] + whole["heldout"] == sum(whole["lengths"]["counts"]) == 3
    assert inspections() == []


def test_check_exits_with_1_where_a_policy_says_stop(builtin_model: Path, source: Path) -> None:
    recipe = source.with_name("strict.toml")
    recipe.write_text(f'data = ["{source}"]\n[policy]\nconsecutive = "stop"\n')
    answer = luthier("check", str(recipe))
    assert answer.returncode == 1
    assert (
        "row 1" in answer.stderr
        and "policy.consecutive" in answer.stderr
        and "Traceback" not in answer.stderr
    )
    assert "all 4" in " ".join(answer.stdout.split())  # the whole file is accounted for first
    assert inspections() == []


def test_what_is_shown_are_the_tokenizer_s_own_tokens(builtin_model: Path, source: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(builtin_model), local_files_only=True)
    sample = json.loads(luthier("show", str(source), "--row", "0", "--json").stdout)["samples"][0]
    assert "".join(token["text"] for token in sample["tokens"]) == tokenizer.decode(
        sample["input_ids"]
    )
    trained = "".join(token["text"] for token in sample["tokens"] if token["class"] != "untrained")
    assert trained == ROWS[0]["conversations"][1]["value"] + "<|im_end|>"
    assert sample["tokens"][-2]["class"] == "stop"


def test_tokens_are_what_show_shows(builtin_model: Path, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "samples.jsonl"
    assert luthier("tokens", str(source), "--out", str(target)).returncode == 0
    records = {
        record["source"]["row"]: record
        for record in map(json.loads, target.read_text().splitlines())
    }
    assert sorted(records) == [0, 1, 3]
    shown = json.loads(luthier("show", str(source), "--row", "3", "--json").stdout)["samples"][0]
    assert (records[3]["input_ids"], records[3]["labels"]) == (shown["input_ids"], shown["labels"])


def test_ctrl_c_stops_the_job_and_leaves_nothing(builtin_model: Path, source: Path) -> None:
    command = [sys.executable, "-m", "tui.cli", "data", "check", str(source)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        deadline = time.monotonic() + 30
        while not inspections() and time.monotonic() < deadline:
            time.sleep(0.05)
        job = inspections()[0]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Interrupted" in said
    assert not job.directory.exists()
