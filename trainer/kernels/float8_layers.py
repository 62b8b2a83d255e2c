"""A decoder layer's products with float8 weights and their LoRA, in the place of Unsloth's: what
reads one input is quantised once and shares its adapters' products, and the kernel of SwiGLU
quantises what it makes.

By Unsloth's functions each projection quantises its input for itself, and every product costs the
host 0.1 ms, which is more than the GPU needs for it in a small batch (bench/gpu/RESULTS.md). For
workers whose process has Unsloth.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from trainer.kernels.float8 import Float8Weight, Rows, is_wide, multiply, quantise
from trainer.kernels.float8_swiglu import swiglu, swiglu_gradient

if TYPE_CHECKING:
    from peft import PeftModel


class Projections:
    """Linear layers with one input (queries, keys and values; gate and up), their frozen weights as
    one float8 matrix and their adapters as two bfloat16 matrices. They must have no bias and one
    adapter each, without dropout."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self._layers = tuple(layers)
        names = [layer.active_adapters[0] for layer in layers]
        weights = [layer.base_layer.weight.data for layer in layers]
        self.widths = [len(weight) for weight in weights]
        self._weight = Float8Weight.of(torch.cat(weights))
        self._parts = [
            nn.Parameter(part, requires_grad=False) for part in self._weight.split(self.widths)
        ]
        for layer, part in zip(layers, self._parts, strict=True):
            layer.base_layer.weight = part
        pairs = [
            (layer.lora_A[name].weight, layer.lora_B[name].weight)
            for layer, name in zip(layers, names, strict=True)
        ]
        self.matrices = tuple(matrix for pair in pairs for matrix in pair)
        """A (rank, inputs) and B (outputs, rank) of each layer by turns."""
        self._scalings = [layer.scaling[name] for layer, name in zip(layers, names, strict=True)]
        self._ranks = [len(down) for down, _ in pairs]
        self.down = torch.cat([down.detach() for down, _ in pairs]).bfloat16()
        """(ranks together, inputs)"""
        self.up = torch.block_diag(*(up.detach() for _, up in pairs)).bfloat16()
        """(outputs together, ranks together), each layer's scaled B where its own ranks are."""
        self._downs, self._ups = self.down.split(self._ranks), self._blocks(self.up)

    def _blocks(self, up: torch.Tensor) -> list[torch.Tensor]:
        return [
            rows.split(self._ranks, 1)[number] for number, rows in enumerate(up.split(self.widths))
        ]

    def usable_for(self, inputs: torch.Tensor) -> bool:
        """Not where the adapters are off, as in an answer of the base model, nor where the layers
        have been given other weights, as in a trial of 16 bits."""
        return inputs.dtype == torch.bfloat16 and not any(
            layer.disable_adapters or layer.merged_adapters or layer.base_layer.weight is not part
            for layer, part in zip(self._layers, self._parts, strict=True)
        )

    def read_adapters(self) -> None:
        """Into `down` and `up`: the optimizer has changed them since the last step."""
        matrices = [matrix.detach() for matrix in self.matrices]
        torch._foreach_copy_(self._downs, matrices[::2])
        for block, matrix, scaling in zip(self._ups, matrices[1::2], self._scalings, strict=True):
            torch.mul(matrix, scaling, out=block) if scaling != 1 else block.copy_(matrix)

    def products(self, inputs: torch.Tensor, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """Of `inputs` (n, k), quantised `rows`: with all weights and adapters, (n, outputs
        together); and with `down`, (n, ranks together), which the gradients need."""
        low = inputs @ self.down.t()
        return multiply(rows, self._weight.rows).addmm_(low, self.up.t()), low

    def input_gradient(
        self, gradient: torch.Tensor, rows: Rows
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the inputs, (n, k), and of `low`, from that of all outputs side by side, quantised
        `rows`."""
        of_low = gradient @ self.up
        return multiply(rows, self._weight.columns).addmm_(of_low, self.down), of_low

    def matrix_gradients(
        self, gradient: torch.Tensor, inputs: torch.Tensor, low: torch.Tensor, of_low: torch.Tensor
    ) -> list[torch.Tensor]:
        """Of `matrices`."""
        of_downs = (of_low.t() @ inputs).split(self._ranks)
        of_ups = self._blocks(gradient.t() @ low)
        pairs = zip(of_downs, of_ups, self._scalings, strict=True)
        return [
            matrix
            for of_down, of_up, scaling in pairs
            for matrix in (of_down, of_up if scaling == 1 else of_up * scaling)
        ]


class _Projected(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: torch.Tensor, projections: Projections, *matrices: torch.Tensor
    ) -> torch.Tensor:
        flat = inputs.view(-1, inputs.shape[-1])
        projections.read_adapters()
        outputs, low = projections.products(flat, quantise(flat))
        ctx.projections = projections
        ctx.save_for_backward(inputs, low)
        return outputs.view(*inputs.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, low = ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1])
        of_inputs, of_low = ctx.projections.input_gradient(flat, quantise(flat))
        of_matrices = ctx.projections.matrix_gradients(
            flat, inputs.view(-1, inputs.shape[-1]), low, of_low
        )
        return of_inputs.view(inputs.shape), None, *of_matrices


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        widening: Projections,
        narrowing: Projections,
        *matrices: torch.Tensor,
    ) -> torch.Tensor:
        flat = inputs.view(-1, inputs.shape[-1])
        widening.read_adapters()
        narrowing.read_adapters()
        gate_and_up, low = widening.products(flat, quantise(flat))
        output, narrow_low = narrowing.products(*swiglu(gate_and_up))
        ctx.widening, ctx.narrowing = widening, narrowing
        ctx.save_for_backward(inputs, gate_and_up, low, narrow_low)
        return output.view(inputs.shape)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, gate_and_up, low, narrow_low = ctx.saved_tensors
        widening, narrowing = ctx.widening, ctx.narrowing
        flat = gradient.reshape(-1, gradient.shape[-1])
        of_product, of_narrow_low = narrowing.input_gradient(flat, quantise(flat))
        product, of_both, rows = swiglu_gradient(of_product, gate_and_up)
        of_narrow = narrowing.matrix_gradients(flat, product, narrow_low, of_narrow_low)
        of_inputs, of_low = widening.input_gradient(of_both, rows)
        of_wide = widening.matrix_gradients(of_both, inputs.view(-1, inputs.shape[-1]), low, of_low)
        return of_inputs.view(inputs.shape), None, None, *of_wide, *of_narrow


def join_layers(model: PeftModel) -> None:
    """Put the frozen weights of those layers into float8 that Unsloth computes by its own autograd
    functions, and compute them by ours: no layer where Unsloth is not the engine. What else there
    is keeps its functions."""
    fast_lora: Any = sys.modules.get("unsloth.kernels.fast_lora")
    for module in model.modules() if fast_lora is not None else ():
        if getattr(module, "apply_qkv", None) == fast_lora.apply_lora_qkv:
            _take_over(module, "apply_qkv", _queries, ("q_proj", "k_proj", "v_proj"))
        if getattr(module, "apply_o", None) == fast_lora.apply_lora_o:
            _take_over(module, "apply_o", _output, ("o_proj",))
        if getattr(module.forward, "__func__", None) == fast_lora.apply_lora_mlp_swiglu:
            _take_over(module, "forward", _mlp, ("gate_proj", "up_proj"), ("down_proj",))


def give_back_layers(model: PeftModel) -> None:
    """Compute by Unsloth's functions again, and forget the joined weights."""
    for module in model.modules():
        for name in ("apply_qkv", "apply_o", "forward"):
            function = getattr(module, name, None)
            if isinstance(function, functools.partial) and function.func in _OURS:
                setattr(module, name, function.args[-1])


def _take_over(
    module: nn.Module, name: str, function: Callable[..., Any], *groups: tuple[str, ...]
) -> None:
    layers = [[getattr(module, layer) for layer in group] for group in groups]
    if all(map(_joinable, layers)):
        usual = getattr(module, name)
        setattr(module, name, functools.partial(function, *map(Projections, layers), usual))


def _joinable(layers: Sequence[Any]) -> bool:
    return all(
        is_wide(layer.base_layer.weight)
        and layer.base_layer.bias is None
        and len(layer.active_adapters) == 1
        and type(layer.lora_dropout[layer.active_adapters[0]]) is nn.Identity
        for layer in layers
    )


def projected(inputs: torch.Tensor, projections: Projections) -> torch.Tensor:
    """The outputs of all layers, (..., outputs together)."""
    outputs: torch.Tensor = _Projected.apply(inputs, projections, *projections.matrices)
    return outputs


def gated(inputs: torch.Tensor, widening: Projections, narrowing: Projections) -> torch.Tensor:
    """narrowing(silu(gate(inputs)) * up(inputs)), where `widening` are gate and up."""
    outputs: torch.Tensor = _Gated.apply(
        inputs, widening, narrowing, *widening.matrices, *narrowing.matrices
    )
    return outputs


def _queries(
    projections: Projections, usual: Callable[..., Any], module: Any, inputs: torch.Tensor
) -> Any:
    """In the place of Unsloth's `apply_lora_qkv`."""
    if not projections.usable_for(inputs):
        return usual(module, inputs)
    queries, keys, values = projected(inputs, projections).split(projections.widths, -1)
    # the rotation copies queries and keys; values alone would keep all three in memory
    return queries, keys, values.contiguous()


def _output(
    projections: Projections, usual: Callable[..., Any], module: Any, inputs: torch.Tensor
) -> Any:
    """In the place of Unsloth's `apply_lora_o`."""
    if not projections.usable_for(inputs):
        return usual(module, inputs)
    return projected(inputs, projections)


def _mlp(
    widening: Projections, narrowing: Projections, usual: Callable[..., Any], inputs: torch.Tensor
) -> Any:
    """In the place of a layer's `forward`, which Unsloth has replaced before."""
    if not (widening.usable_for(inputs) and narrowing.usable_for(inputs)):
        return usual(inputs)
    return gated(inputs, widening, narrowing)


_OURS = (_queries, _output, _mlp)
