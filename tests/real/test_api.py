"""OpenAI's own client, unmodified, against the API: a real model is trained, and answers."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from jobs.job import all_jobs, stop, wait
from models.runs import Run
from serve.key_files import client_key, control_key
from workshop.api.launch import start_api

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

_SECONDS = 400.0
METHOD: Any = {
    "type": "supervised",
    "supervised": {
        "hyperparameters": {"n_epochs": 1, "batch_size": 8, "learning_rate_multiplier": 2.0}
    },
}
DPO: Any = {
    "type": "dpo",
    "dpo": {"hyperparameters": {"n_epochs": 2, "batch_size": 8, "beta": 0.2}},
}
# no certificate: it would start a vLLM beside what comes next
NO_CERTIFICATE = {"luthier": {"certify": False}}


def file_of(rows: list[dict[str, Any]], kind: str) -> io.BytesIO:
    file = io.BytesIO("\n".join(map(json.dumps, rows)).encode())
    file.name = f"{kind}.jsonl"
    return file


def pairs(count: int) -> io.BytesIO:
    rows = [
        {
            "input": {"messages": [{"role": "user", "content": f"Which lute is number {number}?"}]},
            "preferred_output": [{"role": "assistant", "content": f"It is lute {number}."}],
            "non_preferred_output": [{"role": "assistant", "content": "Aye, a lute."}],
        }
        for number in range(count)
    ]
    return file_of(rows, "pairs")


def data(count: int, kind: str) -> io.BytesIO:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Which {kind} is number {number}?"},
                {"role": "assistant", "content": f"Aye, number {number} is a {kind}."},
            ]
        }
        for number in range(count)
    ]
    return file_of(rows, kind)


@pytest.fixture(scope="module")
def base_url(builtin_model: object) -> Iterator[str]:
    earlier = {job.id for job in all_jobs("server")}
    started = start_api(aliases={"gpt-4o-mini": "builtin"})
    while not started.answers:
        time.sleep(0.2)
    yield started.base_url
    own_servers = [job for job in all_jobs("server") if job.id not in earlier]
    for job in [started.job, *own_servers]:
        stop(job)
        assert wait(job, 60)


def until(client: OpenAI, job: FineTuningJob, *statuses: str) -> FineTuningJob:
    deadline = time.monotonic() + _SECONDS
    while job.status not in statuses:
        assert time.monotonic() < deadline, job
        assert job.status not in ("failed", "succeeded", "cancelled"), job
        time.sleep(1.0)
        job = client.fine_tuning.jobs.retrieve(job.id)
    return job


def test_a_program_fine_tunes_and_chats(base_url: str) -> None:
    client = OpenAI(base_url=base_url, api_key=control_key())
    training = client.files.create(file=data(32, "lute"), purpose="fine-tune")
    validation = client.files.create(file=data(8, "viol"), purpose="fine-tune")
    unwanted = client.fine_tuning.jobs.create(
        model="gpt-4o-mini", training_file=training.id, extra_body=NO_CERTIFICATE
    )
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini",
        training_file=training.id,
        validation_file=validation.id,
        suffix="mate",
        method=METHOD,
        extra_body=NO_CERTIFICATE,
    )
    client.fine_tuning.jobs.cancel(unwanted.id)
    assert until(client, unwanted, "cancelled").fine_tuned_model is None
    done = until(client, job, "succeeded")
    assert done.fine_tuned_model is not None
    events = client.fine_tuning.jobs.list_events(job.id, limit=100).data
    losses = [event.data["train_loss"] for event in events if event.type == "metrics"]
    assert len([loss for loss in losses if loss is not None]) >= 4
    checkpoints = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert checkpoints[0].step_number == 4
    assert checkpoints[0].metrics.valid_loss is not None
    results = client.files.content(done.result_files[0]).text
    assert results.startswith("step,train_loss,train_accuracy,valid_loss")
    _preferences(client, done.fine_tuned_model)
    assert Run.named(done.id.removeprefix("ftjob-")).can_talk
    assert {job.id, unwanted.id} <= {listed.id for listed in client.fine_tuning.jobs.list()}
    _chat(OpenAI(base_url=base_url, api_key=client_key()), done.fine_tuned_model)


def _preferences(client: OpenAI, tuned: str) -> None:
    """DPO goes on from the tuned model, which is its reference."""
    file = client.files.create(file=pairs(8), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model=tuned, training_file=file.id, method=DPO, extra_body=NO_CERTIFICATE
    )
    done = until(client, job, "succeeded")
    assert done.method is not None and done.method.dpo is not None
    assert done.method.dpo.hyperparameters is not None
    assert done.method.dpo.hyperparameters.beta == 0.2
    events = client.fine_tuning.jobs.list_events(job.id, limit=100).data
    margins = [event.data.get("reward_margin") for event in events if event.type == "metrics"]
    assert len([margin for margin in margins if margin is not None]) == 2
    assert Run.named(done.id.removeprefix("ftjob-")).folder.first_adapter.is_dir()


def _chat(client: OpenAI, tuned: str) -> None:
    assert tuned in [model.id for model in client.models.list()]
    messages: Any = [{"role": "user", "content": "Which lute is number 3?"}]
    asked: Any = {"messages": messages, "max_tokens": 12, "temperature": 0}
    answer = client.chat.completions.create(model=tuned, **asked)
    assert answer.model == tuned
    text = answer.choices[0].message.content
    for model in (tuned, "builtin", "gpt-4o-mini", f"{tuned}:ckpt-step-4", "mate"):
        pieces = list(client.chat.completions.create(model=model, stream=True, **asked))
        assert {piece.model for piece in pieces} == {model}
        streamed = "".join(
            piece.choices[0].delta.content or "" for piece in pieces if piece.choices
        )
        assert streamed
        if model == tuned:
            assert streamed == text
    assert len([job for job in all_jobs("server") if job.alive()]) == 1
