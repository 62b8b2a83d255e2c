"""What an adapter's files hold, in a word: two folders with the same word have the same adapter."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from jobs import foreign_json
from jobs.foreign_json import Damaged

_SETS = ("target_modules", "modules_to_save", "exclude_modules")
"""What PEFT holds as sets: earlier versions saved them in any order."""


def fingerprint(directory: Path) -> str:
    """24 hexadecimal digits. OSError if a file is missing."""
    whole = hashlib.blake2b(_config(directory / "adapter_config.json"), digest_size=12)
    with (directory / "adapter_model.safetensors").open("rb") as file:
        whole.update(hashlib.file_digest(file, hashlib.blake2b).digest())
    return whole.hexdigest()


def _config(path: Path) -> bytes:
    """The config in one order; as it is where it is not one."""
    written = path.read_bytes()
    try:
        config = foreign_json.decode_object(written, path, lenient=True)
        return json.dumps(
            {
                **config,
                **{
                    name: sorted(config[name])
                    for name in _SETS
                    if isinstance(config.get(name), list)
                },
            }
        ).encode()
    except (Damaged, TypeError):
        return written
