"""The number type in which a CPU multiplies a model's weights faster, and what was measured of it
before. Light.

It depends on the CPU's instructions. One with AVX-512 BF16 multiplied bfloat16 four times as fast
as float32; one with AVX-512 alone took 1.4 to 1.9 times as long. Luthier therefore measures it
(models.product_speed), once for each model's shapes.
"""

from __future__ import annotations

import importlib.metadata
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from jobs.files import write_json
from jobs.foreign_json import Damaged
from jobs.home import home
from jobs.locks import Lock
from models import foreign
from models.weights import tensor_shapes, weight_files

SPEEDS_FILE = "compute-dtypes.json"
# A float32 model takes twice the memory: it has to be worth that.
_WORTH = 1.1


@dataclass(frozen=True)
class DtypeSpeed:
    """Seconds that the same products took in each type."""

    bfloat16: float
    float32: float

    @property
    def favours_float32(self) -> bool:
        return self.bfloat16 >= _WORTH * self.float32

    def in_words(self) -> str:
        """Which type is the quicker one, as a clause."""
        quicker, slower = (
            ("float32", "bfloat16") if self.float32 < self.bfloat16 else ("bfloat16", "float32")
        )
        ratio = max(self.float32, self.bfloat16) / min(self.float32, self.bfloat16)
        return (
            f"this CPU multiplies in {quicker} {ratio:.1f} times as fast as in {slower}, as"
            " measured"
        )


def matrix_shapes(directory: Path) -> list[tuple[int, int]]:
    """The different shapes (rows, columns) of the model's weight matrices, from the headers of its
    files."""
    shapes = {
        tuple(shape) for path in weight_files(directory) for shape in tensor_shapes(path).values()
    }
    return sorted((shape[0], shape[1]) for shape in shapes if len(shape) == 2 and min(shape) > 1)


def recall(directory: Path) -> DtypeSpeed | None:
    """What was measured for these shapes on this CPU with this version of torch."""
    return _speeds().get(_key(directory))


def remember(directory: Path, speed: DtypeSpeed) -> None:
    home().mkdir(parents=True, exist_ok=True)
    lock = Lock(home() / "compute-dtypes.lock")
    lock.acquire(wait=True)
    try:
        speeds = _speeds() | {_key(directory): speed}
        write_json(home() / SPEEDS_FILE, {key: asdict(value) for key, value in speeds.items()})
    finally:
        lock.release()


def _key(directory: Path) -> str:
    """What the speed depends on. ONEDNN_MAX_CPU_ISA takes instructions from torch's products."""
    shapes = " ".join(f"{rows}x{columns}" for rows, columns in matrix_shapes(directory))
    isa = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    return " | ".join(
        [
            _cpu_name(),
            str(len(os.sched_getaffinity(0))),
            isa,
            _torch_version(),
            shapes,
        ]
    )


def _torch_version() -> str:
    """Empty if only the app is installed: it makes plans without torch, and measures nothing."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("torch")
    return ""


def _cpu_name() -> str:
    with suppress(OSError):
        for line in (
            Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        ):
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return os.uname().machine


def _speeds() -> dict[str, DtypeSpeed]:
    try:
        return foreign.read(home() / SPEEDS_FILE, dict[str, DtypeSpeed])
    except (FileNotFoundError, Damaged):
        return {}
