"""What a recipe wants and the model or the machine cannot give, said by the plan before anything
runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.gpus import Gpu
from tests.trainer.shapes import llama
from trainer.data.settings import Source
from trainer.plan import engines, plan, repair
from trainer.plan.limits import samples_beyond_positions
from trainer.plan.plan import make_plan
from trainer.recipe import Recipe, Train


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """One conversation of about 19,000 tokens, and a short one."""
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(plan, "gpus", lambda: [])
    monkeypatch.setattr(repair, "gpus", lambda: [])
    lines = [
        {
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "a " * n},
            ]
        }
        for n in (33_000, 10)
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Source(str(tmp_path / "data.jsonl"))


def with_positions(folder: Path, positions: int) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "max_position_embeddings": positions})
    )
    return folder


def warnings(data: Source, model: Path, **train: object) -> list[str]:
    """All but the one about few steps."""
    settings = Train(**train)  # type: ignore[arg-type]
    run_plan = make_plan(Recipe(data=[data], model=str(model), train=settings))
    return [warning for warning in run_plan.warnings if not warning.startswith("Only ")]


def test_samples_beyond_the_models_positions_are_counted(
    tmp_path: Path, data: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "main_memory", lambda: 10**15)
    model = with_positions(llama(tmp_path / "base", "135m"), 8192)
    said = warnings(data, model, max_length=100_000)
    assert len(said) == 1
    assert "train.max_length is 100,000, but the model has 8,192 positions" in said[0]
    assert "about 1 of 2 conversations is longer" in said[0] and "max_length = 8192" in said[0]
    assert not warnings(data, model, max_length=8192)


def test_finished_samples_are_counted_too() -> None:
    assert samples_beyond_positions(8192, {8192: 3, 8193: 1, 18_923: 1}).startswith(
        "2 samples are longer than the model's 8,192 positions"
    )
    assert samples_beyond_positions(8192, {18_923: 1}).startswith("1 sample is longer")
    assert not samples_beyond_positions(8192, {8192: 3})
    assert not samples_beyond_positions(None, {8193: 3})


def test_a_cpu_run_larger_than_the_machine_is_told_what_would_fit(
    tmp_path: Path, data: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = llama(tmp_path / "base", "135m")
    whole = make_plan(Recipe(data=[data], model=str(model), train=Train(max_length=100_000)))
    peak = sum(whole.memory.values())
    monkeypatch.setattr(plan, "main_memory", lambda: peak)
    (said,) = warnings(data, model, max_length=100_000)
    assert (
        "of main memory, and this machine has" in said
        and "With micro_batch = 1 in [train] it would need" in said
    )
    monkeypatch.setattr(plan, "main_memory", lambda: peak // 10)
    (said,) = warnings(data, model, max_length=100_000)
    assert 'With micro_batch = 1 and gradient_checkpointing = "standard"' in said
    monkeypatch.setattr(plan, "main_memory", lambda: 2 * peak)
    assert not warnings(data, model, max_length=100_000)


def test_a_model_larger_than_the_machine_cannot_fit(
    tmp_path: Path, data: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "main_memory", lambda: 12 * 10**9)
    model = llama(tmp_path / "base")
    (of_lora,) = warnings(data, model)
    assert "it cannot fit. Use a smaller model." in of_lora
    assert 'method = "lora"' in warnings(data, model, method="full")[0]


def test_a_gpu_on_which_nothing_fits_is_warned_of(
    tmp_path: Path, data: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = [Gpu(0, "small", 8 << 30, 8 << 30)]
    monkeypatch.setattr(plan, "gpus", lambda: card)
    monkeypatch.setattr(plan, "compute_capability", lambda: (8, 0))
    monkeypatch.setattr(engines, "installed", lambda: {"trl"})
    (said,) = warnings(data, llama(tmp_path / "base"), method="full")
    assert said.startswith("The run is not predicted to fit") and 'method = "lora"' in said
