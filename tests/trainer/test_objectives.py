"""Recipes that learn preferences: what goes together, where they start, and what a step costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.job import create
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from tests.trainer.shapes import llama
from trainer import first_adapter
from trainer.plan import engines, limits, methods, objectives
from trainer.plan.compute import Compute
from trainer.plan.learning_rate import learning_rate
from trainer.plan.memory.predict import Setting, predict
from trainer.plan.memory.shape import read_shape
from trainer.plan.plan import step_count
from trainer.recipe import Recipe, parse

DPO = '[objective]\nkind = "dpo"\n'
KTO = '[objective]\nkind = "kto"\n'


def recipe(text: str, top: str = "") -> Recipe:
    return parse(f'data = "d.jsonl"\n{top}\n{text}', "r.toml")


@pytest.mark.parametrize(
    ("text", "top", "message"),
    [
        (DPO, "gpus = 2", "one GPU, but gpus = 2"),
        (f"{DPO}[train]\npadding_free = true", "", "train.padding_free = true"),
        (f"{DPO}[train]\nfloat8 = true", "", "float8"),
        (f'{DPO}[mask]\nturns = "last"', "", "mask.turns"),
        (f'{DPO}[tokens]\ntemplate = "chatml"', "", "[tokens]"),
        (f'{KTO}[train]\nmethod = "full"', "", "second model in memory"),
        (f"{KTO}[train]\nmicro_batch = 1", "", "another one of its micro-batch"),
    ],
)
def test_what_does_not_go_together_says_why(text: str, top: str, message: str) -> None:
    with pytest.raises(LuthierError) as error:
        objectives.check(recipe(text, top))
    assert message in error.value.message
    assert error.value.hint


@pytest.mark.parametrize("kind", ["sft", "dpo", "orpo", "kto"])
def test_what_goes_together_passes(kind: str) -> None:
    objectives.check(recipe(f'[objective]\nkind = "{kind}"'))


def test_unsloth_and_flat_batches_are_for_fine_tuning(tmp_path: Path) -> None:
    folder = llama(tmp_path / "m")
    assert "DPO" in methods.unsloth_cannot(recipe(DPO), folder)
    config = json.loads((folder / "config.json").read_text())
    is_flat, why = engines.flat(recipe(DPO), config, "trl")
    assert not is_flat
    assert "DPO" in why
    assert engines.flat(recipe(""), config, "trl")[0]


def test_a_pair_takes_two_rows_a_copy_of_the_adapter_and_all_logits(tmp_path: Path) -> None:
    shape = read_shape(llama(tmp_path / "m"))
    assert shape is not None
    compute = Compute()

    def memory(text: str) -> Any:
        return predict(shape, Setting.of(recipe(text), "trl", compute).holding(1000, 4))

    usual, pairs = memory(""), memory(DPO)
    assert pairs.adapter == 2 * usual.adapter
    assert pairs.gradients == usual.gradients
    assert pairs.activations > 1.9 * usual.activations
    assert pairs.working > 2 * 1000 * 128_256 * 4  # the logits of both sides
    assert memory('[objective]\nkind = "dpo"\n[train]\nmethod = "full"').adapter == 0


def test_preferences_want_a_smaller_rate() -> None:
    usual = learning_rate(recipe(""), 8_000_000_000).value
    dpo = learning_rate(recipe(DPO), 8_000_000_000)
    assert dpo.value == pytest.approx(usual / 20)
    assert "DPO" in dpo.reason
    orpo = learning_rate(recipe('[objective]\nkind = "orpo"'), 8_000_000_000)
    assert orpo.value == pytest.approx(usual / 2)
    assert (
        "DPO by LoRA"
        in learning_rate(recipe(f"{DPO}[train]\nlearning_rate = 1e-3"), 8_000_000_000).warning
    )


def test_few_steps_at_the_cautious_rate_are_warned_of() -> None:
    rate = learning_rate(recipe(DPO), 135_000_000)
    assert "Only 3 steps at a learning rate of 2.5e-5" in limits.few_steps(
        recipe(DPO), rate, lambda _: 3
    )
    assert not limits.few_steps(recipe(DPO), rate, lambda _: 10)
    # up to which rate it says is up to where a recipe's own is no warning
    explicit = recipe(f"{DPO}[train]\nlearning_rate = {rate.highest}")
    assert not learning_rate(explicit, 135_000_000).warning
    assert not limits.few_steps(explicit, learning_rate(explicit, 135_000_000), lambda _: 3)


@pytest.mark.parametrize(
    ("batch", "conversations", "advice"),
    [
        (16, 48, "train.global_batch = 4 (now 16) makes about 36."),
        (16, 130, "train.global_batch = 8 (now 16) makes about 51."),
        (24, 48, "train.global_batch = 4 (now 24) makes about 36."),
        (16, 5, "train.global_batch = 1 (now 16) makes about 15."),
        (16, 160, ""),
        (1, 9, ""),  # nothing smaller
        (16, 1, ""),  # no batch makes more steps of one conversation
        (16, 0, ""),  # not known
    ],
)
def test_few_steps_of_conversations_are_warned_of(
    batch: int, conversations: int, advice: str
) -> None:
    small = recipe(f"[train]\nglobal_batch = {batch}")

    def steps_of(global_batch: int) -> int:
        return step_count(conversations, global_batch, 3.0) if conversations else 0

    warning = limits.few_steps(small, learning_rate(small, 135_000_000), steps_of)
    assert warning.endswith(advice) and bool(warning) == bool(advice)


def test_a_step_costs_more_than_one_of_fine_tuning() -> None:
    assert objectives.reasons(recipe("")) == []
    assert objectives.step_cost(recipe("")) == 1
    assert objectives.step_cost(recipe(f"{DPO}[train]\nepochs = 1")) == pytest.approx(8 / 3)
    (reason,) = objectives.reasons(recipe(KTO))
    assert "2.0 times" in reason.text


# ---- where it starts


def adapter(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"],
        "base_model_name_or_path": "m", **config,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(values))
    (folder / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return folder


def test_without_one_a_recipe_stays_as_it_is() -> None:
    assert first_adapter.settled(recipe(DPO)) == recipe(DPO)


@pytest.mark.parametrize(
    ("text", "config", "message"),
    [
        ('[train]\nmethod = "full"', {}, "trains every weight"),
        ('[tokens]\ntemplate = "chatml"', {}, "was trained without that"),
        ("", {"trainable_token_indices": {"embed_tokens": [1]}}, "new tokens"),
        ("", {"modules_to_save": ["lm_head"]}, "trained whole"),
    ],
)
def test_adapters_that_cannot_be_started_from(
    tmp_path: Path, text: str, config: dict[str, Any], message: str
) -> None:
    folder = adapter(tmp_path / "a", **config)
    with pytest.raises(LuthierError, match=message):
        first_adapter.settled(recipe(text, f'start_from = "{folder}"'))


def test_a_name_that_is_no_run_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path))
    with pytest.raises(LuthierError, match="no run named 'nobody'"):
        first_adapter.settled(recipe("", 'start_from = "nobody"'))


def test_its_lora_is_that_of_the_adapter_and_its_copy_outlives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_adapter, "check_servable", lambda adapter, base: None)
    base = llama(tmp_path / "m", "135m")
    (base / "model.safetensors").touch()
    folder = adapter(tmp_path / "a", use_rslora=True, lora_dropout=0.1)
    settled = first_adapter.settled(recipe("", f'model = "{base}"\nstart_from = "{folder}"'))
    assert (settled.lora.r, settled.lora.alpha, settled.lora.targets) == (8, 16, ["q_proj"])
    assert settled.lora.rslora
    assert settled.lora.dropout == 0.1
    assert first_adapter.settled(settled) == settled
    run = tmp_path / "run"
    run.mkdir()
    copied = first_adapter.copied(run, settled)
    (folder / "adapter_config.json").unlink()
    assert first_adapter.copied(run, settled) == copied
    assert Path(copied.start_from).parent == run
    assert (Path(copied.start_from) / "adapter_config.json").is_file()


def test_a_run_is_found_again_after_its_home_was_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_adapter, "check_servable", lambda adapter, base: None)
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    base = llama(tmp_path / "home" / "models" / "mine", "135m")
    (base / "model.safetensors").touch()
    old = tmp_path / "earlier" / "models" / "mine"
    job = create(Spec("run", "mate", "m", {"model": "mine", "model_directory": str(old)}))
    folder = adapter(job.directory / "adapter")
    text = f'model = "mine"\nstart_from = "{job.id}"'
    assert first_adapter.settled(recipe("", text)).start_from == str(folder)
    old.mkdir(parents=True)  # another model of that name, which is still there
    with pytest.raises(LuthierError, match="another base") as refusal:
        first_adapter.settled(recipe("", text))
    assert str(old) in refusal.value.message and str(base) in refusal.value.message
