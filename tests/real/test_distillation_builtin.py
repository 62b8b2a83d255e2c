"""The built-in model learns from a run of its own, and from a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.home import home
from jobs.job import Job, wait
from jobs.state import Done
from models import certificate, endpoints
from models.adapters import check_servable, read_adapter
from models.events import WeightSync
from models.run_folder import RunFolder
from models.runs import Run
from serve.certificate.launch import certify
from serve.servers import Server
from tests.real.forks import events
from trainer.examples import CAPTAIN
from trainer.launch import train
from trainer.recipe import load

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

RECIPE = """
model = "builtin"
data = ["{data}"]
name = "apprentice"
certify = false
[objective]
kind = "distill"
teacher = "{teacher}"
{objective}
[train]
learning_rate = 1e-3
epochs = {epochs}
global_batch = 8
[heldout]
at_least = 8
at_most = 8
[evaluation]
times = 1
samples = 1
answer_tokens = 16
"""


def endpoint(server: Server, key: str) -> endpoints.HostedEndpoint:
    path = str(home() / "keys" / key)
    return endpoints.HostedEndpoint("own", f"http://127.0.0.1:{server.port}/v1", key_file=path)


def trained(tmp_path: Path, **settings: Any) -> Job:
    """A run of the real supervisor, done."""
    path = tmp_path / "recipe.toml"
    usual = {"data": CAPTAIN / "train.jsonl", "objective": "", "epochs": 0.5}
    path.write_text(RECIPE.format(**{**usual, **settings}))
    job = train(load(path))
    assert wait(job, 280)
    assert isinstance(job.state(), Done), f"{job.state()}\n{job.log_path.read_text()[-4000:]}"
    return job


def test_the_builtin_model_learns_from_the_captain(captain_run: Job, tmp_path: Path) -> None:
    """On prompts that it has not seen: measured 1.01 nats a token before, 0.55 after five steps."""
    job = trained(tmp_path, teacher=captain_run.id, objective="sample_tokens = 32", epochs=0.35)
    before, *_, after = (event["metrics"] for event in events(job, "eval"))
    assert after["heldout_kl"] < 0.6 * before["heldout_kl"]
    syncs = events(job, "weight_sync")
    assert len(syncs) == len(events(job, "step")) + 1
    assert all(sync["ok"] for sync in syncs)
    assert syncs[-1]["shown"] > 0.9
    adapter = read_adapter(RunFolder(job.directory).adapter)
    check_servable(adapter, Path(str(job.spec.settings["model_directory"])))
    # what it learned from its own answers is what is served, too
    certifying = certify(Run(job))
    assert wait(certifying, 400)
    assert isinstance(certifying.state(), Done), certifying.log_path.read_text()[-4000:]
    written = certificate.read(job.directory)
    assert written is not None and written.verdict != "red"
    # samples of 32 tokens teach little about where an answer ends
    faults = {check.name for check in written.checks if check.verdict != "green"}
    assert faults <= {"stopping, tuned"}, written.reasons


def test_a_server_is_a_teacher(server: Server, random_adapter: Path, tmp_path: Path) -> None:
    """Its scores are those of the same model on this machine, and a run learns from them."""
    endpoints.add(endpoint(server, "client"))
    objective = 'teacher_model = "noisy"\nsample_tokens = 12'
    job = trained(tmp_path, teacher="own", objective=objective, epochs=0.1)
    evaluations = events(job, "eval")
    assert len(events(job, "step")) == 2
    assert all(event["metrics"]["heldout_kl"] > 1 for event in evaluations)
    local = trained(tmp_path, teacher=random_adapter, objective="sample_tokens = 12", epochs=0.1)
    exact = events(local, "eval")[0]["metrics"]["heldout_kl"]
    # the same answers; of each token one draw rather than all that might have been drawn
    assert evaluations[0]["metrics"]["heldout_kl"] == pytest.approx(exact, rel=0.4)


def test_a_server_samples_with_the_weights_of_each_sync(
    server: Server, builtin_model: Path, tmp_path: Path
) -> None:
    """And the check finds a server that has not loaded them, or has and samples from the base."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from trainer.run.sampling import Answer, SampleSettings
    from trainer.run.server_sampler import ServerSampler
    from trainer.run.weight_sync import checked

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(builtin_model, dtype=torch.bfloat16)
    model = get_peft_model(base, LoraConfig(r=8, target_modules="all-linear"))
    settings = SampleSettings(frozenset(), 24, 1.0, 4)
    sampler = ServerSampler(model, endpoint(server, "control"), tmp_path / "sampler", settings)
    prompts = [[1, 9690, 198, token] for token in (504, 314, 1015, 260)]

    def move() -> None:
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data += 0.1 * torch.randn(parameter.shape)

    def sync(step: int, answers: list[Answer]) -> WeightSync:
        return checked(model, sampler, prompts, answers, step, "bfloat16")

    def answers() -> list[Answer]:
        return sampler.answers(prompts, 5, lambda: False)

    for step in (0, 1):
        sampler.sync(step)
        result = sync(step, answers())
        assert result.ok, result
        if step:
            assert isinstance(result.shown, float)
            assert result.shown > 0.8
        move()
    stale = sync(2, answers())
    assert not stale.ok
    assert stale.sampled != stale.trained
    sampler.sync(2)
    with pytest.MonkeyPatch.context() as patch:
        complete = sampler._client.completed
        patch.setattr(
            sampler._client, "completed", lambda body: complete({**body, "model": "builtin"})
        )
        ignored = sync(2, answers())
    assert ignored.sampled == ignored.trained
    assert not ignored.ok
    assert isinstance(ignored.shown, float)
    assert ignored.shown < 0.2
