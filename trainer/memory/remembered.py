"""What runs have measured of their memory, against what was predicted: it corrects the next prediction for that model and setting."""

from __future__ import annotations

import json
import time
from typing import Any

from jobs.files import write_json
from jobs.home import home
from jobs.locks import Lock
from trainer.memory.predict import Setting

MEMORY_FILE = "memory.json"


def remember(model: str, device: str, setting: Setting, predicted: int, measured: int, run: str) -> None:
    """A newer measurement of the same takes the place of an older one."""
    home().mkdir(parents=True, exist_ok=True)
    lock = Lock(home() / "memory.lock")
    lock.acquire(wait=True)
    try:
        key = _key(model, device, setting)
        figures = {"predicted": predicted, "measured": measured, "tokens": setting.tokens, "run": run, "t": round(time.time())}
        write_json(home() / MEMORY_FILE, [*(entry for entry in _entries() if entry["of"] != key), {"of": key, **figures}])
    finally:
        lock.release()


def recall(model: str, device: str, setting: Setting) -> tuple[float, str]:
    """Measured by predicted of the last such run, and its id; 1.0 and "" if there was none."""
    key = _key(model, device, setting)
    return next(((entry["measured"] / entry["predicted"], str(entry["run"])) for entry in _entries() if entry["of"] == key), (1.0, ""))


def _key(model: str, device: str, setting: Setting) -> dict[str, Any]:
    """All but the size of the batch and of the adapter, which the prediction minds well."""
    same = ("engine", "method", "bits", "checkpointing", "attention", "loss")
    padded = setting.rows > 1
    return {"model": model, "device": device, "padded": padded, **{name: getattr(setting, name) for name in same}}


def _entries() -> list[dict[str, Any]]:
    try:
        entries = json.loads((home() / MEMORY_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    return [entry for entry in entries if isinstance(entry, dict)]
