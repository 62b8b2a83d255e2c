"""Flat batches: how they are cut, and that a model computes in them what it computes of each
conversation alone."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.plan.engines import FLAT

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.real

LENGTHS = [5, 9, 1, 7]
WINDOW = 4
SPECIAL: dict[str, dict[str, Any]] = {
    "phi3": {"pad_token_id": 0},
    "mixtral": {"num_local_experts": 4},
    "qwen2_moe": {
        "num_experts": 4,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
    },
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "qwen2": {"use_sliding_window": True, "max_window_layers": 1},
    "qwen3": {"use_sliding_window": True, "max_window_layers": 1},
    "gemma3_text": {"layer_types": ["sliding_attention", "full_attention"]},
}


@settings(deadline=None)
@given(st.lists(st.integers(1, 4096), min_size=1, max_size=64), st.integers(1, 16))
def test_groups_are_balanced(lengths: list[int], groups: int) -> None:
    from trainer.kernels.padding_free import balanced

    groups = min(groups, len(lengths))
    found = balanced(lengths, groups)
    assert sorted(place for group in found for place in group) == list(range(len(lengths)))
    assert all(group and group == sorted(group) for group in found)
    sums = [sum(lengths[place] for place in group) for group in found]
    assert max(sums) <= sum(lengths) / groups + max(lengths)
    assert max(sums) - min(sums) <= max(lengths)


@settings(deadline=None)
@given(st.integers(1, 70), st.integers(1, 5), st.integers(1, 5))
def test_a_global_batch_keeps_its_conversations(count: int, micro_batch: int, groups: int) -> None:
    """Whatever it is cut into, and as many micro-batches an epoch as padded ones would be."""
    from trainer.kernels.padding_free import FlatBatches

    lengths = [1 + number * 7 % 50 for number in range(count)]
    order = (
        [(number * 31 + 5) % count for number in range(count)] if count % 31 else list(range(count))
    )
    batches = FlatBatches(order, lengths, micro_batch, groups)
    found = list(batches)
    assert len(found) == len(batches) == -(-count // micro_batch)
    for first in range(0, len(found), groups):
        start = first * micro_batch
        together = sorted(index for group in found[first : first + groups] for index in group)
        assert together == sorted(order[start : start + micro_batch * groups])


@pytest.mark.parametrize("attention", ["by conversation", "dense mask"])
@pytest.mark.parametrize("architecture", sorted(FLAT))
def test_a_model_computes_the_same(architecture: str, attention: str) -> None:
    """The loss of a flat batch, divided by the tokens of all of it, and its gradients, against
    those of its conversations one by one."""
    import torch

    from trainer.kernels.attention import NAME, use_attention_by_conversation
    from trainer.kernels.padding_free import FlatCollator, cumulative_lengths

    model = _model(architecture)
    rows = _rows()
    expected = sum(
        _loss(
            model,
            {
                "input_ids": torch.tensor([row["input_ids"]]),
                "labels": torch.tensor([row["labels"]]),
            },
        )
        for row in rows
    )
    expected_gradients = _gradients(model, expected)
    if attention == "by conversation":
        used = use_attention_by_conversation(model)
        assert used == (model.config._attn_implementation == NAME) == (architecture != "gemma2")
    batch = FlatCollator(cumulative_lengths, multiple=16)(rows)
    assert (
        batch["input_ids"].shape == batch["labels"].shape == batch["position_ids"].shape == (1, 32)
    )
    flat = _loss(model, batch)
    assert flat.item() == pytest.approx(expected.item(), rel=1e-5)
    for one, other in zip(_gradients(model, flat), expected_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    whole = FlatCollator(lambda lengths: {})(rows)
    leaky = _loss(model, {**whole, "position_ids": torch.arange(sum(LENGTHS))[None]})
    assert leaky.item() != pytest.approx(expected.item(), rel=1e-3)


def test_answers_are_generated_as_before() -> None:
    """Padded prompts, a cache: what is no flat batch goes to `sdpa`; a flat one without its borders
    goes nowhere."""
    import torch

    from trainer.kernels.attention import use_attention_by_conversation

    model = _model("mistral")
    prompts = torch.tensor([[0, 0, 0, 5, 6, 7], [9, 8, 7, 6, 5, 4]])
    named = {
        "attention_mask": (prompts > 0).long(),
        "max_new_tokens": 6,
        "do_sample": False,
        "pad_token_id": 0,
    }
    before = model.generate(prompts, **named)
    assert use_attention_by_conversation(model)
    assert model.generate(prompts, **named).equal(before)
    with pytest.raises(ValueError, match="cu_seq_lens_q"):
        model(
            input_ids=prompts[:1], position_ids=torch.tensor([[0, 1, 2, 0, 1, 2]]), use_cache=False
        )


@pytest.mark.parametrize(
    ("fault", "chosen"), [("none", "flash4"), ("wrong", "torch"), ("broken", "torch")]
)
def test_a_kernel_is_used_where_it_has_proved_right(
    monkeypatch: pytest.MonkeyPatch, fault: str, chosen: str
) -> None:
    """FlashAttention 4 compiles on the user's GPU, so it is compared there with torch's kernel
    before a run uses it. The kernels themselves run on GPUs only: bench/gpu/attention.py."""
    import torch

    from trainer.kernels import varlen

    def exact(query: Any, key: Any, value: Any, borders: Any, *_: Any) -> Any:
        lengths = borders.diff().tolist()
        parts = zip(*(tensor.split(lengths) for tensor in (query, key, value)), strict=True)
        answers = [
            torch.nn.functional.scaled_dot_product_attention(
                *(part.transpose(0, 1).float() for part in tensors), is_causal=True, enable_gqa=True
            )
            for tensors in parts
        ]
        return torch.cat(answers, 1).transpose(0, 1).to(query.dtype)

    def flash4(*arguments: Any) -> Any:
        if fault == "broken":
            raise RuntimeError("no kernel image is available")
        return exact(*arguments) * (1.05 if fault == "wrong" else 1.0)

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(varlen, "torch_kernel", exact)
    monkeypatch.setattr(varlen, "_flash4", lambda: flash4)
    varlen.kernel_for.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kernel = varlen.kernel_for(torch.device("cpu"), 4, 2, 64, torch.bfloat16)
    varlen.kernel_for.cache_clear()
    assert kernel is (flash4 if chosen == "flash4" else exact)
    assert [str(warning.message)[:16] for warning in caught] == (
        [] if fault == "none" else ["FlashAttention 4"]
    )


@pytest.mark.parametrize(
    ("multiple", "width"), [(1, sum(LENGTHS)), (16, 32), (sum(LENGTHS), sum(LENGTHS))]
)
def test_weights_are_laid_out_as_labels_are(multiple: int, width: int) -> None:
    """What the row is filled up with is neither weighed nor counted."""
    from trainer.kernels.padding_free import FlatCollator, count_tokens

    rows = [{**row, "weights": [0.5] * len(row["labels"])} for row in _rows()]
    batch = FlatCollator(lambda lengths: {}, multiple)(rows)
    assert (
        batch["weights"].shape == batch["labels"].shape == batch["position_ids"].shape == (1, width)
    )
    assert batch["labels"][0, [0, 5, 14, 15]].tolist() == [-100] * 4
    assert batch["weights"].sum() == 0.5 * sum(LENGTHS)
    assert count_tokens(batch) == sum(LENGTHS)


def _rows() -> list[dict[str, Any]]:
    """The first label counts in none: no token comes before it."""
    tokens = [[1 + (place * 7 + length) % 60 for place in range(length)] for length in LENGTHS]
    return [
        {
            "input_ids": ids,
            "labels": [
                ids[0],
                *(-100 if place % 3 else ids[place] for place in range(1, len(ids))),
            ],
        }
        for ids in tokens
    ]


def _model(architecture: str) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    more = {
        "vocab_size": 64,
        "head_dim": 8,
        "sliding_window": WINDOW,
        "pad_token_id": 0,
        **SPECIAL.get(architecture, {}),
    }
    torch.manual_seed(1)
    config = AutoConfig.for_model(architecture, **sizes, **more)
    model = AutoModelForCausalLM.from_config(
        config, dtype=torch.float32, attn_implementation="sdpa"
    )
    for weight in model.parameters():  # far enough from nothing that attention matters
        torch.nn.init.normal_(weight, std=0.3)
    return model.eval()


def _loss(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    loss: torch.Tensor = model(**batch, use_cache=False, num_items_in_batch=7).loss
    return loss


def _gradients(model: Any, loss: Any) -> list[torch.Tensor]:
    model.zero_grad(set_to_none=True)
    loss.backward()
    return [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
