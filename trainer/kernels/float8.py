"""Products with a model's frozen weights in float8 (e4m3): on Hopper about 1.6 times as fast as in
bfloat16, with less than half the error of a 4-bit base (bench/gpu/float8.py).

Both factors have a scale a row, the one along which is summed (Micikevicius et al. 2022,
arXiv:2209.05433; torchao's "rowwise" recipe). The backward pass sums along the other side of a
weight, so each is held twice, as many bytes as in bfloat16. Adapters, norms, embeddings, the head
and everything between the products stay as they are. For workers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import ScalingType, scaled_mm
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map

from jobs.luthier_error import LuthierError
from trainer.plan.methods import FLOAT8_CAPABILITY

if TYPE_CHECKING:
    from peft import PeftModel

_DTYPE = torch.float8_e4m3fn
_LARGEST = torch.finfo(_DTYPE).max
_LEAST = 1e-30  # that a row of zeros has a scale
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

        return Rows(*quantise_rows(matrix.contiguous(), _DTYPE, _LEAST, _LARGEST))
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


def use_float8(model: PeftModel) -> int:
    """Put the frozen weights of the model's linear layers into float8, but not the head's and
    narrow ones, on this process's GPU if there is one. How many they are. LuthierError on a GPU
    that has no float8."""
    device = (
        torch.device("cuda", torch.cuda.current_device())
        if torch.cuda.is_available()
        else torch.device("cpu")
    )
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < FLOAT8_CAPABILITY:
        name = torch.cuda.get_device_name(device)
        raise LuthierError(
            "This GPU does not support float8",
            f"The run was planned with float8, but this GPU is a {name}.",
            "Start a new run on this GPU.",
        )
    head = model.get_output_embeddings()
    kept = {*head.modules()} if head is not None else set()
    changed = []
    for name, module in model.named_modules():
        if (
            isinstance(module, nn.Linear)
            and module not in kept
            and _is_wide(module.weight)
            and not module.weight.requires_grad
        ):
            module.weight = nn.Parameter(
                Float8Weight.of(module.weight.data.to(device)), requires_grad=False
            )
            changed.append(f"{name}.weight")
    # What is frozen, every rank has made of the same files. Unsloth has DDP leave out some buffers.
    ignored = getattr(model, "_ddp_params_and_buffers_to_ignore", None) or []
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, [*ignored, *changed])
    return len(changed)


def _is_wide(weight: torch.Tensor) -> bool:
    return weight.dtype == torch.bfloat16 and all(
        side >= _NARROWEST and side % _MULTIPLE == 0 for side in weight.shape
    )


def _product(left: torch.Tensor, right: Float8Weight) -> torch.Tensor:
    """`left` (n, k) times `right` (k, m)."""
    (values, scales), (columns, column_scales), row = (
        quantise(left),
        right.columns,
        ScalingType.RowWise,
    )
    product = scaled_mm(
        values,
        columns.t(),
        scales,
        row,
        column_scales.t(),
        row,
        output_dtype=torch.bfloat16,
        use_fast_accum=True,
    )
    return product.to(left.dtype)


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
