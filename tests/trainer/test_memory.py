"""What a run is predicted to take of a GPU, held against what runs have taken."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.gpu.peaks import SHAPES, Measured, left_out, measured
from jobs.gpus import Gpu
from jobs.home import models_directory
from tests.trainer.shapes import llama, shape_of
from trainer.launch import run_spec
from trainer.plan import plan
from trainer.plan.compute import Compute
from trainer.plan.memory import remembered
from trainer.plan.memory.batches import Lengths, largest
from trainer.plan.memory.cards import CARDS, bytes_of, rows
from trainer.plan.memory.predict import Setting, predict
from trainer.plan.memory.shape import ModelShape, read_shape
from trainer.recipe import Recipe

GIB = 1 << 30
MEASURED = measured()


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> ModelShape:
    return shape_of(llama(tmp_path_factory.mktemp("8b")))


def recipe(**train: Any) -> Recipe:
    return msgspec.convert({"data": ["x.jsonl"], "train": train}, Recipe)


def flat(tokens: int, **values: Any) -> Setting:
    """Of a run by Unsloth; what is one of Compute's values goes there."""
    setting = Setting("unsloth", tokens, conversations=4)
    decided = {
        field.name: values.pop(field.name) for field in fields(Compute) if field.name in values
    }
    return replace(setting, compute=Compute(**decided), **values)


@pytest.mark.parametrize("row", MEASURED, ids=str)
def test_the_prediction_is_close_to_what_was_measured(row: Measured) -> None:
    """The issue asks for 10 %; the terms were counted with these peaks in view, so they must do
    better."""
    assert row.predicted_gb == pytest.approx(row.peak_gb, rel=0.05)


def test_the_shape_of_what_was_measured_is_read_from_a_models_config(eight: ModelShape) -> None:
    assert eight == SHAPES["8b"]


def test_it_is_close_also_to_what_it_was_not_fitted_to() -> None:
    assert len({(row.setting, row.peak_gb) for row in MEASURED}) >= 8
    assert max(abs(error) for _, error in left_out(MEASURED)) < 0.05


def test_the_parts_are_named_and_add_up(eight: ModelShape) -> None:
    memory = predict(eight, flat(8192, base_bits=4, gradient_checkpointing="unsloth"))
    assert sum(memory.parts().values()) == memory.peak
    assert memory.adapter == 4 * 41_943_040  # what Unsloth says it trains, in 32 bits
    assert (memory.gradients, memory.optimizer) == (memory.adapter, 2 * memory.adapter)
    # loaded_gb of bench/gpu/speed.py
    assert memory.weights + memory.adapter == pytest.approx(5.90e9, rel=0.01)


def test_a_cpu_has_fewer_logits_at_once(eight: ModelShape) -> None:
    """trainer.kernels.head_loss; tests/real/test_cpu_speed.py measures them."""
    gpu, cpu = (
        predict(eight, Setting.of(recipe(), "trl", Compute(), device).holding(512, 1)).working
        for device in ("gpu", "cpu")
    )
    assert (gpu, cpu) == (16 * 256 * 128_256, 10 * 128 * 128_256)
    few = Setting.of(recipe(), "trl", Compute(), "cpu").holding(100, 1)
    assert predict(eight, few).working == 10 * 100 * 128_256


def test_quantised_weights_leave_embeddings_and_head(eight: ModelShape) -> None:
    weights = {bits: predict(eight, flat(0, base_bits=bits)).weights for bits in (16, 8, 4)}
    outside = 2 * (2 * 128_256 * 4096 + 65 * 4096)
    inside = weights[16] - outside
    assert weights[8] - outside == inside // 2
    # QLoRA's 4 bits and 0.127 for the scales
    assert weights[4] - outside == pytest.approx(inside * 4.127 / 16, rel=1e-4)


def test_optimizers_and_full_fine_tuning(eight: ModelShape) -> None:
    def states(**values: Any) -> int:
        return predict(eight, flat(0, **values)).optimizer

    assert states(optimizer="adamw_8bit") * 4 == states()
    assert states(optimizer="paged_adamw_8bit") == 0
    full = predict(eight, flat(2048, engine="trl", method="full", base_bits=32))
    count = eight.inside + eight.outside
    assert (full.weights, full.adapter, full.gradients, full.optimizer) == (
        4 * count,
        0,
        4 * count,
        8 * count,
    )
    assert (
        predict(eight, flat(2048, engine="trl", method="full", base_bits=16)).peak < 0.6 * full.peak
    )


def test_each_kind_of_checkpointing_keeps_less(eight: ModelShape) -> None:
    for engine, kinds in (
        ("unsloth", ("none", "standard", "unsloth")),
        ("trl", ("none", "standard")),
    ):
        peaks = [
            predict(eight, flat(8192, engine=engine, gradient_checkpointing=kind)).peak
            for kind in kinds
        ]
        assert peaks == sorted(peaks, reverse=True)


def test_only_sdpa_over_several_conversations_has_a_mask(eight: ModelShape) -> None:
    def mask(**values: Any) -> int:
        setting = flat(4096, **{"engine": "trl", "conversations": 2, **values})
        return predict(eight, setting).attention_mask

    assert mask() == 4096 * 4096 * (1 + 2 * 32)
    assert mask(gradient_checkpointing="standard") == 4096 * 4096 * 3
    assert mask(rows=2) == 2 * 2048 * 2048 * 65
    assert (
        mask(conversations=1)
        == mask(attention="flash")
        == mask(attention="flex")
        == mask(engine="unsloth")
        == 0
    )


