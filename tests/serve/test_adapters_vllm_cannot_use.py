"""Adapters that vLLM ignores, or cannot load beside their base: what is said, and the way out."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest

from jobs.job import Job, create
from jobs.spec import Spec
from models import certificate
from models.adapters import MustBeMerged, check_servable, read_adapter
from models.certificate import EFFECT_REFERENCE, EFFECT_SERVED, Certificate, Check
from models.merge import launch
from models.runs import AsAdapter, AsModel, NeedsMerge, Run
from serve.certificate.worker import _merge_instead
from serve.planning import ServeOptions, make_plan
from serve.vllm_command import command
from tests.serve.conftest import write_adapter, write_tensors
from trainer.plan.methods import consequences
from trainer.recipe import Recipe


@pytest.fixture
def run(base: Path) -> Run:
    """A run with an adapter, and a certificate by which vLLM ignores it."""
    settings = {"model": str(base), "model_directory": str(base), "slots": ["cpu"]}
    run = Run(create(Spec("run", "captain", "trainer.worker", settings=settings)))
    write_adapter(run.folder.adapter)
    certificate.write(run.folder.path, certificate_of(run, served=0.001))
    return run


def certificate_of(run: Run, served: float, merged: Path | None = None) -> Certificate:
    """Its adapter moves the log-probabilities so far in vLLM, of which 0.002 is nothing."""
    return Certificate(
        run=run.id,
        base=str(run.base),
        adapter=str(run.folder.adapter),
        merged=None if merged is None else str(merged),
        made=1.0,
        seconds=1.0,
        sample={},
        columns=[],
        checks=[
            Check(EFFECT_REFERENCE, "green", "It moves.", 1.5, 0.01, 0.002, at_least=True),
            Check(
                EFFECT_SERVED,
                "green" if served > 0.01 else "red",
                "vLLM ignores the adapter.",
                served,
                0.01,
                0.002,
                at_least=True,
            ),
        ],
        versions={},
        files=certificate.stamps(run.base, run.folder.adapter),
    )


def test_what_vllm_ignores_is_served_merged(run: Run, base: Path) -> None:
    needs = run.served_as()
    assert (
        isinstance(needs, NeedsMerge)
        and "but ignores it" in needs.reason
        and run.id in needs.reason
    )
    shutil.copytree(base, run.folder.merged)
    assert run.served_as() == AsModel(f"{run.id}/merged", run.folder.merged)


def test_an_adapter_that_acts_or_was_changed_since_is_served_as_it_is(run: Run) -> None:
    config = run.folder.adapter / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "revision": "new"}))
    assert run.served_as() == AsAdapter(run.folder.adapter)
    certificate.write(run.folder.path, certificate_of(run, served=1.5))
    assert run.served_as() == AsAdapter(run.folder.adapter)


def test_the_certificate_has_it_merged_and_certified_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordered: list[Spec] = []

    def submit(spec: Spec) -> Job:
        ordered.append(spec)
        return run.job

    monkeypatch.setattr(launch, "submit", submit)
    monkeypatch.setattr(launch, "check_merge", lambda settings: None)
    assert _merge_instead(run, certificate_of(run, served=0.001)) == run.id
    (merge,) = ordered
    assert merge.kind == "merge" and merge.settings["out"] == str(run.folder.merged)
    assert [order["kind"] for order in merge.then] == ["certify"]
    again = certificate_of(run, served=0.001, merged=run.folder.merged)
    assert not _merge_instead(run, again) and not _merge_instead(run, certificate_of(run, 1.5))


def test_a_class_without_lora_is_named_and_started_without(base: Path) -> None:
    """By the installed vLLM's own source."""
    config = base / "config.json"
    plain = make_plan(base, "base", [], "127.0.0.1", None, ServeOptions())
    assert "--enable-lora" in command(plain, "python")
    config.write_text(
        json.dumps({**json.loads(config.read_text()), "architectures": ["StableLmForCausalLM"]})
    )
    plan = make_plan(base, "base", [], "127.0.0.1", None, ServeOptions())
    assert "has no LoRA for StableLmForCausalLM" in plan.why_no_adapters
    assert "--enable-lora" not in command(plan, "python")
    adapter = write_adapter(base.parent / "tuned")
    with pytest.raises(MustBeMerged, match="no LoRA for StableLmForCausalLM"):
        check_servable(read_adapter(adapter), base)


@pytest.mark.parametrize(("architecture", "is_taken"), [("Glm4", False), ("Phi3", True)])
def test_a_layer_that_vllm_has_in_parts(base: Path, architecture: str, is_taken: bool) -> None:
    """transformers has gate_up_proj whole in both, and vLLM takes an adapter on it in one."""
    config, adapter = base / "config.json", write_adapter(base.parent / "tuned")
    config.write_text(
        json.dumps(
            {**json.loads(config.read_text()), "architectures": [f"{architecture}ForCausalLM"]}
        )
    )
    layer = "model.layers.0.mlp.gate_up_proj"
    write_tensors(base / "model.safetensors", {f"{layer}.weight": [8, 6]})
    write_tensors(
        adapter / "adapter_model.safetensors",
        {
            f"base_model.model.{layer}.lora_A.weight": [4, 6],
            f"base_model.model.{layer}.lora_B.weight": [8, 4],
        },
    )
    refused = nullcontext() if is_taken else pytest.raises(MustBeMerged, match="gate_up_proj")
    with refused:
        check_servable(read_adapter(adapter), base)
    recipe = Recipe(data=["x"], model=str(base))
    assert any("gate_up_proj" in line for line in consequences(recipe, base)) is not is_taken
