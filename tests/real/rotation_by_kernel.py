"""`python -m tests.real.rotation_by_kernel`: the GPU's kernel that turns queries and keys, run by
Triton's interpreter, against torch. A process of its own, for Triton reads the switch once."""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

import torch

from trainer.kernels.rotation import rotate
from trainer.kernels.rotation_kernel import rotate as rotate_by_kernel

TOKENS, POSITIONS, SIZE = 21, 50, 16
HEADS, KEY_HEADS = 20, 3  # neither fills its block


def main() -> None:
    drawn = torch.Generator().manual_seed(5)
    joined = torch.randn(TOKENS, (HEADS + KEY_HEADS) * SIZE, generator=drawn)
    queries, keys = (
        part.view(TOKENS, -1, SIZE) for part in joined.split([HEADS * SIZE, KEY_HEADS * SIZE], 1)
    )
    cos, sin = (torch.randn(POSITIONS, SIZE // 2, generator=drawn).repeat(1, 2) for _ in range(2))
    positions = torch.randint(0, POSITIONS, (TOKENS,), generator=drawn)
    by_head = [heads.transpose(0, 1)[None] for heads in (queries, keys)]
    for backwards in (False, True):
        expected = rotate(by_head[0], by_head[1], cos, sin, positions, backwards=backwards)
        computed = rotate_by_kernel(queries, keys, cos, sin, positions, backwards=backwards)
        for ours, torchs in zip(computed, expected, strict=True):
            torch.testing.assert_close(ours, torchs[0].transpose(0, 1))


if __name__ == "__main__":
    main()