def test_what_unsloth_does_not_fuse_keeps_what_transformers_keeps(eight: ModelShape) -> None:
    fused = predict(eight, flat(8192)).activations
    assert fused < 0.6 * predict(eight, flat(8192, dropout=True)).activations
    other = predict(replace(eight, family="olmo2"), flat(8192)).activations
    assert other == predict(eight, flat(8192, engine="trl", attention="flash")).activations


def test_adapters_of_chosen_layers(eight: ModelShape) -> None:
    some = predict(eight, flat(2048, engine="trl", targets=("q_proj", "v_proj")))
    assert some.adapter == 4 * 16 * 32 * (4096 + 4096 + 4096 + 1024)
    assert some.activations < predict(eight, flat(2048, engine="trl")).activations
    assert (
        predict(
            eight,
            flat(2048, engine="trl", targets=("layers.1.self_attn.q_proj", "self_attn.v_proj")),
        )
        == some
    )


def test_a_mixture_of_experts_keeps_what_is_active(tmp_path: Path) -> None:
    folder = llama(tmp_path / "moe", "135m")
    config = msgspec.json.decode((folder / "config.json").read_bytes())
    config |= {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 512}
    (folder / "config.json").write_bytes(msgspec.json.encode(config))
    assert shape_of(folder).inner == 1024


def test_widths_that_differ_from_layer_to_layer(tmp_path: Path) -> None:
    """As Gemma 3n says them, whose text has a config of its own."""
    folder = llama(tmp_path / "model", "135m")
    config = msgspec.json.decode((folder / "config.json").read_bytes())
    (folder / "config.json").write_bytes(
        msgspec.json.encode({**config, "text_config": None, "intermediate_size": [512, 1536, 1024]})
    )
    assert shape_of(folder).inner == 1536


def test_a_model_of_another_kind_has_no_shape(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "rwkv"}')
    assert read_shape(tmp_path) is None


def test_lengths_of_micro_batches() -> None:
    lengths = Lengths(mean=200.0, longest=2000, spread=100.0)
    assert lengths.largest(4, padding_free=False) == 8000
    assert lengths.largest(1, padding_free=True) == 2000
    assert lengths.largest(16, padding_free=True) == 16 * 200 + 4 * 100 * 4
    assert (
        lengths.computed(4, padding_free=True)
        == 1.0
        < lengths.computed(4, padding_free=False)
        < lengths.computed(16, padding_free=False)
    )


def test_the_largest_micro_batch_depends_on_whether_it_is_padded() -> None:
    lengths, batches = [10, 100, 60, 60, 60], [[0, 1], [2, 3], [4]]
    assert largest(batches, lengths, padding_free=True) == ([2, 3], 120)
    assert largest(batches, lengths, padding_free=False) == ([0, 1], 200)


def test_the_table_of_cards(eight: ModelShape) -> None:
    found = {
        (row.compute.base_bits, row.compute.gradient_checkpointing): row
        for row in rows(recipe(), eight, "unsloth", Compute(), 150 * 10**9)
    }
    assert set(found) == {
        (bits, kind) for bits in (16, 8, 4) for kind in ("none", "standard", "unsloth")
    }
    qlora = [found[4, "unsloth"].fits[bytes_of(card)] for card in CARDS]
    assert qlora == sorted(qlora) and qlora[0] == 0 and qlora[1] >= 4  # an 8B model trains on 12 GB
    lora = found[16, "none"]
    assert (
        lora.fits[bytes_of(24)] == 0
        and lora.fits[bytes_of(80)] == 7
        and lora.fits[150 * 10**9] >= 12
    )
    assert (
        lora.peaks[8, 2048]
        == predict(eight, flat(16_384, conversations=8)).peak
        < lora.needs[8, 2048]
    )
    assert {length for _, length in lora.peaks} == {512, 2048, 8192, 32_768}


def test_what_a_run_has_measured_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path))
    assert remembered.recall("m", "gpu", flat(100)) == (1.0, "")
    remembered.remember("m", "gpu", flat(100), 1000, 1100, "first")
    remembered.remember("m", "gpu", flat(200), 2000, 2100, "second")
    remembered.remember("m", "gpu", flat(200, base_bits=4), 2000, 4000, "third")
    assert remembered.recall("m", "gpu", flat(300)) == (1.05, "second")
    assert remembered.recall("m", "gpu", flat(300, gradient_checkpointing="standard")) == (1.0, "")
    assert remembered.recall("m", "other", flat(300)) == (1.0, "")


def test_a_run_says_what_it_needs_of_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path))
    monkeypatch.setattr(plan, "gpus", lambda: [Gpu(0, "H", 80 * GIB, 80 * GIB)])
    llama(models_directory() / "builtin", "135m")
    (tmp_path / "data.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    )
    alone = Recipe(data=[str(tmp_path / "data.jsonl")])
    shared = run_spec(msgspec.structs.replace(alone, share_gpu=True))
    assert shared.share_gpu and not run_spec(alone).share_gpu
    assert GIB < run_spec(alone).gpu_bytes < shared.gpu_bytes <= 76 * GIB
