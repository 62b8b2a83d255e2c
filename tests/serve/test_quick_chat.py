"""From a run that is done to its first tuned word: the server is started, or found and given the
adapter; and what `luthier train` asks.

vLLM has no model."""

from __future__ import annotations

import asyncio
import json
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs import job as jobs
from jobs.home import models_directory
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from jobs.state import Asleep, Done, Failed, Lost, Running, State, Stopped
from models.merge.launch import MergeSettings
from models.runs import Run
from serve.planning import ServeOptions
from serve.servers import Server, running_servers
from tests.jobs.acting import end_everything, in_state
from tests.jobs.test_slots import Machine
from tests.serve.conftest import write_adapter
from tests.serve.test_life import FAKE_HOME, Starter, say, start
from tests.serve.test_serve_commands import a_run
from tests.serve.test_sleep import CHECKOUT, has_gpu, server, train
from tests.tui import folders
from tests.tui.lock_holder import held
from trainer import launch as training
from trainer.recipe import Recipe, load
from tui.commands import adapters as commands
from tui.commands.train import settle
from tui.commands.train import train as train_command
from workshop import gpu_conflict
from workshop.chat_with_run import have_it_serve, server_job
from workshop.servers import once_ready, server_of

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(90)]
__all__ = ["server", "start"]


def tuned_word(run: Job) -> str:
    chat_server = once_ready(server_job(Run(run)))
    return asyncio.run(say(chat_server, have_it_serve(chat_server, Run(run))))


def test_a_server_that_runs_loads_the_adapter_once(start: Starter, base: Path) -> None:
    chat_server, run = start(), a_run(base)
    assert server_job(Run(run)).id == chat_server.job.id
    assert tuned_word(run).startswith("captain says")
    assert have_it_serve(chat_server.refreshed(), Run(run)) == "captain"
    again = a_run(base)
    assert (
        have_it_serve(chat_server.refreshed(), Run(again)) == again.id
    )  # another run of the same name


def test_without_one_it_is_started_with_the_adapter(
    start: Starter, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ServeOptions, "device", "cpu")
    run = a_run(base)
    job = server_job(Run(run))
    try:
        assert server_job(Run(run)).id == job.id  # pressed twice
        chat_server = once_ready(job)
        assert [model.id for model in chat_server.models] == ["base", "tiny", "captain"]
        assert tuned_word(run).startswith("captain says")
        assert server_of(base.resolve(), "127.0.0.1") is not None
    finally:
        end_everything(job)


