"""A home with a real run, small enough to be kept: `recording.tar.xz` beside this file.

`record.sh` says how it was made. The weights are left out: of each model's file the head is kept,
and holes of the right size stand for the rest, so that everything that reads sizes and headers
reads what it read on the day.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from contextlib import suppress
from pathlib import Path

RECORDED_AT = "/tmp/luthier-walk"
"""The recorded files name this folder."""
RECORDING = Path(__file__).with_name("recording.tar.xz")
_SIZES = "sizes.json"
_LEFT_OUT = ("checkpoints", "cache", "keys", "slots", "__pycache__")
_WHOLE_BELOW = 600_000
_TEXTS = (".json", ".jsonl", ".toml", ".log")


def pack(root: Path, recording: Path = RECORDING) -> None:
    """Keep what lies in `root`."""
    sizes: dict[str, tuple[int, int]] = {}
    with tarfile.open(recording, "w:xz", preset=9) as archive:
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root)
            if not path.is_file() or set(name.parts) & set(_LEFT_OUT) or path.suffix == ".arrow":
                continue
            stat = path.stat()
            sizes[str(name)] = stat.st_size, stat.st_mtime_ns
            entry = tarfile.TarInfo(str(name))
            with path.open("rb") as file:
                is_short = stat.st_size < _WHOLE_BELOW
                entry.size = stat.st_size if is_short else _head_size(path)
                archive.addfile(entry, file)
        text = root / _SIZES
        text.write_text(json.dumps(sizes))
        archive.add(text, _SIZES)
        text.unlink()


def _head_size(path: Path) -> int:
    """A safetensors file begins with the length of its header; of others nothing is kept."""
    if path.suffix != ".safetensors":
        return 0
    with path.open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


def restore(root: Path) -> None:
    """Put the recording into `root`, an empty folder, with the sizes and times of the day."""
    with tarfile.open(RECORDING) as archive:
        archive.extractall(root, filter="data")
    sizes = json.loads((root / _SIZES).read_text())
    for name, (size, _) in sizes.items():
        path = root / name
        if path.suffix in _TEXTS and str(root) != RECORDED_AT:
            path.write_bytes(path.read_bytes().replace(RECORDED_AT.encode(), bytes(root)))
        elif path.stat().st_size < size:
            os.truncate(path, size)
    for certificate in root.glob("home/jobs/*/certificate.json"):
        _stamp_again(certificate)
    for name, (_, modified) in sizes.items():
        os.utime(root / name, ns=(modified, modified))


def _stamp_again(certificate: Path) -> None:
    """Files that name their own folder have another size in another one."""
    written = json.loads(certificate.read_text())
    for stamp in written["files"]:
        with suppress(FileNotFoundError):
            stamp["size"] = Path(stamp["path"]).stat().st_size
    certificate.write_text(json.dumps(written))


def main() -> None:
    """Pack the home that record.sh has filled."""
    pack(Path(RECORDED_AT))
    shutil.rmtree(RECORDED_AT)


if __name__ == "__main__":
    main()
