"""`luthier serve` and `luthier server`, before a vLLM without a model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jobs.job import Job, all_jobs, create, stop, wait
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from models.adapters import MustBeMerged, check_servable, read_adapter
from models.merge.launch import MergeSettings
from models.runs import Run
from serve import launch
from serve.ports import free_port
from tests.serve.conftest import write_adapter
from tests.serve.test_life import FAKE_HOME, Starter, start
from tui.commands import serve as serve_command
from tui.commands.adapters import server
from tui.commands.compare import compare
from tui.commands.serve import serve
from workshop.served_runs import adapters_of, loadable
from workshop.servers import add_adapters

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(90)]
__all__ = ["start"]


def called(*arguments: str) -> Result:
    command, rest = (serve, arguments[1:]) if arguments[0] == "serve" else (server, arguments)
    return CliRunner().invoke(command, list(rest))


def told(*arguments: str) -> Any:
    answer = called(*arguments, "--json")
    assert answer.exit_code == 0, answer.output + repr(answer.exception)
    return json.loads(answer.stdout)


def refusal(*arguments: str) -> str:
    error = called(*arguments).exception
    assert isinstance(error, LuthierError)
    return str(error)


def a_run(base: Path, *steps: int, adapter: bool = True) -> Job:
    run = create(
        Spec(
            "run",
            "captain",
            "trainer.worker",
            settings={"model": str(base), "model_directory": str(base)},
        )
    )
    if adapter:
        write_adapter(run.directory / "adapter")
    for step in steps:
        checkpoint = write_adapter(
            run.directory / "checkpoints" / f"step-{step:06d}", rank=step // 10
        )
        (checkpoint / "COMPLETE").touch()
    write_adapter(run.directory / "checkpoints" / "step-000999")  # one that is being written
    return run


def test_the_plan_is_shown_and_nothing_started(base: Path, tmp_path: Path) -> None:
    dora = write_adapter(tmp_path / "dora")
    (dora / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "use_dora": true}')
    a_run(base)
    plan = told(
        "serve",
        "captain",
        "--adapter",
        f"dora={dora}",
        "--plan",
        "--vllm=--max-num-seqs=8",
        "--tool-parser",
        "hermes",
    )
    assert [adapter["name"] for adapter in plan["adapters"]] == ["captain"]
    assert [one["name"] for one in plan["refused"]] == ["dora"]
    assert plan["command"][-1] == "--max-num-seqs=8" and "hermes" in plan["command"]
    shown = called("serve", "captain", "--plan", "--context-length", "128").output
    assert "--middleware serve.guard.Guard \\" in shown and "asked for" in shown
    assert all_jobs("server") == []


def test_a_server_of_the_base_alone_says_so_before_it_starts(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*asked: object) -> None:
        raise LuthierError("Not now", "It is tried no further.", "")

    monkeypatch.setattr(launch, "serve", refused)
    monkeypatch.setattr(serve_command, "_prepared", lambda name: base)
    run = a_run(base)
    said = "No run is named: builtin alone is served."
    assert said in called("serve").stderr
    assert said not in called("serve", run.id).stderr


def test_what_vllm_takes_no_adapter_of_is_served_as_a_model(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New tokens: merged before it is served, by the run's own settings. All weights trained: what
    the run left."""
    run = a_run(base)
    config = json.loads((run.directory / "adapter" / "adapter_config.json").read_text())
    (run.directory / "adapter" / "adapter_config.json").write_text(
        json.dumps({**config, "trainable_token_indices": {"embed_tokens": [9]}})
    )
    assert "`luthier serve " in refusal("serve", "captain", "--plan")
    other = a_run(base)
    assert "It needs a server of its own" in refusal("serve", run.id, other.id)
    merges = []

    def merge(settings: MergeSettings, of: Job) -> Job:
        merges.append(settings)
        shutil.copytree(base, settings.out)
        done = create(Spec("merge", "merge", "models.merge_worker"))
        done.events_path.write_text(
            '{"t": 1, "kind": "queued"}\n{"t": 1, "kind": "result"}\n{"t": 1, "kind": "exited",'
            ' "code": 0}\n'
        )
        (done.directory / "lock").touch()
        return done

    monkeypatch.setattr(serve_command, "start_merge", merge)
    monkeypatch.setattr(launch, "serve", lambda *asked: pytest.fail(f"{asked[:2]}"))
    with pytest.raises(pytest.fail.Exception, match=rf"\('{run.id}/merged', \[\]\)"):
        raise called("serve", run.id).exception or AssertionError
    assert (merges[0].adapter, merges[0].run) == (str(run.directory / "adapter"), run.id)
    assert told("serve", run.id, "--plan")["base"] == str(run.directory / "merged")

    shutil.rmtree(other.directory / "adapter")
    shutil.copytree(base, other.directory / "model")
    assert told("serve", other.id, "--plan")["base"] == str(other.directory / "model")
    with pytest.raises(LuthierError, match="trained every weight"):
        Run(other).adapter()


