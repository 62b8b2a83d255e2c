"""The certificate on real models: green for what the captain's run left, red with the right reason
for what is broken on purpose."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs.job import Job, stop, wait
from jobs.state import Done, Lost, Stopped
from models import certificate
from models.certificate import Check
from models.hashing import file_hashes
from models.merge import receipt
from models.runs import Run
from models.standing import standing
from serve.certificate import asking, checks
from serve.certificate.checks import Evidence
from serve.certificate.launch import certify
from serve.certificate.measured import (
    ORDERS_FILE,
    REFERENCE_FILE,
    Broken,
    Orders,
    Reference,
    Served,
    write,
)
from serve.certificate.turns import PROBES, Sample, choose_samples, sample_of
from serve.client import load_adapter, unload_adapter
from serve.servers import Server
from tests.real.conftest import LUTHIER, assert_gone, worker_and_below

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


def luthier(*arguments: str, status: int = 0) -> dict[str, Any]:
    answer = subprocess.run([*LUTHIER, *arguments], capture_output=True, text=True, check=False)
    assert answer.returncode == status, answer.stderr
    told: dict[str, Any] = json.loads(answer.stdout)
    return told


def reds(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.sentence for check in checks if check.verdict == "red"}


@pytest.fixture(scope="module")
def samples(captain_run: Job) -> list[Sample]:
    """A few of the held-out conversations: enough to see a fault, few enough to be quick."""
    return choose_samples(captain_run.directory / "data")[1][:5]


def measured(
    folder: Path, samples: list[Sample], base: Path, adapter: Path, merged: Path | None = None
) -> Reference:
    """What transformers says, in a process of its own as in a job."""
    folder.mkdir()
    write(
        folder / ORDERS_FILE,
        Orders(
            str(base),
            str(adapter),
            None if merged is None else str(merged),
            "cpu",
            samples,
            list(PROBES),
        ),
    )
    subprocess.run(
        [sys.executable, "-P", "-m", "serve.certificate.reference", str(folder)], check=True
    )
    return msgspec.json.decode((folder / REFERENCE_FILE).read_bytes(), type=Reference)


@pytest.fixture(scope="module")
def base_served(server: Server, samples: list[Sample]) -> Served:
    return served(server, "base", samples)


def served(server: Server, model: str, samples: list[Sample]) -> Served:
    return Served(
        scores=asyncio.run(asking.scores(server.endpoint, model, samples, lambda: None)), answers=[]
    )


@contextmanager
def loaded(server: Server, name: str, adapter: Path) -> Iterator[None]:
    asyncio.run(load_adapter(server.control_endpoint, name, adapter))
    try:
        yield
    finally:
        asyncio.run(unload_adapter(server.control_endpoint, name))


def test_the_run_s_own_certificate_is_green(captain_run: Job, captain_certificate: Job) -> None:
    state = captain_certificate.state()
    assert isinstance(state, Done) and state.result["verdict"] == "green", state
    told = luthier("certify", captain_run.id, "--show", "--json")
    assert (told["verdict"], told["reasons"], told["changed_since"]) == ("green", [], [])
    assert standing(captain_run.directory).verdict == "green"
    figures = {check["name"]: check["figure"] for check in told["checks"]}
    print(json.dumps(figures), told["seconds"])
    assert figures["token ids"] == 0 and figures["stopping, tuned"] == 1.0
    nll = {(column["model"], column["engine"]): column["nll"] for column in told["columns"]}
    assert nll["tuned", "vLLM"] < nll["base", "vLLM"] - 0.3
    assert not [path for path in captain_run.directory.iterdir() if path.name.startswith(".")]


def test_adapter_zeroed_tied_head_lost_and_template_swapped(
    captain_run: Job,
    builtin_model: Path,
    samples: list[Sample],
    server: Server,
    base_served: Served,
    tmp_path: Path,
) -> None:
    zeroed, headless = (
        zeroed_adapter(captain_run, tmp_path / "zeroed"),
        without_head(builtin_model, tmp_path / "headless"),
    )
    reference = measured(tmp_path / "job", samples, builtin_model, zeroed, headless)
    with loaded(server, "zeroed", zeroed):
        rendered = asyncio.run(asking.rendered(server.endpoint, "base", samples, PROBES))
        evidence = Evidence(
            samples,
            PROBES,
            {},
            True,
            [],
            reference,
            rendered,
            base_served,
            served(server, "zeroed", samples),
        )
    found = reds(checks.all_checks(evidence))
    assert set(found) == {
        "adapter effect, transformers",
        "adapter effect, vLLM",
        "merged, transformers, agreement",
    }
    assert "weights are zero" in found["adapter effect, transformers"]
    assert "lack lm_head.weight" in found["merged, transformers, agreement"]
    # Training saw another template than the one that transformers and vLLM read now.
    seen = trained_with_another_template(samples, builtin_model)
    swapped = reds(checks.all_checks(replace(evidence, samples=seen)))["token ids"]
    assert "the chat template or the tokenizer has changed since" in swapped
    # The server takes the adapter and serves the base.
    ignored = replace(
        evidence, reference=msgspec.structs.replace(reference, tuned=moved(reference))
    )
    assert "ignores the adapter" in reds(checks.all_checks(ignored))["adapter effect, vLLM"]


def zeroed_adapter(run: Job, target: Path) -> Path:
    from safetensors.torch import load_file, save_file

    shutil.copytree(run.directory / "adapter", target)
    tensors = load_file(target / "adapter_model.safetensors")
    save_file(
        {name: 0 * tensor if "lora_B" in name else tensor for name, tensor in tensors.items()},
        target / "adapter_model.safetensors",
    )
    return target


def without_head(base: Path, target: Path) -> Path:
    """A merge of a tied model that unties it and forgets to write the head."""
    shutil.copytree(base, target)
    config = json.loads((target / "config.json").read_text())
    assert config["tie_word_embeddings"]
    (target / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    return target


def trained_with_another_template(samples: list[Sample], base: Path) -> list[Sample]:
    """The samples as the trainer makes them with a chat template that has another default system
    prompt."""
    from models.conversations import Conversation
    from models.mask import MaskOptions
    from models.preflight import check_template
    from models.samples import Sample as Made
    from models.samples import Sampler
    from models.template import load_tokenizer

    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "a helpful AI assistant named SmolLM", "a pirate"
    )
    sampler = Sampler(tokenizer, check_template(tokenizer, base), MaskOptions())
    conversations = [
        Conversation(sample.messages, "x", number) for number, sample in enumerate(samples)
    ]
    made = [found for found in sampler.samples(conversations) if isinstance(found, Made)]
    return [
        sample_of(one.input_ids, one.labels, one.turns, one.conversation.messages) for one in made
    ]


def moved(reference: Reference) -> Any:
    """What an adapter that works would have said."""
    assert not isinstance(reference.base, Broken)
    return msgspec.structs.replace(
        reference.base, log_probabilities=[value / 2 for value in reference.base.log_probabilities]
    )


@pytest.fixture
def copied(captain_run: Job, samples: list[Sample]) -> Iterator[Callable[[str], Job]]:
    """Copies of the run under other ids, with few held-out conversations; removed at the end."""
    made: list[Path] = []

    def copy(name: str) -> Job:
        directory = captain_run.directory.with_name(f"20261122-0000-{name}-0001")
        shutil.copytree(captain_run.directory, directory)
        made.append(directory)
        (directory / "certificate.json").unlink()
        lines = (directory / "data" / "heldout.jsonl").read_text().splitlines(keepends=True)
        (directory / "data" / "heldout.jsonl").write_text("".join(lines[: len(samples)]))
        return Job(directory)

    yield copy
    for directory in made:
        shutil.rmtree(directory)


def test_stop_id_removed_from_the_merged_model(
    copied: Callable[[str], Job], builtin_model: Path
) -> None:
    """The whole job, with a second vLLM for the merged model, whose merge forgot the stop token
    that was trained."""
    from models.merge.merging import merge
    from models.merge.plan import plan_merge

    run = copied("stopless")
    merged = run.directory / "merged"
    written = merge(plan_merge(builtin_model, run.directory / "adapter"), merged, run=run.id)
    edit(merged / "generation_config.json", eos_token_id=0)
    edit(merged / "tokenizer_config.json", eos_token="<|endoftext|>", eos_token_id=0)
    receipt.write(merged, replace(written, files=file_hashes(merged, *written.files)))
    told = luthier("certify", run.id, "--json", status=1)
    found = {
        check["name"]: check["sentence"] for check in told["checks"] if check["verdict"] == "red"
    }
    assert set(found) == {
        "stop tokens, merged",
        "stopping, merged, past the end",
        "stopping, merged",
    }
    assert "went on after the stop token 2" in found["stopping, merged, past the end"]
    green = {check["name"] for check in told["checks"] if check["verdict"] == "green"}
    assert {
        "exact bytes, merged",
        "merged, transformers, log-probs",
        "merged, vLLM, log-probs",
        "vLLM + adapter, log-probs",
    } <= green
    assert told["verdict"] == "red" and standing(run.directory).verdict == "red"
    assert {column["model"] for column in told["columns"] if column["engine"] == "vLLM"} == {
        "base",
        "tuned",
        "merged",
    }


def edit(path: Path, **changed: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def test_shard_truncated_and_bytes_flipped_are_found_before_anything_is_loaded(
    copied: Callable[[str], Job], builtin_model: Path
) -> None:
    """The base's weights are cut off, too: nothing is started, and the certificate says why."""
    run = copied("cut")
    base = run.directory / "base"
    shutil.copytree(builtin_model, base)
    shutil.copytree(builtin_model, run.directory / "merged")
    for folder in (base, run.directory / "merged"):
        with (folder / "model.safetensors").open("r+b") as file:
            file.truncate(200_000_000)
    with (run.directory / "adapter" / "adapter_model.safetensors").open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"\x7f")
    spec = json.loads((run.directory / "spec.json").read_text())
    (run.directory / "spec.json").write_text(
        json.dumps({**spec, "settings": {**spec["settings"], "model_directory": str(base)}})
    )
    told = luthier("certify", run.id, "--json", status=1)
    found = {
        check["name"]: check["sentence"] for check in told["checks"] if check["verdict"] == "red"
    }
    assert set(found) == {
        "exact bytes, base weights",
        "exact bytes, adapter",
        "exact bytes, merged",
        "base model",
    }
    assert (
        "cut off" in found["exact bytes, base weights"]
        and "cut off" in found["exact bytes, merged"]
    )
    assert "adapter_model.safetensors has changed" in found["exact bytes, adapter"]
    assert told["seconds"] < 10 and told["columns"] == []


def test_killed_and_stopped_it_leaves_nothing(copied: Callable[[str], Job]) -> None:
    run = copied("killed")
    job = certify(Run(run))
    assert certify(Run(run)).id == job.id  # one at a time
    wait_for_phase(job, "loading transformers")
    pids = worker_and_below(job)
    stop(job)
    assert wait(job, 20.0)
    assert isinstance(job.state(), Stopped)
    assert_gone(pids, 2.0)
    again = certify(Run(run))
    wait_for_phase(again, "vLLM: starting the engine")
    pids = worker_and_below(again)
    assert len(pids) > 3
    os.kill(pids[0], signal.SIGKILL)
    assert_gone(pids, 20.0)
    assert isinstance(again.state(), Lost)
    assert certificate.read(run.directory) is None


def wait_for_phase(job: Job, phase: str) -> None:
    deadline = time.monotonic() + 240
    while not any(event["kind"] == "phase" and event["name"] == phase for event in job.events()):
        assert job.alive() and time.monotonic() < deadline, job.state()
        time.sleep(0.1)
