"""What has been asked and answered so far: a JSON object a line, appended as it comes, so that an
interrupted comparison goes on."""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

from jobs import foreign_json
from jobs.files import flush
from jobs.foreign_json import Damaged

Entry = dict[str, Any]


def key_of(*parts: Any) -> str:
    """The name of a question: everything that its answer depends on."""
    return blake2b(
        json.dumps(parts, sort_keys=True, ensure_ascii=True).encode(), digest_size=12
    ).hexdigest()


class Journal:
    """`found` holds the entries by their key, the last one of a key. Its folder is made with the
    first entry: what is refused before that leaves nothing behind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Entry] = {}
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
        entry = self.write(key, **fields)
        flush(self.path)
        return entry

    def write(self, key: str, **fields: Any) -> Entry:
        """Write an entry; it survives this process. Only with `flush` it survives the machine."""
        entry = {"key": key, **fields}
        line = json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        if not self.found:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(b"\n" + line if self._torn else line)
        self._torn = False
        self.found[key] = entry
        return entry