def test_an_adapter_with_dora_reaches_vllm_on_no_path(
    start: Starter, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM 0.26 and 0.32 refuse it at its first request; `luthier serve RUN` and the chat's key
    merge it or say so, see there."""
    run = a_run(base, 20)
    for folder in (run.directory / "adapter", run.directory / "checkpoints" / "step-000020"):
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
    running = start()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "questions.jsonl").write_text('{"messages": [{"role": "user", "content": "Hi"}]}\n')
    whole, checkpoint = loadable(running)
    paths: dict[str, Callable[[], object]] = {
        "the Serve screen and the chat's picker": lambda: launch.attach(
            running, whole.name, whole.path
        ),
        "a checkpoint there": lambda: launch.attach(running, checkpoint.name, checkpoint.path),
        "the form, a server of its base runs": lambda: add_adapters(
            running, adapters_of([Run(run)])[1]
        ),
        "the form, none runs": lambda: launch.serve(
            base, adapters_of([Run(run)])[1], port=free_port("127.0.0.1")
        ),
        "load": lambda: raised(called("load", run.id)),
        "serve RUN@STEP": lambda: raised(called("serve", f"{run.id}@20")),
        "serve --adapter": lambda: raised(
            called("serve", "--model", str(base), "--adapter", f"x={whole.path}", "--port", "1234")
        ),
        "compare": lambda: raised(
            CliRunner().invoke(compare, [run.id, "--prompts", str(tmp_path / "questions.jsonl")])
        ),
    }
    for path, take in paths.items():
        with pytest.raises(MustBeMerged, match="use_dora") as refused:
            take()
        assert "`luthier serve RUN` merges" in refused.value.hint, path
    assert not list(tmp_path.glob("compare-*")), "it was refused, and left a folder"
    assert all(model.kind == "base" for model in running.refreshed().models) and all_jobs(
        "server"
    ) == [running.job]


def raised(answer: Result) -> None:
    raise answer.exception or AssertionError(answer.output)


def test_an_answer_s_end_that_the_base_does_not_know_needs_a_merge(base: Path) -> None:
    adapter = write_adapter(base.parent / "chatml")
    (adapter / "tokenizer_config.json").write_text("{}")
    (adapter / "card.json").write_text('{"stop_ids": [2, 7]}')
    (base / "generation_config.json").write_text('{"eos_token_id": 2}')
    with pytest.raises(MustBeMerged, match="end with token 7"):
        check_servable(read_adapter(adapter), base)
    (base / "generation_config.json").write_text('{"eos_token_id": [2, 7]}')
    check_servable(read_adapter(adapter), base)


def test_other_machines_need_a_flag_of_their_own(base: Path) -> None:
    assert "--allow-remote" in refusal("serve", "--model", str(base), "--host", "0.0.0.0")
    assert "Luthier sets itself" in refusal(
        "serve", "--model", str(base), "--plan", "--vllm=--middleware=x.Y"
    )
    assert all_jobs("server") == []


def test_a_run_and_its_checkpoints_by_their_names(base: Path) -> None:
    run = a_run(base, 20, 40)
    plan = told("serve", "captain", "captain@20", "captain@last", "--plan")
    assert [(one["name"], Path(one["path"]).name, one["run"]) for one in plan["adapters"]] == [
        ("captain", "adapter", run.id),
        ("captain@20", "step-000020", run.id),
        ("captain@40", "step-000040", run.id),
    ]
    for wanted in ("captain@30", "captain@999", "captain@../x"):
        assert "Complete checkpoints: 40, 20" in refusal("serve", wanted, "--plan")


def test_a_run_without_an_adapter_is_its_newest_checkpoint(base: Path) -> None:
    a_run(base, 20, 40, adapter=False)
    assert [one["name"] for one in told("serve", "captain", "--plan")["adapters"]] == ["captain@40"]


def test_adapters_come_and_go_by_command(start: Starter, base: Path, tmp_path: Path) -> None:
    running = start()
    a_run(base, 20)
    assert [choice.name for choice in loadable(running)] == ["captain", "captain@20"]
    names = [
        model["id"]
        for model in told(
            "load", "captain@20", "--adapter", f"mate={write_adapter(tmp_path / 'mate')}"
        )["models"]
    ]
    assert names == ["base", "tiny", "captain@20", "mate"]
    assert "already serves them" in called("load", "captain@20").output
    assert [choice.name for choice in loadable(running.refreshed())] == ["captain"]
    assert [model["id"] for model in told("pin", "mate")["models"] if model["pinned"]] == ["mate"]
    assert not any(model["pinned"] for model in told("unpin", "mate")["models"])
    assert "mate" not in [model["id"] for model in told("unload", "mate")["models"]]
    assert "not one of its models" in refusal("unload", "mate")
    assert called("load").exit_code == 2
    assert "No such server" in refusal("unload", "mate", "--on", "nowhere")


def test_of_two_at_once_on_one_port_the_second_is_told_and_starts_nothing(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{FAKE_HOME}:{Path(__file__).parents[2]}")
    port = str(free_port("127.0.0.1"))
    command = [sys.executable, "-P", "-m", "tui.cli", "serve", "--model", str(base), "--port", port]
    pair = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [process.communicate() for process in pair]
    (job,) = all_jobs("server")
    stop(job, now=True)
    assert wait(job, 30.0)
    assert sorted(process.returncode for process in pair) == [0, 1], told
    assert sum("The port is taken" in words for _, words in told) == 1


def test_an_adapter_that_says_it_is_of_another_base_is_noted_in_the_plan_and_when_it_is_loaded(
    base: Path, start: Starter, tmp_path: Path
) -> None:
    folder = write_adapter(tmp_path / "other")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(
        json.dumps({**config, "base_model_name_or_path": "acme/Other-1B"})
    )
    chosen = ("--adapter", f"other={folder}")
    words = f"names acme/Other-1B as its base, not {base}"
    assert words in told("serve", "--model", str(base), *chosen, "--plan")["notes"]["other"]
    assert "note" in called("serve", "--model", str(base), *chosen, "--plan").stdout
    start()
    for answer in (called("load", *chosen), called("serve", "--model", str(base), *chosen)):
        assert answer.exit_code == 0 and words in " ".join(answer.stderr.split()), answer.output
