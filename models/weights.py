"""Weight files, without loading a weight."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import foreign_json
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError

_LONGEST_HEADER = 100_000_000  # the format's own limit
_BITS = {
    **dict.fromkeys(
        ("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8
    ),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class TensorEntry:
    """One tensor in a safetensors file. `dtype` is the format's name ("BF16"); `offset` (from the
    file's start) and `size` are bytes."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int

    def same_bytes(self, other: TensorEntry) -> bool:
        """Whether both hold the same values in the same type and shape."""
        if (self.dtype, self.shape) != (other.dtype, other.shape):
            return False
        if (self.file, self.offset) == (other.file, other.offset):
            return True
        with self.file.open("rb") as own_file, other.file.open("rb") as two:
            own_file.seek(self.offset)
            two.seek(other.offset)
            left = self.size
            while left:
                count = min(left, 1 << 22)
                if own_file.read(count) != two.read(count):
                    return False
                left -= count
        return True


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Names and shapes of a safetensors file's tensors, from its header alone. LuthierError if it
    is none."""
    try:
        shapes = {
            name: entry["shape"]
            for name, entry in _header(path)[0].items()
            if name != "__metadata__"
        }
        odd = next(
            (name for name, shape in shapes.items() if not foreign_json.fits(shape, list[int])),
            None,
        )
        if odd is not None:
            raise ValueError(f"the shape of {odd} is not a list of integers")
        return shapes
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise _unreadable(path, str(error)) from error


def tensor_entries(path: Path) -> list[TensorEntry]:
    """A safetensors file's tensors in the order of their bytes. LuthierError if it is none, or if
    it is cut or has gaps."""
    try:
        header, start = _header(path)
        entries = []
        for name, entry in header.items():
            if name != "__metadata__":
                first, last = entry["data_offsets"]
                shape = tuple(int(side) for side in entry["shape"])
                entries.append(
                    TensorEntry(name, path, entry["dtype"], shape, start + first, last - first)
                )
        size = path.stat().st_size
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise _unreadable(path, str(error)) from error
    entries.sort(key=lambda entry: (entry.offset, entry.size))
    position = start
    for entry in entries:
        bits = _BITS.get(entry.dtype)
        if entry.offset != position or (
            bits is not None and entry.size * 8 != math.prod(entry.shape) * bits
        ):
            raise _unreadable(path, f"the header gives a wrong position for {entry.name}")
        position += entry.size
    if position != size:
        raise _unreadable(
            path, f"its tensors end at byte {position:,}, but the file ends at byte {size:,}"
        )
    return entries


def weight_files(directory: Path) -> list[Path]:
    """A model's safetensors files as from_pretrained chooses them: model.safetensors, else those of
    the index, else the only one.

    LuthierError if there are none, or if one that the index names is missing.
    """
    single, index = directory / "model.safetensors", directory / _INDEX
    if single.is_file():
        return [single]
    if index.is_file():
        try:
            names = indexed_files(foreign_json.read_bytes(index), index)
        except (OSError, Damaged) as error:
            raise LuthierError("Unreadable weights", f"{error}", "Copy the model again.") from error
        missing = [name for name in names if not (directory / name).is_file()]
        if missing:
            raise LuthierError(
                "Weights are missing",
                f"{directory} lacks {', '.join(missing[:3])}, which its index lists.",
                "Copy them too.",
            )
        return [directory / name for name in names]
    weight_paths = sorted(directory.glob("*.safetensors"))
    if len(weight_paths) == 1:
        return weight_paths
    pickled = sorted(
        path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in directory.glob(pattern)
    )
    if pickled and not weight_paths:
        hint = (
            "If you trust their source, convert them first with `from_pretrained(...)` and"
            " `save_pretrained(...)`."
        )
        raise LuthierError(
            "Pickled weights",
            f"{directory} has {pickled[0]} but no safetensors, and pickles can run code.",
            hint,
        )
    problem = "several safetensors files but no index" if weight_paths else "no safetensors weights"
    raise LuthierError(
        "No weights", f"{directory} has {problem}.", "Give the folder that save_pretrained wrote."
    )


def indexed_files(index: bytes | str, where: object) -> list[str]:
    """The files that the index of a model in several files names. Damaged if it is none."""
    values = foreign_json.decode_object(index, where, lenient=True)
    foreign_json.check({"weight_map": None, **values}, {"weight_map": dict[str, str]}, where)
    return sorted(set(values["weight_map"].values()))


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The parsed header, and where the data begins."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > _LONGEST_HEADER:
            raise ValueError("no header")
        return foreign_json.decode_object(file.read(length), path), 8 + length


def _unreadable(path: Path, reason: str) -> LuthierError:
    return LuthierError(
        "Unreadable weights",
        f"{path} is not a complete safetensors file: {reason}.",
        "Copy or save it again.",
    )
