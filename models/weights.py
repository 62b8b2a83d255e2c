"""Weight files, without loading a weight."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from jobs.errors import LuthierError

_LONGEST_HEADER = 100_000_000  # the format's own limit


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Names and shapes of a safetensors file's tensors, from its header alone. LuthierError if it is none."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LONGEST_HEADER:
                raise ValueError("no header")
            header = json.loads(file.read(length))
        return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise LuthierError("Unreadable weights", f"{path} is no whole safetensors file: {error}.", "Copy or save it again.") from error
