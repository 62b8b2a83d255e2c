from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from serve import planning, vllm_command
from serve.key_files import client_key, control_key
from serve.plan import ServerPlan, run_of
from serve.planning import ServeOptions, make_plan
from serve.vllm_command import command, environment, has_compiled
from tests.serve.conftest import write_adapter


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "default_device", lambda: "cpu")
    monkeypatch.setattr(vllm_command, "vllm_module", lambda: "vllm.entry")


def planned(
    base: Path, *adapters: tuple[str, Path, str | None], host: str = "127.0.0.1", **options: object
) -> ServerPlan:
    return make_plan(base, "builtin", list(adapters), host, None, ServeOptions(**options))  # type: ignore[arg-type]


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def test_command_on_a_cpu(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "captain", rank=20)
    arguments = command(
        planned(base, ("captain", adapter, None), extra_args=["--seed", "3"]), "/usr/bin/python"
    )
    assert arguments[:5] == ["/usr/bin/python", "-P", "-m", "serve.vllm_process", "vllm.entry"]
    names = arguments.index("--served-model-name")
    assert arguments[names : names + 3] == ["--served-model-name", "base", "builtin"]
    assert option(arguments, "--model") == str(base)
    assert option(arguments, "--host") == "127.0.0.1"
    assert option(arguments, "--max-lora-rank") == "32"
    assert option(arguments, "--max-model-len") == "4096"
    assert option(arguments, "--dtype") == "bfloat16"
    assert option(arguments, "--middleware") == "serve.guard.Guard"
    assert int(option(arguments, "--max-cpu-loras")) >= int(option(arguments, "--max-loras")) >= 4
    assert arguments[-2:] == ["--seed", "3"]


def test_command_on_a_gpu(base: Path) -> None:
    arguments = command(planned(base, device="gpu", gpus=2, gpu_memory=0.5), "python")
    assert option(arguments, "--gpu-memory-utilization") == "0.5"
    assert option(arguments, "--tensor-parallel-size") == "2"
    assert option(arguments, "--dtype") == "auto"
    assert "--max-model-len" not in arguments


def test_messages_of_a_model_of_text_alone_are_rendered_as_training_does(base: Path) -> None:
    assert option(command(planned(base), "python"), "--chat-template-content-format") == "string"
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "vision_config": {"depth": 2}}))
    assert "--chat-template-content-format" not in command(planned(base), "python")


def test_plan_survives_the_spec_and_holds_no_key(base: Path, tmp_path: Path) -> None:
    made = planned(
        base, ("captain", write_adapter(tmp_path / "captain"), "20261122-1530-captain-7f3a")
    )
    text = json.dumps(made.to_json())
    assert ServerPlan.from_json(json.loads(text)) == made
    keys = (client_key(), control_key())
    assert not any(key in text or key in command(made, "python") for key in keys)


def test_environment(base: Path, luthier_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "a third key")
    variables = environment(planned(base, kv_cache_gb=2), "the-job")
    assert variables["LUTHIER_CLIENT_KEY"] == client_key()
    assert variables["LUTHIER_CONTROL_KEY"] == control_key()
    assert variables["LUTHIER_SERVER_ID"] == "the-job"
    assert variables["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert variables["VLLM_PLUGINS"] == "luthier"
    assert variables["VLLM_LOGGING_LEVEL"] == "INFO"  # whatever TRL has set in this process
    assert variables["VLLM_CACHE_ROOT"].startswith(str(luthier_home))
    assert variables["PATH"] == os.environ["PATH"]
    assert "VLLM_API_KEY" not in variables


def test_what_vllm_measured_is_used_again_only_for_the_usual_share(base: Path) -> None:
    def kept(**changed: object) -> str | None:
        made = replace(planned(base, device="gpu"), **changed)  # type: ignore[arg-type]
        return environment(made, "the-job").get("VLLM_ENABLE_STARTUP_PLAN")

    assert kept() == "1"
    assert kept(gpu_memory=0.3) == "0"
    assert kept(kv_cache_bytes=1 << 30) == "0"
    assert kept(device="cpu") is None


def test_a_home_knows_whether_it_has_compiled(luthier_home: Path) -> None:
    assert not has_compiled()
    (luthier_home / "cache" / "vllm" / "torch_compile_cache").mkdir(parents=True)
    assert has_compiled()


def test_web_pages_ask_from_origins_that_were_named(base: Path) -> None:
    made = planned(base, allowed_origins=("http://localhost:3000", "https://chat.example"))
    assert option(command(made, "python"), "--allowed-origins") == "[]"
    assert (
        environment(made, "the-job")["LUTHIER_ALLOWED_ORIGINS"]
        == "http://localhost:3000 https://chat.example"
    )
    assert "--allowed-origins" not in command(planned(base), "python")
    for wrong in ("*", "localhost:3000", "http://a b", "http://a/path", ""):
        with pytest.raises(LuthierError, match="Not an origin"):
            planned(base, allowed_origins=(wrong,))


@pytest.mark.parametrize(
    ("host", "warns"), [("127.0.0.1", False), ("::1", False), ("0.0.0.0", True)]
)
def test_listening_for_others_is_warned_of(base: Path, host: str, warns: bool) -> None:
    assert bool(planned(base, host=host).to_json()["warning"]) == warns


def test_names_are_checked(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "captain")
    for name, reason in (
        ("base", "taken"),
        ("builtin", "taken"),
        ("", "letters"),
        ("--x", "letters"),
        ("a b", "letters"),
        ("a/b", "letters"),
    ):
        with pytest.raises(LuthierError, match=reason):
            planned(base, (name, adapter, None))
    with pytest.raises(LuthierError, match="taken"):
        planned(base, ("captain", adapter, None), ("captain", adapter, None))


def test_an_adapter_of_another_model_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match="another model"):
        planned(base, ("captain", write_adapter(tmp_path / "captain", width=5), None))
    with pytest.raises(LuthierError, match="Not an adapter"):
        planned(base, ("captain", tmp_path, None))


def test_run_of_an_adapter(luthier_home: Path) -> None:
    job = luthier_home / "jobs" / "20261122-1530-captain-7f3a"
    assert run_of(job / "adapter") == job.name
    assert run_of(luthier_home / "jobs" / "other" / "adapter") is None
    assert run_of(Path("/elsewhere")) is None