def test_two_runs_that_were_compared_are_served_by_one(
    start: Starter, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two with one name each goes by its id, whether the server starts with both or loads
    them."""
    monkeypatch.setattr(ServeOptions, "device", "cpu")
    older, newer = Run(a_run(base)), Run(a_run(base))
    job = server_job(older, newer)
    try:
        chat_server = once_ready(job)
        assert [model.id for model in chat_server.models] == ["base", "tiny", older.id, newer.id]
        assert [have_it_serve(chat_server, run) for run in (older, newer)] == [older.id, newer.id]
    finally:
        end_everything(job)
    chat_server = start()
    assert server_job(older, newer).id == chat_server.job.id
    names = [have_it_serve(chat_server.refreshed(), run) for run in (older, newer)]
    assert names == ["captain", newer.id]
    assert asyncio.run(say(chat_server, newer.id)).startswith(f"{newer.id} says")


def test_one_that_ends_before_it_is_ready_says_why(
    start: Starter, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAULT", "start")
    chat_server = start(ready=False)
    with pytest.raises(LuthierError, match="no room for this model"):
        once_ready(chat_server.job)


@pytest.mark.parametrize(
    "end", [Stopped(1.0), Lost(1.0), Done(1.0, {}), Failed(1.0, 1, "The server has ended", "", "")]
)
def test_one_that_ends_as_it_becomes_ready_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, end: State
) -> None:
    states: list[State] = [Running(0.0), end]
    monkeypatch.setattr("serve.servers.running_servers", lambda: [])
    monkeypatch.setattr(Job, "state", lambda job: states.pop(0))
    with pytest.raises(LuthierError) as told:
        once_ready(Job(Path("/nowhere")))
    assert told.value.title == "The server has ended" and states == []


def test_one_that_sleeps_is_woken_for_it(server: Server, base: Path) -> None:
    assert CliRunner().invoke(commands.server, ["sleep"]).exit_code == 0
    assert isinstance(server.job.state(), Asleep)
    assert CliRunner().invoke(commands.server, ["status"]).exit_code == 0
    assert tuned_word(a_run(base)).startswith(("captain says", "2"))
    assert isinstance(server.job.state(), Running)


def test_wake_says_what_it_waits_for(server: Server) -> None:
    run = train()
    in_state(run, Running)
    in_state(server.job, Asleep)
    answer = CliRunner().invoke(commands.server, ["wake", server.job.id])
    assert answer.exit_code == 0 and f"wakes when {run.id} is done" in answer.output
    jobs.stop(run)
    in_state(server.job, Running)
    answer = CliRunner().invoke(commands.server, ["wake"])
    assert "is awake" in answer.output


def test_on_a_cpu_the_commands_say_why_not(start: Starter) -> None:
    start()
    for command in ("sleep", "wake"):
        error = CliRunner().invoke(commands.server, [command]).exception
        assert isinstance(error, LuthierError) and "sleep mode is for GPUs" in error.message


@pytest.mark.parametrize("asked", [True, False])
def test_train_lets_the_server_sleep(
    server: Server, luthier_home: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    """By --server, for this run; or by the answer, for later ones too. What follows the run does
    the same."""
    follows = Spec(
        kind="certify",
        name="proof",
        module="fake_worker",
        settings={"conduct": "well"},
        slots=["gpu"],
    )
    run = train("steps", beside="", gpu_bytes=1 << 30, then=[vars(follows)])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.prompt", lambda *arguments, **options: "sleep")
    settle([run], None if asked else "sleep")
    in_state(run, Running)
    assert has_gpu() == ["run"]
    config = luthier_home / "config.toml"
    assert (tomllib.loads(config.read_text()) if config.exists() else {}) == (
        {"training_beside_server": "sleep"} if asked else {}
    )


def test_without_a_terminal_train_says_how_to_answer(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(beside="", gpu_bytes=1 << 30)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    settle([run], None)
    told = " ".join(capsys.readouterr().err.split())
    assert "holds the GPU that steps waits for." in told and "--server sleep|share|wait" in told


@pytest.mark.parametrize("dora", [False, True])
def test_then_chat_starts_the_server_first_and_ends_with_the_tuned_model_served(
    start: Starter, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dora: bool
) -> None:
    """With DoRA, which vLLM takes no adapter of, there is no server before; the run is merged, and
    served by one of its own."""
    monkeypatch.setenv("PYTHONPATH", f"{FAKE_HOME}:{CHECKOUT}:{CHECKOUT / 'tests' / 'fakes'}")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f"name = 'captain'\nmodel = '{base}'\ndata ="
        f" ['data.jsonl']\n{'lora.dora = true' if dora else ''}\n"
    )
    servers_before: list[str] = []

    def train_it(recipe: Recipe) -> Job:
        servers_before.extend(server.job.id for server in running_servers())
        settings = {
            "conduct": "well",
            "sweep": {},
            "model": str(base),
            "model_directory": str(base),
        }
        run = jobs.create(Spec("run", "captain", "fake_worker", settings=settings))
        write_adapter(run.directory / "adapter")
        if dora:
            (run.directory / "adapter" / "adapter_config.json").write_text(
                '{"peft_type": "LORA", "r": 4, "use_dora": true}'
            )
        jobs.start(run)
        return run

    def merge_it(settings: MergeSettings, of: Job) -> Job:
        shutil.copytree(settings.base, settings.out)
        return jobs.submit(
            Spec("merge", "merge-captain", "fake_worker", settings={"conduct": "well"})
        )

    monkeypatch.setattr("tui.commands.serve.start_merge", merge_it)
    monkeypatch.setattr("tui.commands.train.launch.train", train_it)
    answer = CliRunner().invoke(train_command, [str(recipe), "--then", "chat"])
    try:
        assert answer.exit_code == 0, answer.output + repr(answer.exception)
        (server,) = running_servers()
        assert servers_before == ([] if dora else [server.job.id])
        assert server.plan.base.name == ("merged" if dora else "tiny")
        assert f"captain answers at {server.base_url}/v1{' as base' if dora else ''}" in " ".join(
            answer.output.split()
        )
        name = "base" if dora else "captain"
        assert asyncio.run(say(server, name)).startswith(f"{name} says")
    finally:
        for job in jobs.all_jobs("server"):
            end_everything(job)


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """A real recipe's run, in the queue of a machine with one GPU of 80 GB."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    Machine(tmp_path).has(40_000)
    folders.base_model(models_directory() / "builtin")
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ahoy"}]
    (tmp_path / "data.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    job = folders.make_job("ann", 1, age=100)
    (job.directory / "recipe.toml").write_text(
        f"name = 'ann'\ndata = ['{tmp_path}/data.jsonl']\n[train]\nmax_length = 128\n"
    )
    training.run_spec(load(job.directory / "recipe.toml")).replace(job.directory)
    folders.wait_in_queue(job, 1, ago=50)
    with held(job):
        yield Job(job.directory)


def test_sharing_is_written_into_recipe_and_orders(waiting: Job) -> None:
    gpu_conflict.answer(waiting, "share", remember=False)
    changed = Job(waiting.directory)
    assert (changed.spec.share_gpu, changed.spec.beside_server) == (True, "share")
    recipe = training.frozen_recipe(changed)
    assert recipe.share_gpu and changed.spec.gpu_bytes == training.run_spec(recipe).gpu_bytes


def test_sharing_is_refused_where_both_do_not_fit(waiting: Job, tmp_path: Path) -> None:
    Machine(tmp_path).has(500)
    before = Spec.read(waiting.directory)
    with pytest.raises(LuthierError, match=r"524\.3 MB are free beside the server") as refusal:
        gpu_conflict.answer(waiting, "share", remember=True)
    assert (
        refusal.value.title == "Not enough GPU memory for both"
        and Spec.read(waiting.directory) == before
        and gpu_conflict.remembered() == ""
    )


def test_a_run_that_must_be_merged_first_says_so_and_then_is_a_server_of_its_own(
    start: Starter, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(base)
    config = run.directory / "adapter" / "adapter_config.json"
    config.write_text('{"peft_type": "LORA", "r": 4, "use_dora": true}')
    with pytest.raises(LuthierError, match="merged first"):
        server_job(Run(run))
    shutil.copytree(base, run.directory / "merged")
    job = server_job(Run(run))
    try:
        chat_server = once_ready(job)
        assert (
            chat_server.plan.base == (run.directory / "merged").resolve()
            and have_it_serve(chat_server, Run(run)) == "base"
        )
        assert server_job(Run(run)).id == job.id
    finally:
        end_everything(job)
