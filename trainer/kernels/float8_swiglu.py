"""SwiGLU (arXiv:2002.05202) and its gradient, quantised by rows as they are made: on a GPU one
kernel each."""

from __future__ import annotations

import torch

from trainer.kernels.float8 import FORMAT, Rows, quantise_by_torch


def swiglu(gate_and_up: torch.Tensor) -> tuple[torch.Tensor, Rows]:
    """silu(gate) * up, (n, k), of both side by side, (n, 2 k); and the same quantised."""
    if not gate_and_up.is_cuda:
        gate, up = gate_and_up.chunk(2, 1)
        product = torch.nn.functional.silu(gate.float()).to(up.dtype) * up
        return product, quantise_by_torch(product)
    from trainer.kernels import float8_kernel  # Triton is only where CUDA is

    product, values, scales = float8_kernel.swiglu_rows(gate_and_up, *FORMAT)
    return product, Rows(values, scales)


def swiglu_gradient(
    gradient: torch.Tensor, gate_and_up: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, Rows]:
    """From the gradient (n, k) of silu(gate) * up: that product, the gradient (n, 2 k) of
    `gate_and_up`, and the same quantised. The arguments' memory may be used for it."""
    if not gradient.is_cuda:
        gate, up = gate_and_up.chunk(2, 1)
        gated = gate.float()
        sigmoid = gated.sigmoid()
        activated = (sigmoid * gated).to(up.dtype)
        slope = (gradient * up).float() * sigmoid * (1 + gated * (1 - sigmoid))
        joined = torch.cat((slope.to(up.dtype), gradient * activated), 1)
        return activated * up, joined, quantise_by_torch(joined)
    from trainer.kernels import float8_kernel

    rows = Rows(*float8_kernel.swiglu_gradient_rows(gradient, gate_and_up, *FORMAT))
    return gradient, gate_and_up, rows
