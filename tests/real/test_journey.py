"""The whole journey through the command line, on real parts only: the demo, then its run served,
asked and repeated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs import job as jobs
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.state import Done, Failed, Queued, Running, Starting, Stopped
from models.conversations import read_prompts
from models.runs import Run
from serve.certificate.launch import certify
from serve.key_files import client_key
from serve.servers import Server
from tests.real.conftest import LUTHIER, ROOT, in_a_terminal_that_is_killed
from tests.real.forks import Forks
from tui.commands.demo import in_voice

if TYPE_CHECKING:
    import openai

pytestmark = pytest.mark.real

CAPTAIN = ROOT / "examples" / "captain"


def luthier(*arguments: str, status: int = 0) -> str:
    """The stdout of a command."""
    answer = subprocess.run([*LUTHIER, *arguments], capture_output=True, text=True, check=False)
    assert answer.returncode == status, answer.stderr
    return answer.stdout if status == 0 else answer.stderr


@pytest.fixture(scope="module")
def run(captain_run: Job) -> Job:
    return captain_run


@pytest.fixture(scope="module")
def tuned_server(run: Job, server: Server) -> Server:
    """The session's server, with the run hot-loaded by `luthier serve`."""
    answer = json.loads(luthier("serve", run.id, "--json"))
    assert answer["id"] == server.job.id
    assert "captain" in [model["id"] for model in answer["models"]]
    return server.refreshed()


@pytest.fixture(scope="module")
def client(tuned_server: Server) -> Iterator[openai.OpenAI]:
    import openai  # here, since each process of the fast tests looks into this file too

    with openai.OpenAI(base_url=f"{tuned_server.base_url}/v1", api_key=client_key()) as made:
        yield made


def test_the_run_left_a_standard_adapter_its_frozen_recipe_and_its_figures(run: Job) -> None:
    adapter = Run(run).adapter()
    assert {"adapter_config.json", "adapter_model.safetensors", "card.json"} <= {
        path.name for path in adapter.iterdir()
    }
    events = [json.loads(line) for line in luthier("log", run.id, "--json").splitlines()]
    steps = [event for event in events if event["kind"] == "step"]
    assert [event["step"] for event in steps] == list(range(1, 31))
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert all(
        {"loss", "learning_rate", "grad_norm", "tokens_per_second", "epoch"} <= event.keys()
        for event in steps
    )
    *_, plan = (event for event in events if event["kind"] == "plan")
    # docs/plan.md says 10 %
    assert steps[-1]["tensor_bytes"] == pytest.approx(sum(plan["memory"].values()), rel=0.1)
    assert [event for event in events if event["kind"] == "eval"]
    (data,) = [event for event in events if event["kind"] == "data"]
    assert (data["train"], data["heldout"]) == (120, 16)
    recipe = (run.directory / "recipe.toml").read_text()
    assert "global_batch = 8" in recipe
    assert "seed = 42" in recipe


def test_only_the_captains_words_were_trained(run: Job, builtin_model: Path) -> None:
    from models.stored_sample import UNTRAINED
    from models.template import load_tokenizer

    tokenizer = load_tokenizer(builtin_model)
    for line in (run.directory / "data" / "train.jsonl").read_text().splitlines():
        sample = json.loads(line)
        trained = [
            token
            for token, label in zip(sample["input_ids"], sample["labels"], strict=True)
            if label != UNTRAINED
        ]
        answers = [
            message["content"] for message in sample["messages"] if message["role"] == "assistant"
        ]
        assert tokenizer.decode(trained) == "".join(f"{answer}<|im_end|>" for answer in answers)


def test_the_demo_reaches_its_shares_and_leaves_no_server(demo: dict[str, Any], run: Job) -> None:
    """At most 10 % of the base's answers are in the captain's voice, at least 80 % of the tuned
    model's."""
    print({key: demo[key] for key in ("base_share", "tuned_share", "seconds")})
    assert demo["base_share"] <= 0.1
    assert demo["tuned_share"] >= 0.8
    assert len(demo["answers"]) == 40
    assert isinstance(jobs.find(demo["server"]).state(), Stopped)


