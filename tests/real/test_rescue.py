"""`luthier rescue` with a real server in the place of the hosted one, and a real run beside it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.job import Job, create
from jobs.spec import Spec
from serve.key_files import client_key
from serve.launch import detach
from serve.servers import Server
from tests.real.conftest import LUTHIER

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

QUESTIONS = ("What is the capital of France?", "How many legs has a cat?", "Name a colour.")


@pytest.fixture
def successor(server: Server, builtin_model: Path) -> Iterator[Job]:
    """A run that has left the very adapter that the old model is served with."""
    run = create(
        Spec(
            "run",
            "successor",
            "trainer.worker",
            settings={"model": "builtin", "model_directory": str(builtin_model)},
        )
    )
    old = next(model.path for model in server.models if model.id == "noisy")
    shutil.copytree(old, run.directory / "adapter")
    yield run
    for model in server.refreshed().models:
        if model.run == run.id:
            detach(server, model.id)


def rescue(*arguments: str) -> dict[str, Any]:
    answer = subprocess.run(
        [*LUTHIER, "rescue", "noisy", *arguments, "--json"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    result: dict[str, Any] = json.loads(answer.stdout)
    return result


def test_answers_are_kept_and_an_equal_run_is_as_near_as_can_be(
    server: Server, successor: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTED_KEY", client_key())
    prompts, out = tmp_path / "prompts.txt", tmp_path / "kept"
    prompts.write_text("\n".join(QUESTIONS))
    order = ["--at", f"{server.base_url}/v1", "--key-env", "HOSTED_KEY", "--prompts", str(prompts)]
    order += ["--out", str(out), "--max-tokens", "256"]
    result = rescue(*order, "--beside", successor.id)
    assert (result["answered"], result["failed"], result["left"]) == (3, 0, 0)
    log = server.job.directory / "requests.jsonl"
    asked = len(log.read_text().splitlines())
    again = rescue(*order)
    assert again["answered"] == 3 and len(log.read_text().splitlines()) == asked
    kept = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert len(kept) == result["rows"] > 0
    near = result["beside"]["models"]
    assert near["successor"]["chrF"]["mean"] > near["base"]["chrF"]["mean"]
    assert near["successor"]["nats a character"]["mean"] < near["base"]["nats a character"]["mean"]
    report = (out / "report.md").read_text()
    assert "How near to the references" in report and "successor beside noisy" in report
