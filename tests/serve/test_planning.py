"""What a server's plan finds out and tells before anything starts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.gpus import Gpu
from jobs.luthier_error import LuthierError
from serve import gpu_share as shares
from serve import planning
from serve.gpu_share import Needed, gpu_share, needed
from serve.parsers import parsers
from serve.plan import Device, ServerPlan
from serve.planning import NamedAdapter, ServeOptions, look_ahead
from serve.restarts import Restarts
from serve.vllm_command import command
from tests.serve.conftest import write_adapter, write_tensors
from tui.serve.server_plan import as_json, command_line, rows

GIB = 1 << 30
TEMPLATES = Path(__file__).parents[1] / "models" / "templates"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "default_device", lambda: "cpu")
    monkeypatch.setattr(shares, "occupants", lambda index: "train.py (pid 7, 60.0 GB)")


def settings(directory: Path, **changed: object) -> None:
    path = directory / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def test_what_must_be_merged_is_told_beside_what_hot_loads(base: Path, tmp_path: Path) -> None:
    plain, dora, tokens = (
        write_adapter(tmp_path / name, rank=20) for name in ("plain", "dora", "tokens")
    )
    settings(dora, use_dora=True)
    settings(tokens, trainable_token_indices=[7], modules_to_save=["lm_head"])
    named: list[NamedAdapter] = [
        ("plain", plain, None),
        ("dora", dora, None),
        ("tokens", tokens, None),
    ]
    outlook = look_ahead(base, "tiny", named, "127.0.0.1", None, ServeOptions())
    assert [adapter.name for adapter in outlook.plan.adapters] == ["plain"]
    assert [(one.name, one.error.title) for one in outlook.refused] == [
        ("dora", "This adapter must be merged first"),
        ("tokens", "This adapter must be merged first"),
    ]
    told = {(name, value): why for name, value, why in rows(outlook)}
    assert "use_dora" in told["not loaded", "dora"]
    assert "modules_to_save, trainable_token_indices" in told["not loaded", "tokens"]
    assert "highest rank is 20" in told["ranks up to", "32"]
    assert as_json(outlook, "python")["refused"][0]["name"] == "dora"
    with pytest.raises(LuthierError, match="merged first"):
        planning.make_plan(base, "tiny", named, "127.0.0.1", None, ServeOptions())


def test_the_template_of_training_is_served(base: Path, tmp_path: Path, luthier_home: Path) -> None:
    (base / "chat_template.jinja").write_text("{{ messages }}\n")
    same, inline, other = (write_adapter(tmp_path / name) for name in ("same", "inline", "other"))
    (same / "chat_template.jinja").write_text("{{ messages }}")
    assert template(base, same) is None
    (inline / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": "changed {{ messages }}"})
    )
    path = template(base, inline)
    assert (
        path is not None
        and path.read_text() == "changed {{ messages }}"
        and path.is_relative_to(luthier_home)
    )
    (other / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": [{"name": "default", "template": "another"}]})
    )
    for pair in ((inline, other), (inline, same)):
        with pytest.raises(LuthierError, match="Different chat templates"):
            template(base, *pair)


def template(base: Path, *adapters: Path) -> Path | None:
    named: list[NamedAdapter] = [(folder.name, folder, None) for folder in adapters]
    made = planning.make_plan(base, "tiny", named, "127.0.0.1", None, ServeOptions())
    assert ServerPlan.from_json(json.loads(json.dumps(made.to_json()))) == made
    return made.chat_template


@pytest.mark.parametrize(
    ("model_type", "template", "tools", "reasoning"),
    [
        ("llama", "smollm2", "", ""),
        ("qwen3", "hermes_tools", "hermes", ""),
        ("mistral", "mistral_v7", "", ""),
        ("phi3", "phi4", "", ""),
        ("unheard-of", "chatml", "", ""),
        ("gpt_oss", "chatml", "openai", "openai_gptoss"),
    ],
)
def test_parsers_are_known_by_the_template(
    base: Path, model_type: str, template: str, tools: str, reasoning: str
) -> None:
    (base / "config.json").write_text(
        json.dumps({"model_type": model_type, "max_position_embeddings": 128})
    )
    (base / "chat_template.jinja").write_text((TEMPLATES / f"{template}.jinja").read_text())
    found = parsers(base)
    assert [parser.name for parser in found] == [tools, reasoning]
    assert all(model_type in parser.why for parser in found)
    options = ServeOptions(tool_parser="none", reasoning_parser="deepseek_r1")
    made = look_ahead(base, "tiny", [], "127.0.0.1", None, options).plan
    assert (made.tool_parser, made.reasoning_parser) == ("", "deepseek_r1")
    assert "--tool-call-parser" not in command(made, "python")


def test_a_free_gpu_is_left_to_vllm_and_a_used_one_gets_both_flags() -> None:
    model = Needed(weight_bytes=16 * GIB, adapter_bytes=GIB, cache_bytes_per_token=128 << 10)
    free, used = Gpu(0, "H200", 140 * GIB, 139 * GIB), Gpu(1, "H200", 140 * GIB, 70 * GIB)
    assert gpu_share([free], 0.9, model, 8192).kv_cache_bytes is None
    share = gpu_share([used], 0.9, model, 8192)
    assert share.utilization == 0.49 and share.utilization * used.total < used.free
    assert share.kv_cache_bytes == int(0.49 * 140 * GIB) - 19 * GIB
    assert "70.0 GiB of 140.0 GiB are free on GPU 1 (train.py" in share.why
    assert gpu_share([free, used], 0.9, model, 8192).utilization == 0.49
    for tight in (replace(used, free=19 * GIB), replace(used, free=0)):
        with pytest.raises(LuthierError, match=r"one conversation of 8,192 tokens needs 1\.0 GiB"):
            gpu_share([tight], 0.9, model, 8192)
    with pytest.raises(LuthierError, match="Not enough GPU memory"):
        gpu_share([free], 0.05, model, 8192)


def test_what_a_model_needs_is_read_from_its_files(base: Path) -> None:
    config = {
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_size": 32,
    }
    (base / "config.json").write_text(json.dumps(config))
    write_tensors(base / "model.safetensors", {"embed": [100, 32], "q": [32, 32], "up": [64, 32]})
    assert needed(base, rank=8, adapters=3) == Needed(
        2 * (3200 + 1024 + 2048), 2 * 8 * 3 * (64 + 96), 2 * 2 * 2 * 8 * 2
    )


def test_on_a_gpu_in_use_the_plan_says_so(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        planning,
        "gpus",
        lambda: [Gpu(0, "H200", 140 * GIB, 80 * GIB), Gpu(1, "H200", 140 * GIB, 60 * GIB)],
    )
    outlook = look_ahead(base, "tiny", [], "127.0.0.1", None, ServeOptions(device="gpu"))
    line = command_line(outlook.plan, "python")
    assert "--gpu-memory-utilization 0.56" in line and "--kv-cache-memory-bytes" in line
    both = look_ahead(base, "tiny", [], "127.0.0.1", None, ServeOptions(device="gpu", gpus=2)).plan
    assert both.gpu_memory == 0.42 and "--tensor-parallel-size" in command(both, "python")
    quantised = look_ahead(
        base,
        "tiny",
        [],
        "127.0.0.1",
        None,
        ServeOptions(device="gpu", extra_args=["--quantization=fp8"]),
    ).plan
    assert quantised.kv_cache_bytes is None


def sizes(base: Path, device: Device, *extra_args: str) -> tuple[int, str]:
    """How many CUDA graphs are recorded by the plan, 0 where vLLM decides, and why."""
    options = ServeOptions(device=device, extra_args=list(extra_args))
    plan = look_ahead(base, "tiny", [], "127.0.0.1", None, options).plan
    words = command(plan, "python")
    start = words.index("--cudagraph-capture-sizes") + 1 if plan.graph_sizes else len(words)
    assert words[start : start + len(plan.graph_sizes)] == [str(size) for size in plan.graph_sizes]
    return len(plan.graph_sizes), plan.reasons["graph_sizes"]


def test_few_cuda_graphs_are_recorded_unless_the_user_decides(base: Path) -> None:
    count, why = sizes(base, "gpu")
    assert count == 17 and "--vllm=--max-cudagraph-capture-size=512" in why
    for argument in ("--max-cudagraph-capture-size=512", "-cc.cudagraph_mode=FULL", "-O1"):
        assert sizes(base, "gpu", argument)[0] == 0
    assert sizes(base, "gpu", "--seed=3")[0] == 17
    assert sizes(base, "cpu")[0] == 0


def test_a_step_is_padded_as_by_vllm_up_to_64_then_by_half_at_most(base: Path) -> None:
    plan = look_ahead(base, "tiny", [], "127.0.0.1", None, ServeOptions(device="gpu")).plan
    steps = list(zip(plan.graph_sizes, plan.graph_sizes[1:], strict=False))
    assert plan.graph_sizes[:11] == [1, 2, 4, *range(8, 65, 8)]
    assert all(larger <= 1.5 * smaller for smaller, larger in steps if larger > 64)
    assert plan.graph_sizes[-1] == 512


def test_restarts_are_few_within_an_hour() -> None:
    restarts = Restarts()
    assert [restarts.pause(at) for at in (0, 1, 2, 3)] == [2.0, 10.0, 30.0, None]
    assert restarts.pause(3600.5) == 30.0  # the first crash is forgotten by then
    assert restarts.count == 3
