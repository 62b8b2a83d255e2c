"""Peak memory of reading large files: `python bench/data_memory.py [MB]`. Each file is read by a
process of its own."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.data.reading import Reader

TURN = "So then I told him that the lute has too many strings, and he said: 𝄞 is only one. " * 4
CHAINED = "chained.jsonl"
# Each kind with its file's name.
KINDS = {
    "JSON Lines": "rows.jsonl",
    "JSON array": "rows.json",
    "JSON array, pretty": "rows.json",
    "JSON Lines, gzip": "rows.jsonl.gz",
    "JSON Lines, zstd": "rows.jsonl.zst",
    "CSV": "rows.csv",
    "Parquet": "rows.parquet",
    "JSON array in one line, wrapped": "rows.json",
    "JSON Lines, rows that are chained": CHAINED,
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


def row(number: int) -> dict[str, object]:
    says = [
        {"from": ("human", "gpt")[turn % 2], "value": f"{number}.{turn} {TURN}"}
        for turn in range(2 + number % 7)
    ]
    return {"id": number, "conversations": says}


def write(kind: str, folder: Path, size: int) -> Path:
    """About `size` bytes of text in a file of this kind."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    path = folder / KINDS[kind]
    if path.name == CHAINED:
        return write_chained(path, size)
    per_row = len(json.dumps(row(0)["conversations"], ensure_ascii=False).encode()) * 5 // 2
    count = size // per_row
    if kind == "Parquet":
        rows = (
            pa.Table.from_pylist([row(number + offset) for offset in range(512)])
            for number in range(0, count, 512)
        )
        first = next(rows)
        with pq.ParquetWriter(path, first.schema, compression="none") as writer:
            writer.write_table(first)
            for table in rows:
                writer.write_table(table)
        return path
    compression = COMPRESSIONS.get(path.suffix)
    opened = (
        pa.OSFile(str(path), "wb")
        if compression is None
        else pa.CompressedOutputStream(str(path), compression)
    )
    with opened as file:
        if kind == "CSV":
            file.write(b"question,answer\n")
        if "wrapped" in kind:
            file.write(b'{"version": 1, "data": ')
        for number in range(count):
            file.write(line(kind, number).encode())
        if "array" in kind:
            file.write(b"]")
        if "wrapped" in kind:
            file.write(b"}")
    return path


def line(kind: str, number: int) -> str:
    """A row as a file of this kind has it, with what stands between it and the one before."""
    if kind == "CSV":
        return f'{number},"{TURN * (2 + number % 7)}\n"\n'
    text = json.dumps(row(number), ensure_ascii=False, indent=2 if "pretty" in kind else None)
    if "array" not in kind:
        return f"{text}\n"
    return f"[{text}" if number == 0 else f",{text}"


def write_chained(path: Path, size: int) -> Path:
    """Turns of conversations of four, each a row that follows another; the last ones stand
    first."""
    count = size // len(f"{TURN}{TURN}" + " " * 80)
    with path.open("w", encoding="utf-8") as file:
        for number in reversed(range(count)):
            asked, answered = (f"{number} {TURN}" for _ in range(2))
            parent = f"m{number - 1}" if number % 4 else None
            file.write(
                json.dumps(
                    {
                        "instruction": asked,
                        "output": answered,
                        "id": f"m{number}",
                        "parent_id": parent,
                    },
                    ensure_ascii=False,
                )
                + "\n"
            )
    return path


def peak_megabytes() -> float:
    """Of this program: getrusage would count what the process that started it had."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def read(path: Path) -> None:
    """In the measured process: read all rows, say how many, how quickly and at what peak."""
    from trainer.data.files import read_rows
    from trainer.data.formats import Mapping
    from trainer.data.policies import Policies, SpecialTexts
    from trainer.data.reading import Reader

    if path.name == CHAINED:
        read_chained(Reader(Mapping(), Policies(), SpecialTexts()), path)
        return
    before = peak_megabytes()
    started = time.perf_counter()
    rows = size = 0
    for raw in read_rows(str(path)):
        rows, size = rows + 1, size + raw.size
    seconds = time.perf_counter() - started
    sys.stdout.write(
        json.dumps(
            {
                "rows": rows,
                "size": size,
                "seconds": seconds,
                "before": before,
                "peak": peak_megabytes(),
            }
        )
    )


def read_chained(reader: Reader, path: Path) -> None:
    """The same of rows that make conversations together: all are read before the first is given."""
    before = peak_megabytes()
    started = time.perf_counter()
    rows = sum(1 for _ in reader.rows(str(path)))
    seconds = time.perf_counter() - started
    figures = {
        "rows": rows,
        "size": path.stat().st_size,
        "seconds": seconds,
        "before": before,
        "peak": peak_megabytes(),
    }
    sys.stdout.write(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("megabytes", type=int, nargs="?", default=300)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        read(arguments.read)
        return
    print(
        f"{'':34}{'on disk':>10}{'rows':>10}{'seconds':>9}{'MB/s':>7}"
        f"{'at start':>10}{'peak RSS':>10}"
    )
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            path = write(kind, Path(folder), arguments.megabytes << 20)
            command = [sys.executable, __file__, "--read", str(path)]
            figures = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout
            )
            disk = path.stat().st_size / (1 << 20)
            speed = figures["size"] / (1 << 20) / figures["seconds"]
            start, peak = f"{figures['before']:.0f} MB", f"{figures['peak']:.0f} MB"
            print(
                f"{kind:34}{disk:>7.0f}"
                f" MB{figures['rows']:>10}{figures['seconds']:>9.1f}{speed:>7.0f}"
                f"{start:>10}{peak:>10}",
                flush=True,
            )


if __name__ == "__main__":
    main()
