"""`luthier merge` on the built-in model: PEFT's values, the trained model's answers; killed and
stopped as a job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from jobs.events import Follower
from jobs.job import Job, find, start, stop, submit, wait
from jobs.spec import Spec
from jobs.state import Done, Failed, Lost, Stopped
from models.merge import receipt
from models.merge.disk_space import partial_directory
from models.registry import list_models, resolve
from tests.real.conftest import LUTHIER, TEXTS

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def test_it_is_told_and_listed(merged: dict[str, Any], builtin_model: Path) -> None:
    assert merged["path"] == str(resolve("noisy-merged"))
    assert (merged["changed"], merged["stop_token_ids"], merged["into"]) == (60, [2], "base")
    (listed,) = (model for model in list_models() if model.name == "noisy-merged")
    assert (listed.ready, listed.context_length) == (True, 8192)
    made = receipt.read(listed.path)
    assert receipt.differences(listed.path, made) == []
    job = find(merged["id"], "merge")
    events = Follower(job.events_path).read()
    assert {event["name"] for event in events if event["kind"] == "phase"} >= {
        "loading the libraries",
        "reading the chat template",
    }
    assert isinstance(job.state(), Done)


def test_its_values_are_peft_s_rounded_once_and_its_answers_the_adapter_s(
    merged: dict[str, Any], builtin_model: Path, random_adapter: Path
) -> None:
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    adapted = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(str(builtin_model), dtype=torch.float32),
        str(random_adapter),
    )
    tokenizer = AutoTokenizer.from_pretrained(merged["path"])
    ids = [tokenizer(text, return_tensors="pt").input_ids for text in TEXTS]
    rounded = AutoModelForCausalLM.from_pretrained(merged["path"], dtype=torch.float32)
    with torch.no_grad():
        unmerged = [adapted(input_ids=each).logits.log_softmax(-1) for each in ids]
        found = [rounded(input_ids=each).logits.log_softmax(-1) for each in ids]
    for one, other in zip(unmerged, found, strict=True):
        divergence = (one.exp() * (one - other)).sum(-1).mean().item()
        print(
            f"mean KL {divergence:.2e}, largest difference of a log-probability"
            f" {(one - other).abs().max().item():.3f}"
        )
        assert divergence < 0.01
    expected = adapted.merge_and_unload().state_dict()
    written = load_file(f"{merged['path']}/model.safetensors")
    assert [
        name
        for name, values in written.items()
        if not torch.equal(values, expected[name].bfloat16())
    ] == []


def merge_job(builtin_model: Path, adapter: Path, out: Path) -> Job:
    settings = {
        "base": str(builtin_model),
        "adapter": str(adapter),
        "out": str(out),
        "stop_ids": [2],
    }
    return submit(Spec("merge", "interrupted", "models.merge_worker", settings, grace_seconds=20.0))


def worker_pid(job: Job) -> int:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for event in job.events():
            if event["kind"] == "started":
                return int(event["pid"])
        time.sleep(0.02)
    raise AssertionError(job.state())


@pytest.mark.parametrize("moment", [0.5, 2.0, 2.6])
def test_a_worker_killed_leaves_no_model_and_can_be_run_again(
    moment: float, builtin_model: Path, random_adapter: Path, tmp_path: Path
) -> None:
    """At moments before, in and after the writing. (At each single call: tests/models/merge.)"""
    out = tmp_path / "merged"
    job = merge_job(builtin_model, random_adapter, out)
    pid = worker_pid(job)
    time.sleep(moment)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    assert wait(job, 30.0)
    state = job.state()
    if not isinstance(state, Done):
        assert isinstance(state, Failed | Lost), state
        assert not out.exists()
        start(job)
        assert wait(job, 60.0)
    assert isinstance(job.state(), Done), job.state()
    assert receipt.differences(out, receipt.read(out)) == []
    assert not partial_directory(out).exists()


def test_a_stopped_merge_leaves_nothing(
    builtin_model: Path, random_adapter: Path, tmp_path: Path
) -> None:
    job = merge_job(builtin_model, random_adapter, tmp_path / "merged")
    worker_pid(job)
    time.sleep(0.5)
    stop(job)
    assert wait(job, 30.0)
    assert isinstance(job.state(), Stopped | Done), job.state()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == (["merged"] if isinstance(job.state(), Done) else [])


def test_what_cannot_be_merged_is_told_before_a_job_is_made(
    random_adapter: Path, builtin_model: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    config = json.loads((random_adapter / "adapter_config.json").read_text())
    (broken / "adapter_config.json").write_text(
        json.dumps({**config, "target_parameters": ["mlp.experts.down_proj"]})
    )
    (broken / "adapter_model.safetensors").symlink_to(random_adapter / "adapter_model.safetensors")
    command = [
        *LUTHIER,
        "merge",
        "--base",
        "builtin",
        "--adapter",
        str(broken),
        "--out",
        str(tmp_path / "out"),
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "mlp.experts.down_proj" in answer.stderr
    assert not (tmp_path / "out").exists()
