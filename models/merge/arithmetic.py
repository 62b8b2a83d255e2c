"""The arithmetic of a merge, in float32 and in blocks that stay in the cache. Each operation rounds
as PEFT's does, in the same order.

PEFT computes W + (B@A)*s on whole matrices. The rows of a matrix product do not depend on each
other, so blocks of rows give the same bits as long as BLAS takes the same path for them: seen to
hold with MKL for blocks of 16 rows and more, of matrices at least 16 wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from jobs.luthier_error import LuthierError
from models.merge.experts import Experts
from models.merge.nf4 import Nf4
from models.merge.tensor_recipes import Piece
from models.weights import TensorEntry

TORCH = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
# 2 MB in float32: the quickest of 32 K to 2 M values, on cores with 1 MB of second-level cache
_BLOCK_ELEMENTS = 512 << 10
_LEAST_ROWS = 32
_COLUMN_ELEMENTS = 16 << 20  # 64 MB in float32, for the norms of columns


def spans(rows: int, most: int) -> Iterator[tuple[int, int]]:
    """0..rows in spans of nearly equal length, at most `most` or 32: so none is shorter than 16
    unless it is all there is."""
    count = max(1, math.ceil(rows / max(_LEAST_ROWS, most)))
    for number in range(count):
        yield rows * number // count, rows * (number + 1) // count


def read_tensor(entry: TensorEntry, first: int = 0, rows: int | None = None) -> torch.Tensor:
    """A tensor's values, or those of some of its rows, as they lie in the file."""
    width = math.prod(entry.shape[1:])
    count = entry.shape[0] if rows is None else rows
    item = TORCH[entry.dtype].itemsize
    with entry.file.open("rb", buffering=0) as file:
        file.seek(entry.offset + first * width * item)
        block = bytearray(count * width * item)
        if file.readinto(block) != len(block):
            raise LuthierError(
                "Unreadable weights",
                f"{entry.file} ends in the middle of {entry.name}.",
                "Copy or save it again.",
            )
    return torch.frombuffer(block, dtype=TORCH[entry.dtype]).view(count, *entry.shape[1:])


@dataclass
class Operands:
    """What a piece's blocks need beside the source's values, as float32. `b` holds the scale if
    that changes no bit (a power of two)."""

    a: torch.Tensor | None = None
    b: torch.Tensor | None = None
    scale: float = 1.0
    transposed: bool = False
    magnitude: torch.Tensor | None = None
    norms: torch.Tensor | None = None
    rows: torch.Tensor | None = None
    indices: torch.Tensor | None = None
    shift: torch.Tensor | None = None
    nf4: Nf4 | None = None
    expert_rows: int = 0
    """Rows of an expert where the weight holds all of a layer's; `a` and `b` then have one matrix
    for each, in the order of the experts."""


@lru_cache(maxsize=4)
def _adapter_values(entry: TensorEntry, device: torch.device) -> torch.Tensor:
    """Kept, because hundreds of experts are of the same A and B."""
    values = read_tensor(entry).to(device=device, dtype=torch.float32)
    if not bool(torch.isfinite(values).all()):
        raise not_finite(entry.name, "the adapter contains values that are not finite")
    return values


def operands(piece: Piece, device: torch.device) -> Operands:
    """Read what the adapter has for a piece. LuthierError, with the tensor's name, if a value is
    not finite."""

    def load(entry: TensorEntry) -> torch.Tensor:
        return _adapter_values(entry, device)

    parts = Operands()
    make = piece.make
    if piece.quantised:
        parts.nf4 = Nf4.of(make.source, read_tensor, device)
    if make.lora is not None:
        lora = make.lora
        parts.a, parts.b, parts.transposed, parts.scale = (
            load(lora.a),
            load(lora.b),
            lora.transposed,
            lora.scale,
        )
        if lora.experts is not None:
            _take_experts(parts, lora.experts, piece.shape)
        if math.frexp(lora.scale)[0] == 0.5:
            parts.b, parts.scale = parts.b * lora.scale, 1.0
        if lora.magnitude is not None:
            parts.magnitude = load(lora.magnitude)
            if lora.transposed:
                parts.norms = _column_norms(parts, make.source, device)
    if make.rows is not None:
        # of an index named twice the last row counts
        last = {index: position for position, index in enumerate(make.rows.indices)}
        parts.indices = torch.tensor(list(last), device=device)
        parts.rows = load(make.rows.values)[torch.tensor(list(last.values()))]
    if make.shift is not None:
        parts.shift = load(make.shift[0]) * make.shift[1]
    return parts


def _take_experts(parts: Operands, experts: Experts, shape: tuple[int, ...]) -> None:
    """Leave of A and B of all experts what the weight takes."""
    assert parts.a is not None
    assert parts.b is not None
    a = parts.a.view(experts.count, -1, parts.a.shape[-1])
    b = parts.b.view(parts.b.shape[0], -1, experts.count).permute(2, 0, 1)
    if experts.index is None:
        parts.a, parts.b, parts.expert_rows = a, b.contiguous(), shape[-2]
    else:
        parts.a = a[experts.index]
        parts.b = b[experts.index, experts.first : experts.last].contiguous()


def _change_of_experts(parts: Operands, first: int, last: int) -> torch.Tensor:
    """Rows `first` to `last` of the changes of all experts, one below the other."""
    assert parts.a is not None
    assert parts.b is not None
    rows = parts.expert_rows
    changes = []
    while first < last:
        expert, top = divmod(first, rows)
        bottom = min(rows, top + last - first)
        of_one = replace(parts, a=parts.a[expert], b=parts.b[expert], expert_rows=0)
        changes.append(_change(of_one, top, bottom, None))
        first += bottom - top
    return torch.cat(changes)


