"""The layouts of layouts/*.toml, read as a run reads them, and the table of docs/layouts.md that
is made of them.

A layout's file has its `name`, the `rows` as text, and for each row its `outcome`: the messages as
[role, content], or the last reason code of the ledger. `error` stands instead where the file is
refused: a text that the message has. Optional are `file` (the file's name, whose ending says its
kind), `encoding`, `note` (for the table) and a recipe's sections [format] and [policy].

    # writes the table into docs/layouts.md
    PYTHONPATH=$PWD python -m tests.trainer.data.layout_table
"""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from jobs.luthier_error import LuthierError
from trainer.data.formats import Mapping
from trainer.data.policies import Policies, SpecialTexts
from trainer.data.reading import Reader, Row

FOLDER = Path(__file__).with_name("layouts")
GUIDE = Path(__file__).parents[3] / "docs" / "layouts.md"
BEGIN, END = "<!-- layouts: tests/trainer/data/layout_table.py -->\n", "<!-- end of layouts -->\n"


class Layout(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    rows: str
    outcome: list[str | list[list[str]]] = []
    error: str = ""
    note: str = ""
    file: str = "rows.jsonl"
    encoding: str = "utf-8"
    format: Mapping = Mapping()
    policy: Policies = Policies()


@dataclass(frozen=True)
class Reading:
    """What became of a layout: its rows, or the error that refused the file."""

    format: str
    rows: list[Row]
    error: LuthierError | None = None

    @property
    def outcome(self) -> list[str | list[list[str]]]:
        return [
            (
                row.reasons[-1]
                if row.messages is None
                else [[m["role"], m["content"]] for m in row.messages]
            )
            for row in self.rows
        ]


def layouts() -> dict[str, Layout]:
    """Every layout by the name of its file."""
    return {
        path.stem: msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Layout)
        for path in sorted(FOLDER.glob("*.toml"))
    }


def read(layout: Layout, folder: Path) -> Reading:
    path = folder / layout.file
    path.write_bytes(layout.rows.lstrip("\n").encode(layout.encoding))
    reader = Reader(layout.format, layout.policy, SpecialTexts())
    try:
        rows = list(reader.rows(str(path)))
    except LuthierError as error:
        return Reading("", [], error)
    return Reading(next((found.name for found in reader.formats.values()), ""), rows)


def table() -> str:
    """The table's lines, in Markdown, sorted by name."""
    lines = [
        "| layout | its columns | read as | what happens to the example's rows |",
        "|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for layout in sorted(layouts().values(), key=lambda layout: layout.name.casefold()):
            reading = read(layout, Path(folder))
            cells = (
                layout.name,
                _columns(layout),
                reading.format and f"`{reading.format}`",
                _becomes(layout, reading),
            )
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _columns(layout: Layout) -> str:
    first = layout.rows.strip().partition("\n")[0]
    try:
        row: Any = json.loads(first)
    except ValueError:
        row = None
    return (
        ", ".join(f"`{column}`" for column in row)
        if isinstance(row, dict)
        else f"{Path(layout.file).suffix[1:]}"
    )


def _becomes(layout: Layout, reading: Reading) -> str:
    if reading.error is not None:
        return f"refused: {layout.note or reading.error.title}"
    dropped = Counter(row.reasons[-1] for row in reading.rows if row.messages is None)
    trained = len(reading.rows) - dropped.total()
    stops = [code for code in dropped if getattr(layout.policy, code, "") == "stop"]
    parts = [f"{trained} trained"] * bool(trained)
    joined = {"chained": "joined to another row"}
    parts += [
        f"{number} {_stops(number) if code in stops else joined.get(code, 'dropped')} (`{code}`)"
        for code, number in dropped.items()
    ]
    return f"{', '.join(parts)}{layout.note and f'; {layout.note}'}"


def _stops(rows: int) -> str:
    return "stops the run" if rows == 1 else "stop the run"


def main() -> None:
    before, _, rest = GUIDE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    GUIDE.write_text(f"{before}{BEGIN}{table()}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
