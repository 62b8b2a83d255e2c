"""What stands in the place of Unsloth's functions computes what they do."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.real


@pytest.mark.parametrize("module", ["unsloth_functions", "rotation_by_kernel"])
def test_ours_compute_the_same(module: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", f"tests.real.{module}"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]


def test_a_flat_batch_is_turned_as_transformers_turns_it() -> None:
    """With the gradients, and in memory as attention reads it: without another copy."""
    import torch
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    from trainer.kernels.rotation import of_flat_batches

    drawn = torch.Generator().manual_seed(6)
    angles = torch.outer(torch.arange(40.0), torch.logspace(0, -3, 8)).repeat(1, 2)
    positions = torch.tensor([[*range(9), *range(5), *range(12)]])
    cos, sin = angles.cos(), angles.sin()
    leaf = torch.randn(1, 26, 6 * 16, generator=drawn, requires_grad=True)
    query, key = (
        part.view(1, 26, -1, 16).transpose(1, 2) for part in leaf.split([4 * 16, 2 * 16], -1)
    )
    turned = of_flat_batches(not_called)(query, key, cos[None, None], sin[None, None], positions)
    expected = apply_rotary_pos_emb(query, key, cos[positions], sin[positions])
    incoming = [torch.randn(heads.shape, generator=drawn) for heads in expected]
    gradients = [
        torch.autograd.grad(heads, leaf, incoming, retain_graph=True)[0]
        for heads in (turned, expected)
    ]
    torch.testing.assert_close(list(turned), list(expected))
    torch.testing.assert_close(*gradients)
    assert all(heads.transpose(1, 2).is_contiguous() for heads in turned)


def not_called(*_: object) -> None:
    raise AssertionError("Unsloth's function was called")


@pytest.mark.parametrize("case", ["two rows", "no positions", "a size that is no power of two"])
def test_what_ours_cannot_turn_is_left_to_unsloth(case: str) -> None:
    import torch

    from trainer.kernels.rotation import of_flat_batches

    rows, size = (2 if case == "two rows" else 1), (24 if "size" in case else 16)
    query = torch.zeros(rows, 4, 6, size)
    positions = None if case == "no positions" else torch.arange(6)[None]
    unsloths = of_flat_batches(lambda *_: "Unsloth's")
    assert unsloths(query, query, query[0, 0], query[0, 0], positions) == "Unsloth's"


def test_only_scored_positions_are_named_and_the_rest_is_filled_up() -> None:
    import torch

    from models.stored_sample import UNTRAINED
    from trainer.kernels.scored_rows import scored_positions

    labels = torch.full((1, 40), UNTRAINED)
    labels[0, [5, 6, 39]] = 3
    assert scored_positions(labels, 1).tolist() == [4, 5, 38]
    assert scored_positions(labels, 4).tolist() == [4, 5, 38, 39]
    assert scored_positions(labels.fill_(UNTRAINED), 16).tolist() == [39] * 16


def test_conversations_are_never_taken_one_by_one() -> None:
    """Whatever Unsloth would choose, as it does where vLLM is not installed."""
    import torch

    from trainer.kernels.varlen import lend_to_unsloth, varlen

    dispatch = SimpleNamespace(
        _TORCH_VARLEN_ATTN=None, _LEAN_VARLEN=True, _torch_varlen_beats_segments=not_called
    )
    lend_to_unsloth(dispatch)
    query = torch.zeros(1, 2, 12, 8)
    assert dispatch._TORCH_VARLEN_ATTN is varlen
    assert dispatch._torch_varlen_beats_segments(query, query, (5, 7), 1, True)
    assert not dispatch._torch_varlen_beats_segments(query, query, (5, 9), 1, True)
