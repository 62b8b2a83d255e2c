"""The values that a QLoRA adapter saw: a weight after 4-bit quantisation and back, as bitsandbytes
does it when it loads a 16-bit model.

NF4 with blocks of 64 values and double quantisation (QLoRA, arXiv 2305.14314, section 3; the block
sizes are bitsandbytes' own). In plain torch, so that it works where bitsandbytes is not installed;
tests compare the two bit for bit where it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from models.weights import TensorEntry

_BLOCK, _OUTER_BLOCK = 64, 256
_AT_ONCE = 4 << 20  # values read at once; a multiple of the block
# The 16 values: quantiles of a normal distribution, scaled to -1..1 (table in appendix E of the
# paper).
_CODE = torch.tensor(
    [
        *(
            -1.0,
            -0.6961928009986877,
            -0.5250730514526367,
            -0.39491748809814453,
            -0.28444138169288635,
            -0.18477343022823334,
        ),
        *(
            -0.09105003625154495,
            0.0,
            0.07958029955625534,
            0.16093020141124725,
            0.24611230194568634,
            0.33791524171829224,
        ),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ]
)


def _dynamic_code() -> torch.Tensor:
    """The 256 values of 8 bits with a moving exponent that the blocks' scales are quantised to
    (arXiv 1511.04561)."""
    values = [0.0, 1.0]
    for exponent in range(7):
        edges = torch.linspace(0.1, 1, 2**exponent + 1)
        means = (edges[:-1] + edges[1:]) / 2
        values += (10 ** (exponent - 6) * means).tolist() + (
            -(10 ** (exponent - 6)) * means
        ).tolist()
    return torch.tensor(sorted(values))


def _nearest(values: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
    """Each value's nearest one of the (sorted) code; of two equally near the lower."""
    return code[torch.bucketize(values, (code[:-1] + code[1:]) / 2)]


@dataclass(frozen=True)
class Nf4:
    """A weight's block scales: `exact` (largest magnitudes), and `stored` as they come back from
    double quantisation."""

    exact: torch.Tensor
    stored: torch.Tensor
    seen_as: torch.dtype

    @classmethod
    def of(
        cls,
        weight: TensorEntry,
        read: Callable[[TensorEntry, int, int], torch.Tensor],
        device: torch.device,
    ) -> Nf4:
        """The scales of a weight, read through once. `read` gives rows `first`, `count` of a
        tensor."""
        count = math.prod(weight.shape)
        flat = replace(weight, shape=(count,))
        block_maxima = []
        for first in range(0, count, _AT_ONCE):
            values = read(flat, first, min(_AT_ONCE, count - first)).to(device).float().abs()
            values = torch.nn.functional.pad(values, (0, -len(values) % _BLOCK))
            block_maxima.append(values.view(-1, _BLOCK).amax(dim=1))
        exact = torch.cat(block_maxima)
        sixteen_bits = {"F16": torch.float16}.get(weight.dtype, torch.bfloat16)
        return cls(exact, _double_quantised(exact), sixteen_bits)

    def through(self, values: torch.Tensor, row: int) -> None:
        """Replace float32 rows of the weight, from `row` on, by what they are after quantisation.
        In place."""
        first = row * values.shape[1]
        block = torch.arange(first, first + values.numel(), device=values.device) // _BLOCK
        scaled = (values.view(-1) * (1.0 / self.exact.clamp(min=1e-38))[block]).clamp_(-1, 1)
        back = _nearest(scaled, _CODE.to(values.device)) * self.stored[block]
        values.copy_(back.to(self.seen_as).view_as(values))


def _double_quantised(scales: torch.Tensor) -> torch.Tensor:
    """The scales after their own quantisation to 8 bits: about their mean, in blocks of 256."""
    mean = scales.mean()
    centred = scales - mean
    padded = torch.nn.functional.pad(centred, (0, -len(centred) % _OUTER_BLOCK)).view(
        -1, _OUTER_BLOCK
    )
    outer = padded.abs().amax(dim=1, keepdim=True)
    code = _dynamic_code().to(scales.device)
    scaled = (padded * (1.0 / outer.clamp(min=1e-38))).clamp(-1, 1)
    return (_nearest(scaled, code) * outer).view(-1)[: len(scales)] + mean
