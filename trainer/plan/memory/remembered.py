"""What runs have measured of their memory, against what was predicted: it corrects the next
prediction for that model and setting."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import msgspec

from jobs import foreign_json
from jobs.files import write_json
from jobs.foreign_json import Damaged
from jobs.home import home
from jobs.locks import Lock
from models import foreign
from trainer.plan.memory.predict import Setting

MEMORY_FILE = "memory.json"


@dataclass(frozen=True)
class _Measurement:
    """What `memory.json` says of one run: bytes, for `tokens` at a time. `t` is in unix seconds."""

    of: dict[str, Any]
    predicted: Annotated[float, msgspec.Meta(gt=0)]
    measured: Annotated[float, msgspec.Meta(gt=0)]
    tokens: int
    run: str
    t: float


def remember(
    model: str, device: str, setting: Setting, predicted: int, measured: int, run: str
) -> None:
    """A newer measurement of the same takes the place of an older one."""
    home().mkdir(parents=True, exist_ok=True)
    lock = Lock(home() / "memory.lock")
    lock.acquire(wait=True)
    try:
        key = _key(model, device, setting)
        newest = _Measurement(key, predicted, measured, setting.tokens, run, round(time.time()))
        kept = [entry for entry in _entries() if entry.of != key]
        write_json(home() / MEMORY_FILE, [asdict(entry) for entry in (*kept, newest)])
    finally:
        lock.release()


def recall(model: str, device: str, setting: Setting) -> tuple[float, str]:
    """Measured by predicted of the last such run, and its id; 1.0 and "" if there was none."""
    key = _key(model, device, setting)
    return next(
        ((entry.measured / entry.predicted, entry.run) for entry in _entries() if entry.of == key),
        (1.0, ""),
    )


def _key(model: str, device: str, setting: Setting) -> dict[str, Any]:
    """All but the size of the batch and of the adapter, which the prediction minds well."""
    return {
        "model": model,
        "device": device,
        "padded": setting.rows > 1,
        "engine": setting.engine,
        "method": setting.method,
        "bits": setting.compute.base_bits,
        "checkpointing": setting.compute.gradient_checkpointing,
        "loss": setting.loss,
    }


def _entries() -> list[_Measurement]:
    """Those that can be read, each for itself."""
    try:
        entries = foreign_json.read(home() / MEMORY_FILE)
    except (FileNotFoundError, Damaged):
        return []
    readable = []
    for entry in entries if isinstance(entries, list) else []:
        with suppress(Damaged):
            readable.append(foreign.convert(entry, _Measurement, MEMORY_FILE))
    return readable
