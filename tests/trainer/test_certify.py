"""A run orders its own certificate, unless the recipe says no."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.spec import Spec
from models.runs import Run
from trainer import launch
from trainer.guard_settings import Guard
from trainer.recipe import Recipe, load, to_toml


@pytest.mark.parametrize(("certify", "guarded"), [(True, False), (False, True), (True, True)])
def test_what_follows_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certify: bool, guarded: bool
) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    monkeypatch.setattr(launch, "start", lambda job: None)
    model, data = tmp_path / "base", tmp_path / "data.jsonl"
    model.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (model / name).write_text("{}")
    row = {
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    }
    data.write_text(json.dumps(row) + "\n")
    guard = Guard(after_run=guarded, at_most_lower={"facts": 3.0})
    recipe = Recipe(data=[str(data)], model=str(model), name="parrot", certify=certify, guard=guard)
    job = launch.train(recipe)
    orders = [Spec(**order) for order in job.spec.then]
    settings = {"run": "{job}", "model": str(model), "keeps_server": False}  # there is no GPU
    expected = [("certify", "parrot-certificate", settings, job.spec.slots)] if certify else []
    if guarded:
        asked = {"probes": [], "only": [], "against": ""}
        bounds = {"points": {"facts": 3.0}, "text_loss": 0.3, **asked}
        settings_of_guard = {"run": "{job}", "model": str(model), **bounds}
        expected.append(("guard", "parrot-guard", settings_of_guard, []))
    assert Run(job).is_certified is certify
    assert [(order.kind, order.name, order.settings, order.slots) for order in orders] == expected
    assert launch.frozen_recipe(job).certify is certify


def test_the_key_stands_before_the_sections(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(to_toml(Recipe(data=["x.jsonl"], certify=False)))
    assert load(path).certify is False
