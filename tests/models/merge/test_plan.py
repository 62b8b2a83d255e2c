"""The plan: what the pieces are made of, and what is refused, each with the tensor's name."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.luthier_error import LuthierError
from models.merge.adapter_tensors import scaling
from models.merge.plan import plan_merge
from tests.models.merge.headers import PREFIX, Q, lora, write_adapter, write_base, write_weights

E, H = "model.embed_tokens", "lm_head"
HEAD_LORA = lora(H, outside=20)
EMBEDDING_LORA = {f"{PREFIX}{E}.lora_embedding_A": (4, 20), f"{PREFIX}{E}.lora_embedding_B": (8, 4)}
ROWS = {f"{PREFIX}{E}.token_adapter.trainable_tokens_delta": (2, 8)}


def test_what_is_not_touched_is_copied_in_the_base_s_order(tmp_path: Path) -> None:
    plan = plan_merge(write_base(tmp_path / "base"), write_adapter(tmp_path / "adapter"))
    assert list(plan.files) == ["model.safetensors"]
    assert [(piece.name, piece.made) for piece in plan.pieces] == [
        (f"{E}.weight", "copied"),
        (f"{Q}.weight", "lora"),
        (f"{Q}.bias", "copied"),
        ("model.norm.weight", "copied"),
        ("lm_head.weight", "copied"),
    ]
    assert (plan.tied, plan.vocabulary) == (None, None)
    made = plan.pieces[1].make.lora
    assert made is not None
    assert (made.scale, made.transposed) == (2.0, False)
    assert plan.written_bytes == 4 * (160 + 96 + 12 + 8 + 160)


def test_another_type_and_what_is_no_float_keeps_its_own(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", more={"mask": (5,)}, dtypes={"mask": "I64"})
    plan = plan_merge(base, write_adapter(tmp_path / "adapter"), dtype="bfloat16")
    assert {piece.name: piece.dtype for piece in plan.pieces} == {
        **dict.fromkeys(
            (f"{E}.weight", f"{Q}.weight", f"{Q}.bias", "model.norm.weight", "lm_head.weight"),
            "BF16",
        ),
        "mask": "I64",
    }


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "experts that the adapter has not": (
        {},
        {"target_parameters": ["mlp.experts.gate_up_proj"]},
        "mlp.experts.gate_up_proj",
    ),
    "experts that the model has not": (
        {},
        {
            "target_parameters": ["mlp.experts.down_proj"],
            "shapes": lora("model.layers.0.mlp.experts"),
        },
        "model.layers.0.mlp.experts.lora_A.weight",
    ),
    "no such module": (
        {},
        {"shapes": lora("model.layers.9.mlp.up_proj")},
        "model.layers.9.mlp.up_proj.lora_A.weight",
    ),
    "another width": ({}, {"shapes": lora(inside=9)}, f"{Q}.lora_A.weight"),
    "another height": ({}, {"shapes": lora(outside=13)}, f"{Q}.lora_A.weight"),
    "another rank than told": ({}, {"r": 5}, f"{Q}.lora_A"),
    "halves of two ranks": (
        {},
        {"shapes": {**lora(), f"{PREFIX}{Q}.lora_B.weight": (12, 3)}},
        f"{Q}.lora_A.weight",
    ),
    "half a pair": ({}, {"shapes": {f"{PREFIX}{Q}.lora_A.weight": (4, 8)}}, f"{Q}.lora_A.weight"),
    "a convolution": (
        {},
        {
            "shapes": {
                f"{PREFIX}{Q}.lora_A.weight": (4, 8, 1),
                f"{PREFIX}{Q}.lora_B.weight": (12, 4, 1),
            }
        },
        f"{Q}.lora_A.weight",
    ),
    "a saved tensor of another shape": (
        {},
        {"shapes": {**lora(), f"{PREFIX}model.norm.weight": (9,)}},
        "model.norm.weight",
    ),
    "a saved tensor that the base lacks": (
        {},
        {"shapes": {**lora(), f"{PREFIX}model.norm.bias": (8,)}},
        "model.norm.bias",
    ),
    "a name without the prefix": (
        {},
        {"shapes": {f"{Q}.lora_A.weight": (4, 8)}},
        f"{Q}.lora_A.weight",
    ),
    "an adapter's own name": (
        {},
        {"shapes": {f"{PREFIX}{Q}.lora_A.default.weight": (4, 8)}},
        "lora_A.default.weight",
    ),
    "a bias where the base has none": (
        {},
        {"shapes": {**HEAD_LORA, f"{PREFIX}{H}.lora_B.bias": (20,)}, "lora_bias": True},
        "lora_B.bias",
    ),
    "a quantised adapter": (
        {},
        {"dtypes": {f"{PREFIX}{Q}.lora_A.weight": "F8_E4M3"}},
        f"{Q}.lora_A.weight",
    ),
    "DoRA without magnitudes": ({}, {"use_dora": True}, f"{Q}.lora_A.weight"),
    "magnitudes without DoRA": (
        {},
        {"shapes": {**lora(), f"{PREFIX}{Q}.lora_magnitude_vector": (12,)}},
        "lora_magnitude_vector",
    ),
    "magnitudes of another shape": (
        {},
        {"shapes": {**lora(), f"{PREFIX}{Q}.lora_magnitude_vector": (8,)}, "use_dora": True},
        "lora_magnitude_vector",
    ),
    "PiSSA": ({}, {"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
    "layers used twice": ({}, {"layer_replication": [[0, 1]]}, "layer_replication"),
    "an activated LoRA": ({}, {"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
    "what a later PEFT invents": ({}, {"use_frobnication": True}, "use_frobnication"),
    "a quantised base": ({"dtypes": {f"{Q}.weight": "U8"}}, {}, f"{Q}.weight"),
    "a base that says so": ({"quantization_config": {"quant_method": "gptq"}}, {}, "gptq"),
    "tokens and rows that differ": (
        {},
        {"shapes": ROWS, "trainable_token_indices": [1, 2, 3]},
        "trainable_tokens_delta",
    ),
    "a gap behind the embedding": (
        {},
        {"shapes": ROWS, "trainable_token_indices": [20, 22]},
        "trainable_tokens_delta",
    ),
    "only one of two resized": (
        {},
        {"shapes": {f"{PREFIX}{E}.weight": (24, 8)}},
        "embed_tokens.weight 24 and lm_head.weight 20",
    ),
    "a head that the base lacks": (
        {"tied": True, "tie_word_embeddings": False},
        {"shapes": HEAD_LORA},
        "lm_head.weight",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_tensor_s_name(case: str, tmp_path: Path) -> None:
    base, adapter, name = REFUSED[case]
    with pytest.raises(LuthierError, match=re.escape(name)):
        plan_merge(
            write_base(tmp_path / "base", **base), write_adapter(tmp_path / "adapter", **adapter)
        )


def test_experts_are_refused_for_4_bits_only(tmp_path: Path) -> None:
    base = write_base(
        tmp_path / "base", more={"model.layers.0.mlp.experts.0.up_proj.weight": (8, 8)}
    )
    adapter = write_adapter(tmp_path / "adapter")
    plan_merge(base, adapter)
    with pytest.raises(LuthierError, match=r"mlp\.experts\.0\.up_proj"):
        plan_merge(base, adapter, into="dequantised")


def test_4_bits_are_for_the_layers_that_bitsandbytes_replaces(tmp_path: Path) -> None:
    plan = plan_merge(
        write_base(tmp_path / "base"), write_adapter(tmp_path / "adapter"), into="dequantised"
    )
    assert [piece.name for piece in plan.pieces if piece.quantised] == [f"{Q}.weight"]
    assert plan.pieces[1].made == "dequantised+lora"


@pytest.mark.parametrize("where", ["base", "adapter"])
def test_pickles(where: str, tmp_path: Path) -> None:
    base, adapter = write_base(tmp_path / "base"), write_adapter(tmp_path / "adapter")
    name = "model" if where == "base" else "adapter_model"
    (tmp_path / where / f"{name}.safetensors").rename(
        tmp_path / where / ("pytorch_model.bin" if where == "base" else f"{name}.bin")
    )
    with pytest.raises(LuthierError, match="pickles"):
        plan_merge(base, adapter)


def test_weights_that_are_not_whole(tmp_path: Path) -> None:
    base, adapter = write_base(tmp_path / "base"), write_adapter(tmp_path / "adapter")
    whole = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(whole[:-1])
    with pytest.raises(LuthierError, match=r"model\.safetensors.*end at byte"):
        plan_merge(base, adapter)
    (base / "model.safetensors").unlink()
    write_weights(base / "model-00001-of-00002.safetensors", {f"{Q}.weight": (12, 8)})
    index = {
        "weight_map": {
            f"{Q}.weight": "model-00001-of-00002.safetensors",
            "x": "model-00002-of-00002.safetensors",
        }
    }
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(LuthierError, match="model-00002-of-00002"):
        plan_merge(base, adapter)


def test_only_files_that_from_pretrained_reads(tmp_path: Path) -> None:
    """Some models bring their weights a second time, under the names of another library."""
    base = write_base(tmp_path / "base")
    write_weights(base / "consolidated.safetensors", {"layers.0.attention.wq.weight": (12, 8)})
    assert list(plan_merge(base, write_adapter(tmp_path / "adapter")).files) == [
        "model.safetensors"
    ]


TIED: dict[str, tuple[Mapping[str, tuple[int, ...]], dict[str, Any], bool]] = {
    "an embedding's LoRA": (EMBEDDING_LORA, {}, False),
    "a head's LoRA": (HEAD_LORA, {}, False),
    "rows": (ROWS, {"trainable_token_indices": [3, 4]}, True),
    "resized, and nothing else": ({f"{PREFIX}{E}.weight": (24, 8)}, {}, True),
    "resized, both saved": (
        {f"{PREFIX}{E}.weight": (24, 8), f"{PREFIX}{H}.weight": (24, 8)},
        {},
        True,
    ),
    "rows behind the end": (ROWS, {"trainable_token_indices": [20, 21]}, True),
}


@pytest.mark.parametrize("case", TIED)
def test_tied_models_part_only_if_training_parted_them(case: str, tmp_path: Path) -> None:
    shapes, config, tied = TIED[case]
    plan = plan_merge(
        write_base(tmp_path / "base", tied=True),
        write_adapter(tmp_path / "adapter", shapes, **config),
    )
    assert plan.tied is tied
    names = [piece.name for piece in plan.pieces if not piece.dropped]
    assert (f"{H}.weight" in names) is not tied
    assert plan.vocabulary == (24 if "resized" in case else 22 if "behind" in case else None)


def test_a_second_copy_of_a_tied_tensor(tmp_path: Path) -> None:
    """Some tied checkpoints hold the head too: it must not stay behind with the old values."""
    base = write_base(tmp_path / "base", tied=True, more={f"{H}.weight": (20, 8)})
    rows = plan_merge(base, write_adapter(tmp_path / "rows", ROWS, trainable_token_indices=[3, 4]))
    assert [piece.dropped for piece in rows.pieces if piece.name == f"{H}.weight"] == [True]
    parted = plan_merge(base, write_adapter(tmp_path / "parted", HEAD_LORA))
    assert [
        (piece.dropped, piece.made) for piece in parted.pieces if piece.name == f"{H}.weight"
    ] == [(False, "lora")]


MODULE = st.just("lm_head") | st.builds(
    "model.layers.{}.{}_proj".format,
    st.integers(0, 9),
    st.sampled_from(["self_attn.q", "self_attn.up", "mlp.q", "mlp.up"]),
)
PATTERN = st.one_of(
    MODULE,
    st.sampled_from(
        ["q_proj", r".*\.0\..*", "mlp.up_proj", r"layers\.[12]\.mlp\.up_proj", "proj", "^lm_head"]
    ),
)


@given(
    module=MODULE,
    ranks=st.dictionaries(PATTERN, st.integers(1, 64), max_size=4),
    alphas=st.dictionaries(PATTERN, st.integers(1, 64), max_size=4),
    rank_stabilised=st.booleans(),
)
@settings(max_examples=300)
def test_patterns_as_peft_reads_them(
    module: str, ranks: dict[str, int], alphas: dict[str, int], rank_stabilised: bool
) -> None:
    """Against PEFT's rule, written down again: the first pattern that matches the end of the name,
    from a dot on."""

    def first(patterns: dict[str, int], default: int) -> int:
        return next(
            (
                value
                for pattern, value in patterns.items()
                if re.match(rf"(.*\.)?({pattern})$", module)
            ),
            default,
        )

    rank, alpha = first(ranks, 8), first(alphas, 16)
    config = {
        "r": 8,
        "lora_alpha": 16,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "use_rslora": rank_stabilised,
    }
    assert scaling(config, module, rank) == alpha / (math.sqrt(rank) if rank_stabilised else rank)
    with pytest.raises(LuthierError, match=re.escape(module)):
        scaling(config, module, rank + 1)


@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from models.weights import tensor_entries

    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    for whole in (content, struct.pack("<Q", len(content)) + content):
        path.write_bytes(whole)
        try:
            tensor_entries(path)
        except LuthierError as error:
            assert "any.safetensors" in error.message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("model.layers", "model.language_model.layers", "'language_model'"),
        (PREFIX, PREFIX + PREFIX, "'base_model.model'"),
        ("lora_A.weight", "lora_A.default.weight", "'default'"),
    ],
)
def test_tensors_that_are_named_otherwise_are_told_so(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    named = {name.replace(old, new, 1): shape for name, shape in lora().items()}
    with pytest.raises(LuthierError, match=f"once {re.escape(words)} is removed from their names"):
        plan_merge(write_base(tmp_path / "base"), write_adapter(tmp_path / "adapter", named))
