"""A run orders its own certificate, unless the recipe says no."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.spec import Spec
from trainer import launch
from trainer.recipe import Recipe, load, to_toml


@pytest.mark.parametrize("certify", [True, False])
def test_what_follows_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certify: bool) -> None:
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
    job = launch.train(Recipe(data=[str(data)], model=str(model), name="parrot", certify=certify))
    orders = [Spec(**order) for order in job.spec.then]
    expected = (
        [("certify", "parrot-certificate", {"run": "{job}", "model": str(model)}, job.spec.slots)]
        if certify
        else []
    )
    assert [(order.kind, order.name, order.settings, order.slots) for order in orders] == expected
    assert launch.frozen_recipe(job).certify is certify


def test_the_key_stands_before_the_sections(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(to_toml(Recipe(data=["x.jsonl"], certify=False)))
    assert load(path).certify is False