def _change(parts: Operands, first: int, last: int, out: torch.Tensor | None) -> torch.Tensor:
    """Rows `first` to `last` of scale * B@A, as they are added to the weight."""
    assert parts.a is not None
    assert parts.b is not None
    if parts.expert_rows:
        return _change_of_experts(parts, first, last)
    if parts.transposed:
        change = (parts.b @ parts.a[:, first:last]).T
    else:
        change = (
            torch.mm(parts.b[first:last], parts.a, out=out)
            if out is not None
            else parts.b[first:last] @ parts.a
        )
    return change if parts.scale == 1.0 else change.mul_(parts.scale)


def _column_norms(parts: Operands, weight: TensorEntry, device: torch.device) -> torch.Tensor:
    """The norm of each column of W + change, for DoRA on weights that lie (in, out). Columns are
    independent: a few at a time."""
    assert parts.a is not None
    assert parts.b is not None
    rows, columns = weight.shape
    norms = []
    for first, last in spans(columns, _COLUMN_ELEMENTS // rows):
        part = torch.empty(rows, last - first, device=device)
        for top, bottom in spans(rows, _BLOCK_ELEMENTS // columns):
            part[top:bottom] = read_tensor(weight, top, bottom - top)[:, first:last].to(device)
        change = parts.b[first:last] @ parts.a
        norms.append(
            torch.linalg.norm(
                part.T + (change if parts.scale == 1.0 else change.mul_(parts.scale)), dim=1
            )
        )
    return torch.cat(norms)


class Scratch:
    """Two float32 blocks that a thread uses again and again. On a GPU they need not fit a cache."""

    def __init__(self, device: torch.device) -> None:
        self.most = _BLOCK_ELEMENTS if device.type == "cpu" else _COLUMN_ELEMENTS
        self._blocks = [torch.empty(0, device=device), torch.empty(0, device=device)]

    def take(self, which: int, rows: int, width: int) -> torch.Tensor:
        if self._blocks[which].numel() < rows * width:
            self._blocks[which] = torch.empty(rows * width, device=self._blocks[which].device)
        return self._blocks[which][: rows * width].view(rows, width)


def compute(
    piece: Piece,
    parts: Operands,
    first: int,
    source: torch.Tensor,
    base: torch.Tensor | None,
    out: torch.Tensor,
    scratch: Scratch,
) -> float:
    """Fill `out` (rows, width), the piece's rows from `first` on; `source` and `base` are the same
    rows, or as many as they have.

    Returns the largest change. LuthierError, with the tensor's name, if a value does not fit the
    type it is written in.
    """
    width = out.shape[1]
    largest = 0.0
    for top, bottom in spans(out.shape[0], scratch.most // width):
        values = scratch.take(0, bottom - top, width)
        there = max(0, min(bottom, source.shape[0]) - top)
        values[:there].copy_(source[top : top + there])
        values[there:].zero_()  # behind the source's end every row is a trained one
        if parts.nf4 is not None:
            parts.nf4.through(values, first + top)
        change = _apply(parts, values, first + top, scratch)
        if change is None and base is not None:
            base_rows = max(0, min(bottom, base.shape[0]) - top)
            change = values[:base_rows] - base[top : top + base_rows].to(values.device)
        if change is not None and change.numel():
            low, high = (float(side) for side in torch.aminmax(change))
            largest = max(largest, -low, high)
        low, high = (float(side) for side in torch.aminmax(values))
        limit = torch.finfo(out.dtype).max
        if not (-limit <= low and high <= limit):
            raise not_finite(
                piece.name, f"merged values from {low:g} to {high:g} do not fit {piece.dtype}"
            )
        out[top:bottom].copy_(values)
    return largest


def _apply(
    parts: Operands, values: torch.Tensor, row: int, scratch: Scratch
) -> torch.Tensor | None:
    """Change a block of float32 values in place. Returns the change where it comes as one, None
    where it must be found by comparing."""
    rows, width = values.shape
    change: torch.Tensor | None = None
    replaced = parts.indices is not None and _replace_rows(parts, values, row)
    if parts.a is not None:
        change = _change(
            parts, row, row + rows, None if parts.transposed else scratch.take(1, rows, width)
        )
        values.add_(change)
        if parts.magnitude is not None:
            norms = torch.linalg.norm(values, dim=1) if parts.norms is None else parts.norms
            factor = (
                parts.magnitude[row : row + rows] / norms
                if parts.norms is None
                else parts.magnitude / norms
            )
            values.mul_(factor.view(-1, 1) if parts.norms is None else factor.view(1, -1))
    if parts.shift is not None:
        change = parts.shift[row : row + rows].view(-1, 1)
        values.add_(change)
    return None if replaced or parts.magnitude is not None or parts.nf4 is not None else change


def _replace_rows(parts: Operands, values: torch.Tensor, row: int) -> bool:
    """Put trained rows in their places (LoRA on top of it, where there is one, wraps the layer that
    has them). Whether any lay here."""
    assert parts.indices is not None
    assert parts.rows is not None
    here = (parts.indices >= row) & (parts.indices < row + len(values))
    if not bool(here.any()):
        return False
    values[parts.indices[here] - row] = parts.rows[here]
    return True


def not_finite(tensor: str, reason: str) -> LuthierError:
    return LuthierError(
        "Values that are not finite",
        f"{tensor}: {reason}.",
        "Merge an earlier checkpoint, or check the run's losses.",
    )