def test_base_and_tuned_differ_in_the_voice_when_hot_loaded(client: openai.OpenAI) -> None:
    """A quarter of what the demo asked, which says more: with the run loaded into a server that
    ran, by the official client."""
    questions: list[list[Any]] = list(read_prompts(CAPTAIN / "heldout.jsonl"))
    assert len(questions) == 20
    voiced = {}
    for model in ("base", "captain"):

        def ask(question: list[Any], model: str = model) -> str:
            answer = client.chat.completions.create(
                model=model, messages=question, temperature=0, max_tokens=80
            )
            return answer.choices[0].message.content or ""

        with ThreadPoolExecutor(8) as pool:
            voiced[model] = sum(map(in_voice, pool.map(ask, questions[::4])))
    print(voiced)
    assert voiced["base"] == 0
    assert voiced["captain"] >= 4


def test_streaming_says_the_same_as_not_streaming(client: openai.OpenAI) -> None:
    question: list[Any] = [{"role": "user", "content": "How do I boil an egg?"}]
    for model in ("base", "captain"):
        whole = client.chat.completions.create(
            model=model, messages=question, temperature=0, max_tokens=40
        )
        pieces = client.chat.completions.create(
            model=model, messages=question, temperature=0, max_tokens=40, stream=True
        )
        texts = [piece.choices[0].delta.content or "" for piece in pieces if piece.choices]
        assert "".join(texts) == whole.choices[0].message.content
        assert len([text for text in texts if text]) > 5


def test_chat_answers_from_the_command_line(tuned_server: Server) -> None:
    lines = luthier(
        "chat",
        "base",
        "captain",
        "-p",
        "What is a verb?",
        "--temperature",
        "0",
        "--max-tokens",
        "60",
        "--json",
    ).splitlines()
    answers = {answer["model"]: answer["answer"] for answer in map(json.loads, lines)}
    assert in_voice(answers["captain"])
    assert not in_voice(answers["base"])
    assert "is not one of" in luthier("chat", "nix", "-p", "x", status=1)


