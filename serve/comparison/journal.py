"""What has been asked and answered so far: a JSON object a line, appended as it comes, so that an
interrupted comparison goes on."""

from __future__ import annotations

import json
import os
from hashlib import blake2b
from pathlib import Path
from typing import Any

from jobs import foreign_json
from jobs.foreign_json import Damaged

Entry = dict[str, Any]


def key_of(*parts: Any) -> str:
    """The name of a question: everything that its answer depends on."""
    return blake2b(
        json.dumps(parts, sort_keys=True, ensure_ascii=True).encode(), digest_size=12
    ).hexdigest()


class Journal:
    """`found` holds the entries by their key, the last one of a key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Entry] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        block = path.read_bytes() if path.exists() else b""
        for line in block.splitlines():
            try:
                entry = foreign_json.decode_object(line, path, lenient=True)
                self.found[str(entry["key"])] = entry
            except (Damaged, KeyError):  # a line that a crash has torn
                continue
        self._torn = bool(block) and not block.endswith(b"\n")

    def add(self, key: str, **fields: Any) -> Entry:
        """Write an entry, and have it on the disk."""
        entry = {"key": key, **fields}
        line = json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with self.path.open("ab") as file:
            file.write(b"\n" + line if self._torn else line)
            file.flush()
            os.fsync(file.fileno())
        self._torn = False
        self.found[key] = entry
        return entry
