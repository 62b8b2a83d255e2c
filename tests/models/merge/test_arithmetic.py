"""Blocks of rows give the bits of whole matrices; and what 4 bits do to a weight."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from models.merge import arithmetic
from models.merge.arithmetic import Operands, Scratch, compute, read_tensor, spans
from models.merge.nf4 import Nf4
from models.merge.tensor_recipes import Lora, Make, Piece
from models.weights import TensorEntry, tensor_entries

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

CPU = torch.device("cpu")


@given(rows=st.integers(1, 100_000), most=st.integers(0, 3_000))
def test_spans_cover_all_rows_and_none_is_short(rows: int, most: int) -> None:
    parts = list(spans(rows, most))
    assert [parts[0][0], parts[-1][1]] == [0, rows]
    assert all(one[1] == other[0] for one, other in pairwise(parts))
    lengths = [last - first for first, last in parts]
    assert max(lengths) <= max(32, most)
    assert len(lengths) == 1 or min(lengths) >= 16


@given(
    outside=st.integers(16, 400),
    inside=st.integers(16, 300),
    rank=st.integers(1, 70),
    scale=st.sampled_from([1.0, 2.0, 0.5, 1.5, 24 / 16, 8 / math.sqrt(12)]),
    kind=st.sampled_from(["plain", "transposed", "dora"]),
    block=st.sampled_from([1, 3_000, 20_000]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=100, deadline=None)
def test_any_blocks_give_the_same_bits(
    outside: int, inside: int, rank: int, scale: float, kind: str, block: int, seed: int
) -> None:
    """The formulas of PEFT's get_delta_weight, merge and DoRA's merge_safe on whole matrices,
    against blocks of any size."""
    dice = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(size, generator=dice) for size in ((rank, inside), (outside, rank)))
    shape = (inside, outside) if kind == "transposed" else (outside, inside)
    weight = torch.randn(shape, generator=dice)
    magnitude = torch.rand(outside, generator=dice) if kind == "dora" else None
    change = (b @ a).T * scale if kind == "transposed" else (b @ a) * scale
    expected = weight + change
    if magnitude is not None:
        expected = (magnitude / torch.linalg.norm(weight + change, dim=1)).view(-1, 1) * expected
    folded = math.frexp(scale)[0] == 0.5
    made = Operands(
        a, b * scale if folded else b, 1.0 if folded else scale, kind == "transposed", magnitude
    )
    entry = TensorEntry("w", Path("none"), "F32", shape, 0, 0)
    piece = Piece("w", Make(entry, Lora(entry, entry, scale, kind == "transposed")), entry, "F32")
    found = torch.empty(shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arithmetic, "_BLOCK_ELEMENTS", block)
        for first, last in spans(shape[0], max(1, 3 * block // shape[1])):
            rows = weight[first:last]
            compute(piece, made, first, rows, rows, found[first:last], Scratch(CPU))
    assert torch.equal(found, expected)


def entry_of(weight: torch.Tensor, folder: Path) -> TensorEntry:
    save_file({"w": weight}, folder / "w.safetensors")
    return tensor_entries(folder / "w.safetensors")[0]


@pytest.mark.parametrize("shape", [(64, 128), (100, 33), (3, 7), (300, 70)])
def test_4_bits_and_back(shape: tuple[int, int], tmp_path: Path) -> None:
    weight = (torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 0.05).bfloat16()
    quantised = Nf4.of(entry_of(weight, tmp_path), read_tensor, CPU)
    whole = weight.float()
    quantised.through(whole, 0)
    rows = weight.float()
    for first, last in spans(shape[0], 16):
        quantised.through(rows[first:last], first)
    assert torch.equal(rows, whole)
    flat = torch.nn.functional.pad(weight.float().flatten(), (0, -weight.numel() % 64)).view(-1, 64)
    back = torch.nn.functional.pad(whole.flatten(), (0, -weight.numel() % 64)).view(-1, 64)
    scales = flat.abs().amax(1, keepdim=True)
    assert max(len(block.unique()) for block in back) <= 16
    # the widest gap of the code is 0.3; the scales have their own error
    assert ((flat - back).abs() <= 0.17 * scales + 0.01).all()
    assert 0.02 < ((flat - back).norm() / flat.norm()).item() < 0.15


def test_4_bits_as_bitsandbytes_makes_them(tmp_path: Path) -> None:
    """A scale half-way between two 8-bit values may go to the other one: there bitsandbytes' own
    kernels differ too."""
    from bitsandbytes import functional

    weight = (torch.randn(512, 1024, generator=torch.Generator().manual_seed(1)) * 0.05).bfloat16()
    packed, state = functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    expected = functional.dequantize_4bit(packed, state).float()
    found = weight.float()
    Nf4.of(entry_of(weight, tmp_path), read_tensor, CPU).through(found, 0)
    assert (found != expected).float().mean() < 0.005
    assert (found - expected).abs().max() < 0.03 * expected.abs().max()
