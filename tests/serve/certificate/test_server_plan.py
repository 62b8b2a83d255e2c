"""A certificate's server and a chat's compile the same, where the card has the room."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from jobs.gpus import Gpu
from jobs.luthier_error import LuthierError
from models import certificate
from serve import planning
from serve.certificate import planning as certificate_planning
from serve.certificate.planning import server_plan
from serve.plan import BASE, ServerPlan
from serve.planning import NamedAdapter, ServeOptions, make_plan
from serve.vllm_command import command
from tests.serve.conftest import write_adapter

GIB = 1 << 30
# what no kernel depends on
PLACE = ("--port", "--gpu-memory-utilization", "--kv-cache-memory-bytes", "--dtype")


@pytest.fixture(autouse=True)
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    card = [Gpu(0, "H200", 140 * GIB, 139 * GIB)]
    monkeypatch.setattr(planning, "gpus", lambda: card)
    monkeypatch.setattr(planning, "default_device", lambda: "gpu")
    monkeypatch.setattr(certificate_planning, "gpus", lambda: card)


def compiled_for(plan: ServerPlan) -> list[str]:
    words = command(plan, "python")
    places = {index for index, word in enumerate(words) if word in PLACE}
    return [word for index, word in enumerate(words) if not {index, index - 1} & places]


def widen(base: Path, context: int) -> None:
    """A base model of 36 layers, whose cache takes 147,456 bytes a token."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": context,
    }
    (base / "config.json").write_text(json.dumps(config))


def test_on_a_gpu_it_is_what_a_chat_would_start(base: Path, tmp_path: Path) -> None:
    widen(base, context=16_384)
    adapters: list[NamedAdapter] = [("tuned", write_adapter(tmp_path / "captain", rank=20), None)]
    chat = make_plan(base, BASE, adapters, "127.0.0.1", None, ServeOptions())
    certificate = server_plan(base, adapters, 500, gpu=True)
    assert compiled_for(certificate) == compiled_for(chat)
    assert certificate.gpu_memory < 0.1 < chat.gpu_memory


def test_the_server_that_it_leaves_to_the_chat(base: Path, tmp_path: Path) -> None:
    widen(base, context=16_384)
    adapters: list[NamedAdapter] = [("tuned", write_adapter(tmp_path / "captain", rank=20), None)]
    make = partial(make_plan, base, BASE, adapters, "127.0.0.1", None)
    chat = make(ServeOptions())
    kept = make(ServeOptions(beside_bytes=20 * GIB, kept_by="20261122-1530-captain-7f3a"))
    assert compiled_for(kept) == compiled_for(chat)
    # transformers comes and goes beside it while vLLM starts, which may measure nothing then
    assert chat.kv_cache_bytes is None and kept.kv_cache_bytes is not None
    assert kept.gpu_memory <= (139 - 20) / 140
    assert kept.kv_cache_bytes < kept.gpu_memory * 140 * GIB
    with pytest.raises(LuthierError, match="Not enough GPU memory"):
        make(ServeOptions(beside_bytes=138 * GIB))


def test_its_job_shares_the_gpu_with_that_server(base: Path) -> None:
    keeps = certificate.order("captain", "{job}", "tiny", base, ["gpu"], keeps_server=True)
    alone = certificate.order("captain", "{job}", "tiny", base, ["gpu"])
    on_cpu = certificate.order("captain", "{job}", "tiny", base, ["cpu"], keeps_server=True)
    shares = [
        (order["share_gpu"], order["starts_jobs"], order["gpu_bytes"] > 0)
        for order in (keeps, alone, on_cpu)
    ]
    assert shares == [(True, True, True), (False, False, True), (False, True, False)]


def test_a_context_that_has_no_room_is_cut(base: Path) -> None:
    widen(base, context=32_768)
    plan = server_plan(base, [], 500, gpu=True)
    assert (plan.context_length, plan.max_loras) == (500, 1)
    assert plan.extra_args == ["--max-num-batched-tokens=1024"]


def test_on_a_cpu_prompts_are_read_in_parts(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "default_device", lambda: "cpu")
    plan = server_plan(base, [], 500, gpu=False)
    assert (plan.context_length, plan.device) == (500, "cpu")
    assert plan.extra_args == ["--max-num-batched-tokens=1024"]
