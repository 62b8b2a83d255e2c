"""Luthier's merge against PEFT's in float32, to the last bit, on small random models; where PEFT's
is wrong, against the unmerged model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.luthier_error import LuthierError
from models.merge import receipt
from models.merge.merging import merge
from models.merge.plan import plan_merge
from tests.models.merge import small

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CONV1D = ["c_attn", "c_proj", "c_fc"]
EQUAL: dict[str, tuple[str, dict[str, Any]]] = {
    "LoRA": ("tied", {"target_modules": LINEAR}),
    "scale is a power of two": ("tied", {"target_modules": LINEAR, "lora_alpha": 8}),
    "rank 1": ("untied", {"target_modules": LINEAR, "r": 1}),
    "rank 64": ("untied", {"target_modules": LINEAR, "r": 64, "lora_alpha": 19}),
    "rsLoRA": ("untied", {"target_modules": LINEAR, "use_rslora": True}),
    "patterns": (
        "untied",
        {
            "target_modules": LINEAR,
            "rank_pattern": {
                "q_proj": 8,
                "layers.1.mlp.up_proj": 2,
                r"layers\.\d+\.self_attn\.[ko]_proj": 3,
            },
            "alpha_pattern": {"model.layers.0.self_attn.q_proj": 5, "v_proj": 1},
        },
    ),
    "rsLoRA with patterns": (
        "untied",
        {"target_modules": LINEAR, "use_rslora": True, "rank_pattern": {"q_proj": 9, "o_proj": 2}},
    ),
    "DoRA": ("tied", {"target_modules": LINEAR, "use_dora": True}),
    "DoRA on embedding and head": (
        "untied",
        {"target_modules": [*LINEAR, "embed_tokens", "lm_head"], "use_dora": True},
    ),
    "norms and head saved": (
        "untied",
        {
            "target_modules": ["q_proj"],
            "modules_to_save": ["lm_head", "input_layernorm", "model.norm"],
        },
    ),
    "embedding and head saved": (
        "untied",
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens"]},
    ),
    "both saved, tied": (
        "tied",
        {
            "target_modules": ["q_proj"],
            "modules_to_save": ["embed_tokens"],
            "ensure_weight_tying": True,
        },
    ),
    "trained tokens, tied": (
        "tied",
        {"target_modules": ["q_proj"], "trainable_token_indices": [149, 3, 80]},
    ),
    "trained tokens, untied": (
        "untied",
        {"target_modules": ["q_proj"], "trainable_token_indices": [149, 3, 80]},
    ),
    "trained tokens of both": (
        "untied",
        {
            "target_modules": ["q_proj"],
            "trainable_token_indices": {"embed_tokens": [0], "lm_head": [2, 5]},
        },
    ),
    "embedding": ("untied", {"target_modules": ["embed_tokens", "v_proj"]}),
    "head": ("untied", {"target_modules": ["lm_head", "v_proj"]}),
    "all biases": ("biases", {"target_modules": ["q_proj", "down_proj"], "bias": "all"}),
    "biases of LoRA": ("biases", {"target_modules": ["q_proj", "down_proj"], "bias": "lora_only"}),
    "lora_bias": ("biases", {"target_modules": ["q_proj", "down_proj"], "lora_bias": True}),
    "biases kept": ("qwen", {"target_modules": LINEAR}),
    "biases trained": ("qwen", {"target_modules": LINEAR, "bias": "all"}),
    "Conv1D": ("gpt2", {"target_modules": CONV1D, "fan_in_fan_out": True}),
    "Conv1D, not told": ("gpt2", {"target_modules": CONV1D, "bias": "all"}),
    "Conv1D, only square ones": ("gpt2", {"target_modules": ["attn.c_proj"]}),
    "Conv1D with DoRA": ("gpt2", {"target_modules": CONV1D, "use_dora": True}),
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        kind: small.save_base(kind, tmp_path_factory.mktemp("bases") / kind) for kind in small.BASES
    }


@pytest.mark.parametrize("case", EQUAL)
def test_equal_to_the_last_bit(case: str, bases: dict[str, Path], tmp_path: Path) -> None:
    kind, settings = EQUAL[case]
    base = bases[kind]
    adapter = small.save_adapter(base, tmp_path / "adapter", **settings)
    made = merge(plan_merge(base, adapter), tmp_path / "merged")
    expected, found = small.merged_by_peft(base, adapter), small.weights(tmp_path / "merged")
    if made.tied:
        expected.pop("lm_head.weight")
    assert found.keys() == expected.keys()
    different = [name for name, values in expected.items() if not torch.equal(found[name], values)]
    assert different == []
    original = small.weights(base)
    for record in made.tensors:
        moved = (found[record.name] - original[record.name]).abs().max().item()
        assert record.largest_change == pytest.approx(moved, rel=1e-4, abs=1e-6), record
        assert (record.made == "copied") == (moved == 0.0)
    assert receipt.read(tmp_path / "merged") == made
    assert receipt.differences(tmp_path / "merged", made) == []


PARTED: dict[str, dict[str, Any]] = {
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "head": {"target_modules": ["lm_head", "q_proj"]},
    "each its own": {"target_modules": ["lm_head", "embed_tokens"]},
    "embedding saved": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "head saved": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "both saved": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens"]},
    "tokens of each": {
        "target_modules": ["q_proj"],
        "trainable_token_indices": {"embed_tokens": [1], "lm_head": [2, 3]},
    },
    "tokens, and the head's LoRA": {
        "target_modules": ["lm_head", "q_proj"],
        "trainable_token_indices": [4, 90],
    },
    "DoRA on the embedding": {"target_modules": ["embed_tokens"], "use_dora": True},
    "DoRA on the head": {"target_modules": ["lm_head"], "use_dora": True},
}


@pytest.mark.parametrize("case", PARTED)
@pytest.mark.parametrize("kind", ["tied", "qwen"])
def test_a_tied_model_whose_sides_have_parted_answers_as_the_unmerged_one(
    case: str, kind: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    adapter = small.save_adapter(bases[kind], tmp_path / "adapter", **PARTED[case])
    made = merge(plan_merge(bases[kind], adapter), tmp_path / "merged")
    assert made.tied is False
    merged = small.loaded(tmp_path / "merged")
    assert merged.config.tie_word_embeddings is False
    torch.testing.assert_close(
        small.logits(merged),
        small.logits(small.adapted_model(bases[kind], adapter)),
        rtol=2e-4,
        atol=2e-4,
    )


TOGETHER: dict[str, dict[str, Any]] = {
    "embedding": {"target_modules": ["embed_tokens", "q_proj"], "ensure_weight_tying": True},
    "head": {"target_modules": ["lm_head", "q_proj"], "ensure_weight_tying": True},
    "saved": {
        "target_modules": ["q_proj"],
        "modules_to_save": ["lm_head"],
        "ensure_weight_tying": True,
    },
    "tokens": {
        "target_modules": ["q_proj"],
        "trainable_token_indices": [5, 1],
        "ensure_weight_tying": True,
    },
}


@pytest.mark.parametrize("case", TOGETHER)
def test_what_was_trained_as_one_stays_one(
    case: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    adapter = small.save_adapter(bases["tied"], tmp_path / "adapter", **TOGETHER[case])
    made = merge(plan_merge(bases["tied"], adapter), tmp_path / "merged")
    assert made.tied is True
    assert "lm_head.weight" not in small.weights(tmp_path / "merged")
    merged = small.loaded(tmp_path / "merged")
    torch.testing.assert_close(
        small.logits(merged),
        small.logits(small.adapted_model(bases["tied"], adapter)),
        rtol=2e-4,
        atol=2e-4,
    )


RESIZED: dict[str, dict[str, Any]] = {
    "only resized": {"target_modules": ["q_proj"]},
    "new tokens trained": {"target_modules": ["q_proj"], "trainable_token_indices": [150, 151]},
    "head saved": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "embedding and head saved": {
        "target_modules": ["q_proj"],
        "modules_to_save": ["embed_tokens", "lm_head"],
    },
    "as TRL's clone_chat_template": {
        "target_modules": ["q_proj"],
        "modules_to_save": ["lm_head"],
        "trainable_token_indices": [150],
    },
}


CASES = [
    (case, kind)
    for case in RESIZED
    for kind in ("tied", "untied")
    if (case, kind) != ("as TRL's clone_chat_template", "tied")
]


@pytest.mark.parametrize(("case", "kind"), CASES)
def test_new_tokens(case: str, kind: str, bases: dict[str, Path], tmp_path: Path) -> None:
    rows = 160  # padded: more than there are tokens
    adapter = small.save_adapter(bases[kind], tmp_path / "adapter", rows=rows, **RESIZED[case])
    merge(plan_merge(bases[kind], adapter), tmp_path / "merged")
    merged = small.loaded(tmp_path / "merged")
    assert merged.config.vocab_size == rows
    assert (
        merged.get_input_embeddings().weight.shape[0]
        == merged.get_output_embeddings().weight.shape[0]
        == rows
    )
    expected = small.logits(small.adapted_model(bases[kind], adapter, rows), rows)
    torch.testing.assert_close(small.logits(merged, rows), expected, rtol=2e-4, atol=2e-4)


def test_what_peft_itself_cannot_run_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    """A saved head under tied trained tokens: PEFT wraps one in the other, and then fails in the
    forward pass."""
    adapter = small.save_adapter(
        bases["tied"], tmp_path / "adapter", rows=160, **RESIZED["as TRL's clone_chat_template"]
    )
    with pytest.raises(ValueError, match="unknown layer type"):
        small.logits(small.adapted_model(bases["tied"], adapter, 160))
    with pytest.raises(LuthierError, match=r"lm_head\.token_adapter"):
        plan_merge(bases["tied"], adapter)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounded_once(dtype: torch.dtype, tmp_path: Path) -> None:
    """Into a 16-bit base: PEFT's float32 merge, rounded. Into another type: the same values,
    rounded to that."""
    base = small.save_base("biases", tmp_path / "base", dtype=dtype)
    adapter = small.save_adapter(base, tmp_path / "adapter", target_modules=LINEAR, bias="all")
    expected = small.merged_by_peft(base, adapter)
    merge(plan_merge(base, adapter), tmp_path / "same")
    merge(plan_merge(base, adapter, dtype="float32"), tmp_path / "wide")
    for name, values in expected.items():
        assert torch.equal(small.weights(tmp_path / "same")[name], values.to(dtype)), name
        assert torch.equal(small.weights(tmp_path / "wide")[name], values), name
    assert small.loaded(tmp_path / "wide").config.dtype == torch.float32


def test_one_worker_or_many_one_file_or_many(bases: dict[str, Path], tmp_path: Path) -> None:
    whole = small.save_base("untied", tmp_path / "whole", shard="1GB")
    adapter = small.save_adapter(whole, tmp_path / "adapter", target_modules=LINEAR, use_dora=True)
    for workers, base in ((1, whole), (5, bases["untied"])):
        merge(plan_merge(base, adapter), tmp_path / f"by {workers}", workers=workers)
    one, many = small.weights(tmp_path / "by 1"), small.weights(tmp_path / "by 5")
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)
    assert len(list((tmp_path / "by 5").glob("*.safetensors"))) > 1


def test_a_checkpoint_that_leaves_out_the_first_part_of_all_names(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    """As the GPT-2 of the hub does."""
    from safetensors.torch import save_file

    bare = tmp_path / "bare"
    bare.mkdir()
    tensors = {
        name.removeprefix("transformer."): values
        for name, values in small.weights(bases["gpt2"]).items()
    }
    save_file(tensors, bare / "model.safetensors", {"format": "pt"})
    (bare / "config.json").write_bytes((bases["gpt2"] / "config.json").read_bytes())
    for targets in (CONV1D, ["c_attn", "wte"]):
        adapter = small.save_adapter(
            bases["gpt2"], tmp_path / f"adapter {len(targets)}", target_modules=targets
        )
        out = tmp_path / f"merged {len(targets)}"
        merge(plan_merge(bare, adapter), out)
        expected = small.logits(small.adapted_model(bases["gpt2"], adapter))
        torch.testing.assert_close(small.logits(small.loaded(out)), expected, rtol=2e-4, atol=2e-4)


def test_qlora_into_the_4_bit_values_and_which_merge_is_closer(tmp_path: Path) -> None:
    """The adapter was trained beside 4-bit values: the merge that has them too must be found
    closer."""
    from models.merge.arithmetic import read_tensor
    from models.merge.nf4 import Nf4
    from models.merge.qlora_choice import compare
    from models.weights import tensor_entries

    base = small.save_base("tied", tmp_path / "base", dtype=torch.bfloat16)
    adapter = small.save_adapter(base, tmp_path / "adapter", target_modules=["q_proj", "up_proj"])
    folders = {}
    for into in ("base", "dequantised"):
        folders[into] = tmp_path / f"into {into}"
        merge(
            plan_merge(base, adapter, into="dequantised" if into == "dequantised" else "base"),
            folders[into],
        )
    original, found = small.weights(base), small.weights(folders["dequantised"])
    seen = {}
    for path in base.glob("*.safetensors"):
        for entry in tensor_entries(path):
            seen[entry.name] = original[entry.name].float()
            if len(entry.shape) == 2 and "embed" not in entry.name:
                Nf4.of(entry, read_tensor, torch.device("cpu")).through(seen[entry.name], 0)
    expected = small.merged_by_peft(base, adapter)
    change = {name: expected[name] - values.float() for name, values in original.items()}
    for name, values in found.items():
        torch.testing.assert_close(values.float(), seen[name] + change[name], rtol=1e-2, atol=1e-3)
    untouched = "model.layers.0.mlp.down_proj.weight"
    assert torch.equal(found[untouched].float(), seen[untouched])
    samples = tmp_path / "heldout.jsonl"
    ids = torch.randint(
        0, small.VOCABULARY, (20, 40), generator=torch.Generator().manual_seed(5)
    ).tolist()
    samples.write_text(
        "".join(
            json.dumps({"input_ids": row, "labels": [-100] * 10 + row[10:]}) + "\n" for row in ids
        )
    )
    compared = compare(
        plan_merge(base, adapter, into="dequantised"), folders, samples, lambda: False
    )
    assert compared is not None
    print(compared)
    assert compared.closer == "dequantised"
    assert compared.tokens == 512
    assert compared.merges["dequantised"].kl < 0.2 * compared.merges["base"].kl
    assert compared.trained_nll == pytest.approx(compared.merges["dequantised"].nll, rel=0.01)
