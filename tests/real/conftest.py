"""What the real tests of one process share: one home, the built-in model, one vLLM server, one
demo."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from jobs import processes
from jobs.job import Job, all_jobs, find, stop, wait
from jobs.state import Done, Queued, Running, Starting
from models.folder import ModelFolder
from models.registry import prepare_builtin, resolve
from models.runs import Run
from serve.certificate.launch import certify, is_about
from serve.launch import serve
from serve.planning import ServeOptions
from serve.servers import Server, running_servers
from tests.real.forks import Forks
from tests.real.random_adapter import write_random_adapter

ROOT = Path(__file__).parents[2]
LUTHIER = [sys.executable, "-P", "-m", "tui.cli"]
START_SECONDS = 240.0
TEXTS = [
    "The capital of France is Paris.",
    "A lute has many strings, and a violin has four.",
    "Grüße aus Köln! 1 + 1 = 2",
]


def wait_until_running(job: Job) -> Server:
    """The server of a job once it serves."""
    deadline = time.monotonic() + START_SECONDS
    while isinstance(state := job.state(), Queued | Starting):
        assert time.monotonic() < deadline, f"{job.id} is still {state}"
        time.sleep(0.2)
    assert isinstance(state, Running), f"{state}\n{job.log_path.read_text()[-4000:]}"
    return next(server for server in running_servers() if server.job.id == job.id)


def worker_and_below(job: Job) -> list[int]:
    """The supervisor of a job and every process under it."""
    supervisor = job.supervisor()
    assert supervisor is not None
    return [supervisor, *processes.descendants(supervisor)]


def assert_gone(pids: list[int], seconds: float = 15.0) -> None:
    """No process of these lives (zombies are dead)."""
    deadline = time.monotonic() + seconds
    while left := [pid for pid in pids if pid in processes.parents()]:
        assert time.monotonic() < deadline, {
            pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left
        }
        time.sleep(0.1)


def vllm_pid(job: Job) -> int:
    """The pid of vLLM's API server."""
    worker = next(event["pid"] for event in job.events() if event["kind"] == "started")
    return next(
        pid
        for pid in processes.descendants(worker)
        if b"--served-model-name" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session", autouse=True)
def luthier_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of the session's own."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("LUTHIER_HOME", str(home))
        yield home
        # what a failed test left running would slow down whatever comes next
        for job in all_jobs():
            stop(job)


@pytest.fixture(scope="session")
def builtin_model(luthier_home: Path) -> Path:
    """The built-in model, prepared by its own job."""
    job = prepare_builtin()
    if job is not None:
        assert wait(job, START_SECONDS)
        assert isinstance(job.state(), Done), job.state()
    return resolve("builtin")


@pytest.fixture(scope="session")
def random_adapter(builtin_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_adapter(tmp_path_factory.mktemp("adapters") / "random", builtin_model)


@pytest.fixture(scope="session")
def merged(random_adapter: Path, builtin_model: Path) -> dict[str, Any]:
    """What the command says of the merged model `noisy-merged`."""
    command = [
        *LUTHIER,
        "merge",
        "--base",
        "builtin",
        "--adapter",
        str(random_adapter),
        "--name",
        "noisy-merged",
        "--json",
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    told: dict[str, Any] = json.loads(answer.stdout)
    return told


@pytest.fixture(scope="session")
def server(random_adapter: Path) -> Iterator[Server]:
    """A server of the built-in model and the random adapter `noisy`, started and stopped as a user
    would."""
    job = serve(
        "builtin", [("noisy", random_adapter, None)], options=ServeOptions(tool_parser="hermes")
    )
    try:
        yield wait_until_running(job)
    finally:
        pids = worker_and_below(job)
        stop(job)
        assert wait(job, 40.0)
        assert_gone(pids)


def in_a_terminal_that_is_killed(*arguments: str, once: Callable[[], bool]) -> None:
    """Run a command in a pseudo-terminal, and kill its whole session at some moment, as closing the
    window and more would."""
    master, slave = pty.openpty()
    terminal = subprocess.Popen(
        [*LUTHIER, *arguments], stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    while not once():
        assert terminal.poll() is None
        time.sleep(0.05)
    os.killpg(terminal.pid, signal.SIGKILL)
    terminal.wait()
    os.close(master)


@pytest.fixture(scope="session")
def demo(builtin_model: Path) -> dict[str, Any]:
    """What `luthier demo --json` told. Its run is the session's run on the sample data."""
    answer = subprocess.run(
        [*LUTHIER, "demo", "--json"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    told: dict[str, Any] = json.loads(answer.stdout)
    return told


@pytest.fixture(scope="session")
def captain_run(demo: dict[str, Any]) -> Job:
    return find(demo["run"])


@pytest.fixture(scope="session")
def captain_certificate(captain_run: Job) -> Job:
    """The job that certified it."""
    job = certify(Run(captain_run))
    assert wait(job, 600)
    assert isinstance(job.state(), Done), f"{job.state()}\n{job.log_path.read_text()[-4000:]}"
    return job


@pytest.fixture(scope="session")
def listed_run(builtin_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A run of few steps and its certificate, which has started by itself. Its base is the built-in
    model with its stop tokens in config.json alone: its tokenizer's eos is another one than what
    closes a turn."""
    folder = tmp_path_factory.mktemp("listed")
    base = write_listed_in_config_json(builtin_model, folder / "model")
    rows = (ROOT / "examples" / "captain" / "train.jsonl").read_text().splitlines(keepends=True)
    (folder / "train.jsonl").write_text("".join(rows[:52]))
    (folder / "recipe.toml").write_text(
        f'name = "listed"\nmodel = "{base}"\ndata = ["train.jsonl"]\n[train]\nepochs = 1\n'
        "learning_rate = 1e-3\nglobal_batch = 8\n[heldout]\nat_least = 4\nat_most = 4\n"
        "[evaluation]\ntimes = 0\n"
    )
    command = [*LUTHIER, "train", str(folder / "recipe.toml")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    run = find(answer.stdout.strip())
    assert wait(run, 400)
    assert isinstance(run.state(), Done), f"{run.state()}\n{run.log_path.read_text()[-4000:]}"
    (job,) = (job for job in all_jobs("certify") if is_about(job, Run(run)))
    assert wait(job, 400)
    assert isinstance(job.state(), Done), f"{job.state()}\n{job.log_path.read_text()[-4000:]}"
    return run


def write_listed_in_config_json(model: Path, folder: Path) -> Path:
    shutil.copytree(model, folder)
    (folder / "generation_config.json").unlink()
    tokens = ModelFolder(folder).token_ids
    stops = [tokens["<|endoftext|>"], tokens["<|im_end|>"]]
    for name, changed in (
        ("config.json", {"eos_token_id": stops}),
        ("tokenizer_config.json", {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}),
    ):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, **changed}))
    return folder


@pytest.fixture(scope="session")
def forks(luthier_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Runs the training worker on a tiny model within a second or two."""
    made = Forks(tmp_path_factory.mktemp("forks"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def unsloth(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Workers with Unsloth, on the same model and data."""
    if find_spec("unsloth") is None:
        pytest.skip("unsloth is not installed: locks/dev-cpu.txt")
    made = Forks(tmp_path_factory.mktemp("unsloth"), "unsloth")
    made.model, made.data = forks.model, forks.data
    yield made
    made.close()
