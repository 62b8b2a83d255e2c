"""When the plan shares a model out over GPUs (FSDP2), and what memory that takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs.gpus import Gpu
from jobs.luthier_error import LuthierError
from tests.trainer.shapes import llama, shape_of
from trainer.plan import plan, repair
from trainer.plan.compute import Compute
from trainer.plan.memory.predict import Setting, predict
from trainer.plan.methods import cannot_shard
from trainer.plan.plan import Plan, make_plan
from trainer.recipe import Recipe, Tokens

GB = 10**9
FULL = {"train": {"method": "full"}}  # of 8B: 128 GB with AdamW, 80 GB at the thriftiest
Made = Callable[..., Plan]


def texts(plan: Plan) -> list[str]:
    return [reason.text for reason in plan.reasons]


def setting(method: str, **compute: Any) -> Setting:
    decided = Compute(**{"gradient_checkpointing": "standard", **compute})
    return Setting("trl", 4000, decided, method=method)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """The plan of an 8B model on so many GPUs of so many gigabytes (the first one of `first`), on a
    machine that has Unsloth, too."""
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PET_NNODES", raising=False)
    monkeypatch.setattr("trainer.plan.engines.installed", lambda: {"trl", "unsloth"})
    monkeypatch.setattr("trainer.plan.methods.check_installed", lambda *packages: None)
    rows = [
        [
            {"role": "user", "content": f"{number} why?"},
            {"role": "assistant", "content": "because " * 100},
        ]
        for number in range(60)
    ]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))

    def plan_of(
        gpus: int, size: int, wanted: dict[str, Any], first: int = 0, **config: Any
    ) -> Plan:
        sizes = [(first or size) * GB, *[size * GB] * (gpus - 1)]
        folder = llama(tmp_path / "model")
        (folder / "config.json").write_text(
            json.dumps(json.loads((folder / "config.json").read_text()) | config)
        )
        monkeypatch.setattr(plan, "compute_capability", lambda: (9, 0))
        for module in (plan, repair):
            monkeypatch.setattr(
                module,
                "gpus",
                lambda: [Gpu(number, "card", size, size) for number, size in enumerate(sizes)],
            )
        base = {"data": [str(tmp_path / "x.jsonl")], "model": str(folder), "gpus": gpus}
        return make_plan(msgspec.convert(base | wanted, Recipe))

    return plan_of


def test_a_model_that_fits_on_no_gpu_is_shared_out(made: Made) -> None:
    plan_of_4 = made(4, 80, FULL)
    assert (
        plan_of_4.compute.shards,
        plan_of_4.engine,
        plan_of_4.compute.base_bits,
        plan_of_4.compute.optimizer,
    ) == (
        4,
        "trl",
        32,
        "adamw",
    )
    assert sum(plan_of_4.memory.values()) < 80 * GB
    assert (
        plan_of_4.compute.micro_batch * plan_of_4.compute.accumulation * 4 == plan_of_4.global_batch
    )
    explanation = "\n".join(texts(plan_of_4))
    assert (
        "a share of every weight on each GPU (FSDP2), because the whole model needs" in explanation
        and "a card has 80.0 GB" in explanation
    )
    assert "TRL, because Unsloth does not shard a model" in explanation
    assert "DDP" not in explanation
    assert (
        Plan.from_json(msgspec.json.decode(msgspec.json.encode(plan_of_4.to_json()))) == plan_of_4
    )


def test_the_smallest_of_its_gpus_counts(made: Made) -> None:
    assert made(4, 80, FULL, first=250).compute.shards == 4
    assert made(2, 24, {}, first=80).memory == made(2, 24, {}).memory


def test_a_model_that_fits_is_not(made: Made) -> None:
    for gpus, size, wanted in (
        (4, 250, FULL),
        (4, 24, {}),
        (1, 80, FULL),
        (4, 80, FULL | {"sharding": "none"}),
    ):
        assert made(gpus, size, wanted).compute.shards == 1
    assert "the whole model on each GPU (DDP)" in texts(made(4, 24, {}))
    nothing = made(2, 16, FULL)
    assert nothing.compute.shards == 1
    assert texts(nothing)[-1] == "Shards of the model on each GPU (FSDP2) do not fit either."


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"train": {"base_bits": 8}}, "4 or 8 bits"),
        ({"train": {"method": "full", "optimizer": "paged_adamw_8bit"}}, "optimizers"),
        ({"train": {"method": "full", "base_bits": 16}}, "in 32 bits"),
        ({"lora": {"dora": True}, "train": {"base_bits": 16}}, "DoRA"),
        ({"train": {"float8": True}}, "shard float8"),
        ({"engine": "unsloth"}, "Unsloth does not shard"),
        ({"train": {"gradient_checkpointing": "unsloth"}}, "Unsloth does not shard"),
    ],
)
def test_what_cannot_be_sharded_is_said(made: Made, wanted: dict[str, Any], why: str) -> None:
    found = made(4, 5, wanted)
    assert found.compute.shards == 1
    assert "FSDP2" in texts(found)[-1] and why in texts(found)[-1]
    with pytest.raises(LuthierError, match=why):
        made(4, 5, wanted | {"sharding": "fsdp2"})


def test_what_of_the_model_cannot_be_sharded_is_said(made: Made, tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match="experts"):
        made(2, 80, {"sharding": "fsdp2"}, num_local_experts=8)
    recipe = Recipe(data=["x.jsonl"], tokens=Tokens(["<|new|>"]))
    folder = llama(tmp_path / "model")
    assert cannot_shard(recipe, folder) == ""
    weights = folder / "model.safetensors"
    shapes = json.loads(weights.read_bytes()[8:])
    del shapes["lm_head.weight"]
    header = json.dumps(shapes).encode()
    weights.write_bytes(len(header).to_bytes(8, "little") + header)
    assert "also the head" in cannot_shard(recipe, folder)
    assert cannot_shard(msgspec.structs.replace(recipe, tokens=Tokens()), folder) == ""


def test_a_recipe_may_insist(made: Made) -> None:
    found = made(2, 80, {"sharding": "fsdp2"})
    assert (found.compute.shards, found.engine, found.compute.base_bits) == (2, "trl", 16)
    assert "a share of every weight on each GPU (FSDP2), because the recipe says so" in texts(found)
    alone = made(1, 80, {"sharding": "fsdp2"})
    assert alone.compute.shards == 1
    assert "nothing is sharded: there is only one process" in texts(alone)


def test_the_memory_of_a_shard(tmp_path: Path) -> None:
    """What is shared out shrinks with the number of GPUs; activations do not, and what is gathered
    comes on top."""
    shape = shape_of(llama(tmp_path / "8b"))
    full = setting("full", base_bits=32)
    alone, four = predict(shape, full), predict(shape, setting("full", base_bits=32, shards=4))
    for part in ("weights", "gradients", "optimizer"):
        assert getattr(four, part) == pytest.approx(getattr(alone, part) / 4)
    assert four.activations == alone.activations
    layer, outside = shape.inside / shape.layers, shape.outside
    lora, sharded = predict(shape, setting("lora")), predict(shape, setting("lora", shards=4))
    gathered = sharded.working - lora.working
    assert gathered == pytest.approx(2 * (2 * layer + outside))
