"""Products with a model's frozen weights in float8 (e4m3): on Hopper about 1.6 times as fast as in
bfloat16, with less than half the error of a 4-bit base (bench/gpu/float8.py).

Both factors have a scale a row, the one along which is summed (Micikevicius et al. 2022,
arXiv:2209.05433; torchao's "rowwise" recipe). The backward pass sums along the other side of a
weight, so each is held twice, as many bytes as in bfloat16. Adapters, norms, embeddings, the head
and everything between the products stay as they are. For workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch.nn.functional import ScalingType, scaled_mm
from torch.utils._pytree import tree_map

_DTYPE = torch.float8_e4m3fn
_LARGEST = torch.finfo(_DTYPE).max
_LEAST = 1e-30  # that a row of zeros has a scale
FORMAT = (_DTYPE, _LEAST, _LARGEST)
"""What the kernels need to know of it."""
_NARROWEST = 256  # of a side: below, a product saves less than its input's quantising takes
_MULTIPLE = 16  # of both sides: the kernels'
_aten = torch.ops.aten


class Rows(NamedTuple):
    """A matrix: `values` (rows, columns) in float8, `scales` (rows, 1) in float32."""

    values: torch.Tensor
    scales: torch.Tensor

    def widened(self) -> torch.Tensor:
        """In bfloat16."""
        return (self.values.float() * self.scales).bfloat16()


def quantise(matrix: torch.Tensor) -> Rows:
    """Each row by its largest number. Not-a-numbers and infinities become not-a-numbers."""
    if matrix.is_cuda:
        from trainer.kernels.float8_kernel import quantise_rows  # Triton is only where CUDA is

        return Rows(*quantise_rows(matrix.contiguous(), *FORMAT))
    return quantise_by_torch(matrix)


def quantise_by_torch(matrix: torch.Tensor) -> Rows:
    scales = matrix.abs().amax(1, keepdim=True).float().clamp(min=_LEAST) / _LARGEST
    return Rows((matrix.float() / scales).to(_DTYPE), scales)


class Float8Weight(torch.Tensor):
    """A frozen weight (outputs, inputs) that says it is bfloat16, and multiplies in float8: what is
    computed with it, by PEFT, Unsloth or autograd, comes to `__torch_dispatch__` as a product of
    matrices. Anything but a product is computed with it in bfloat16."""

    rows: Rows
    columns: Rows

    @staticmethod
    def __new__(cls, rows: Rows, columns: Rows) -> Float8Weight:
        shape = (rows.values.shape[0], columns.values.shape[0])
        wrapper: Float8Weight = torch.Tensor._make_wrapper_subclass(
            cls, shape, dtype=torch.bfloat16, device=rows.values.device
        )
        return wrapper

    def __init__(self, rows: Rows, columns: Rows) -> None:
        self.rows, self.columns = rows, columns

    @classmethod
    def of(cls, weight: torch.Tensor) -> Float8Weight:
        return cls(quantise(weight), quantise(weight.t()))

    def split(self, heights: Sequence[int]) -> list[Float8Weight]:
        """Views of so many rows each."""
        return [
            Float8Weight(Rows(values, scales), Rows(turned, self.columns.scales))
            for values, scales, turned in zip(
                self.rows.values.split(heights),
                self.rows.scales.split(heights),
                self.columns.values.split(heights, 1),
                strict=True,
            )
        ]

    @property
    def parts(self) -> list[torch.Tensor]:
        """What it lies in; it has no storage of its own."""
        rows, columns = self.rows, self.columns
        return [rows.values, rows.scales, columns.values, columns.scales]

    def __repr__(self) -> str:  # torch's own would print numbers
        return f"Float8Weight{tuple(self.shape)}"

    @classmethod
    def __torch_dispatch__(
        cls,
        function: Any,
        types: Any,
        arguments: tuple[Any, ...] = (),
        keywords: dict[str, Any] | None = None,
    ) -> Any:
        keywords = keywords or {}
        computed = _COMPUTED.get(function)
        if computed is not None and isinstance(arguments[computed.weight], cls):
            return computed.by(*arguments, **keywords)
        if function._schema.is_mutable and isinstance(arguments[0], cls):
            raise TypeError(f"{function} would change a frozen float8 weight")
        if torch.is_inference_mode_enabled():  # what is made of products comes as it is only there
            result = function.decompose(*arguments, **keywords)
            if result is not NotImplemented:
                return result
        return function(*tree_map(_widened, arguments), **tree_map(_widened, keywords))


def is_wide(weight: torch.Tensor) -> bool:
    """Whether a product with it is quicker in float8, if the GPU has it."""
    return weight.dtype == torch.bfloat16 and all(
        side >= _NARROWEST and side % _MULTIPLE == 0 for side in weight.shape
    )


def multiply(left: Rows, right: Rows) -> torch.Tensor:
    """`left` (n, k) times the transposed `right` (m, k), in bfloat16."""
    product: torch.Tensor = scaled_mm(
        left.values,
        right.values.t(),
        left.scales,
        ScalingType.RowWise,
        right.scales.t(),
        ScalingType.RowWise,
        output_dtype=torch.bfloat16,
        use_fast_accum=True,
    )
    return product


def _product(left: torch.Tensor, right: Float8Weight) -> torch.Tensor:
    """`left` (n, k) times `right` (k, m)."""
    return multiply(quantise(left), right.columns).to(left.dtype)


def _product_into(left: torch.Tensor, right: Float8Weight, *, out: torch.Tensor) -> torch.Tensor:
    return out.copy_(_product(left, right))


def _sum(
    bias: torch.Tensor,
    left: torch.Tensor,
    right: Float8Weight,
    *,
    beta: float = 1,
    alpha: float = 1,
) -> torch.Tensor:
    return beta * bias + alpha * _product(left, right)


def _add(
    total: torch.Tensor,
    left: torch.Tensor,
    right: Float8Weight,
    *,
    beta: float = 1,
    alpha: float = 1,
) -> torch.Tensor:
    return (total if beta == 1 else total.mul_(beta)).add_(_product(left, right), alpha=alpha)


def _turned(weight: Float8Weight, *_: int) -> Float8Weight:
    return _view(weight.columns, weight.rows)


def _same(weight: Float8Weight) -> Float8Weight:
    return _view(weight.rows, weight.columns)


def _view(rows: Rows, columns: Rows) -> Float8Weight:
    """As a view in inference mode is: of the kind of what it is a view of."""
    with torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext():
        return Float8Weight(rows, columns)


class _Computed(NamedTuple):
    by: Callable[..., torch.Tensor]
    weight: int  # which argument must be one of ours


_COMPUTED = {
    _aten.mm.default: _Computed(_product, 1),
    _aten.mm.out: _Computed(_product_into, 1),
    _aten.addmm.default: _Computed(_sum, 2),
    _aten.addmm_.default: _Computed(_add, 2),
    _aten.t.default: _Computed(_turned, 0),
    _aten.transpose.int: _Computed(_turned, 0),
    _aten.detach.default: _Computed(_same, 0),
    _aten.alias.default: _Computed(_same, 0),
}


def _widened(value: Any) -> Any:
    return value.rows.widened() if isinstance(value, Float8Weight) else value