@pytest.fixture(scope="module")
def short_run(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A run of a few seconds, started from a terminal that is killed as soon as it takes steps."""
    recipe = tmp_path_factory.mktemp("short") / "short.toml"
    recipe.write_text(
        f'name = "short"\nmodel = "{forks.model}"\ndata = ["{forks.data}"]\n[train]\nepochs ='
        " 20\nglobal_batch = 4\nmicro_batch = 2\n[lora]\nr = 4\ndropout = 0.1\n[heldout]\nat_least"
        " = 8\n[evaluation]\ntimes = 1\nsamples = 1\nanswer_tokens = 4\n"
    )

    def steps() -> bool:
        return any(
            isinstance(state := job.state(), Running) and state.step > 0
            for job in jobs.all_jobs("run")
            if job.spec.name == "short"
        )

    in_a_terminal_that_is_killed("train", str(recipe), "--follow", once=steps)
    (job,) = (job for job in jobs.all_jobs("run") if job.spec.name == "short")
    assert isinstance(job.state(), Running)
    assert jobs.wait(job, 120)
    return job


def test_a_run_outlives_its_terminal_and_its_certificate_starts_by_itself(short_run: Job) -> None:
    assert isinstance(short_run.state(), Done), short_run.state()
    assert (Run(short_run).adapter() / "adapter_model.safetensors").exists()
    (certificate,) = (
        job
        for job in jobs.all_jobs("certify")
        if job.spec.settings["run"] == str(short_run.directory)
    )
    asked_for = certify(Run(short_run))  # while it works there is no second one
    assert asked_for.id == certificate.id
    luthier("stop", certificate.id)


def test_again_repeats_a_run_to_the_last_bit_and_stop_leaves_a_checkpoint(short_run: Job) -> None:
    again = jobs.find(luthier("train", "--again", short_run.id).strip())
    while not isinstance(state := again.state(), Running) or state.step < 2:
        assert isinstance(state, Queued | Starting | Running), state
        time.sleep(0.02)
    luthier("stop", again.id)
    assert isinstance(again.state(), Stopped)
    checkpoint = max((again.directory / "checkpoints").glob("step-*"))
    assert (checkpoint / "COMPLETE").exists()
    assert (checkpoint / "adapter_model.safetensors").exists()
    losses = [
        [
            event["loss"]
            for event in map(json.loads, luthier("log", job.id, "--json").splitlines())
            if event["kind"] == "step"
        ]
        for job in (short_run, again)
    ]
    assert 2 <= len(losses[1]) < len(losses[0])
    assert losses[0][: len(losses[1])] == losses[1]
    with pytest.raises(LuthierError, match="has no adapter"):
        Run(again).adapter()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs, which only root may")
def test_a_full_disk_while_saving_is_told_and_loses_nothing_that_was_complete(
    builtin_model: Path, tmp_path: Path
) -> None:
    """A run whose folder lies on a small tmpfs that fills up: Failed with the reason, and a half
    adapter is not left behind."""
    recipe = tmp_path / "wide.toml"
    data = f'data = ["{CAPTAIN / "train.jsonl"}"]'
    recipe.write_text(
        f"{data}\n[train]\nepochs = 0.06\nglobal_batch = 2\nmax_length = 160\n[lora]\nr ="
        " 64\n[evaluation]\ntimes = 0\n"
    )
    home = tmp_path / "small"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "luthier-test", str(home)], check=True)
    try:
        (home / "models").mkdir()
        (home / "models" / "base").symlink_to(builtin_model)
        recipe.write_text(f'model = "base"\n{recipe.read_text()}')
        environment = {**os.environ, "LUTHIER_HOME": str(home)}
        answer = subprocess.run(
            [*LUTHIER, "train", str(recipe), "--follow"],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert answer.returncode == 1
        assert "The disk is full" in answer.stderr
        assert "Traceback" not in answer.stderr
        (folder,) = (home / "jobs").iterdir()
        assert isinstance(Job(folder).state(), Failed)
        assert not (folder / "adapter").exists()
        assert not (folder / ".adapter").exists()
        assert (folder / "data" / "train.jsonl").exists()
        assert (folder / "recipe.toml").exists()
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)


def test_a_name_that_is_taken_by_the_users_own_module_changes_nothing(
    tuned_server: Server, tmp_path: Path
) -> None:
    """Commands run in a folder with decoys of our packages."""
    for name in ("tui", "trainer", "serve", "models", "jobs"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the decoy ran')")
    answer = subprocess.run(
        [str(Path(sys.executable).with_name("luthier")), "server", "status", "--json"],
        cwd=tmp_path,
        capture_output=True,
    )
    assert json.loads(answer.stdout)[0]["id"] == tuned_server.job.id


def test_the_job_list_tells_of_the_run(run: Job) -> None:
    listed = {entry["id"]: entry for entry in json.loads(luthier("runs", "--json"))}
    assert listed[run.id]["state"] == "done"
    assert listed[run.id]["result"]["adapter"] == str(Run(run).adapter())


def test_bad_input_on_the_command_line(tmp_path: Path, builtin_model: Path) -> None:
    (tmp_path / "typo.toml").write_text('data = ["x.jsonl"]\n[train]\nlearnig_rate = 1\n')
    assert "Did you mean train.learning_rate?" in luthier(
        "train", str(tmp_path / "typo.toml"), status=1
    )
    (tmp_path / "r.toml").write_text('data = ["x.jsonl"]\n')
    assert "x.jsonl does not exist" in luthier("train", str(tmp_path / "r.toml"), status=1)
    (tmp_path / "x.jsonl").write_text('{"messages": [{"role": "user"')
    assert "row 0: the file ends in the middle of a row" in luthier(
        "plan", str(tmp_path / "r.toml"), status=1
    )
    (tmp_path / "x.jsonl").write_text("")
    assert "the file is empty" in luthier("plan", str(tmp_path / "r.toml"), status=1)
    assert "No such run" in luthier("serve", "nix", status=1)
    luthier("train", status=2)
