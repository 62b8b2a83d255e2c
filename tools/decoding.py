"""Only `jobs.foreign_json` and `models.foreign` decode JSON: whoever reads a file or an answer of
somebody else's goes through them.

The few that stay apart read a user's data rows with rules of their own, or what this very process
has just written.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ["jobs", "models", "serve", "trainer", "workshop", "tui"]
DECODERS = {
    "json.load",
    "json.loads",
    "json.JSONDecoder",
    "msgspec.json.decode",
    "msgspec.json.Decoder",
}
MODULES = {"json", "msgspec.json"}
ALLOWED = {
    "jobs/foreign_json.py": "the reader",
    "models/foreign.py": "the reader, for msgspec's types",
    "models/export/llmcompressor_script.py": "in an interpreter without Luthier: a run's samples",
    "serve/shipped/llama_cpp_script.py": "in an interpreter without Luthier: its own question",
    "trainer/data/chains.py": "its own table",
    "trainer/data/files_json.py": (
        "a user's data: JSON in pieces, each broken row told with its place"
    ),
    "trainer/data/files_tables.py": "what it has just written itself",
    "trainer/data/formats_turns.py": "a user's data: JSON in a cell, left as text where it is none",
    "trainer/data/pipeline.py": "its own spool",
    "trainer/data/spool.py": "its own spool",
}


def decoders(path: Path) -> Iterator[str]:
    """Each place of a file that decodes JSON itself."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in DECODERS:
            yield f"{path}:{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            names = [
                alias.name for alias in node.names if f"{node.module}.{alias.name}" in DECODERS
            ]
            yield from (f"{path}:{node.lineno}: {node.module}.{name}" for name in names)


def main() -> None:
    files = [
        path
        for folder in FOLDERS
        for path in sorted(Path(folder).rglob("*.py"))
        if path.as_posix() not in ALLOWED
    ]
    findings = [finding for path in files for finding in decoders(path)]
    if findings:
        print("\n".join(findings))
        sys.exit("Read foreign JSON with jobs.foreign_json or models.foreign.")


if __name__ == "__main__":
    main()
