"""The size caps: a file holds one idea. Prints what is over them; no comment in the code can
silence it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_FILE_LINES = 600
MAX_CLASS_METHODS = 30
MAX_FUNCTION_LINES = 80

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("jobs", "models", "trainer", "serve", "workshop", "tui", "tools", "bench")
FILES_ONLY = ("tests",)  # a test may tell a long story, but not in an endless file


def violations(path: Path, name: str, inside: bool) -> Iterator[str]:
    """What in a file is over the caps; `inside` looks at its classes and functions too."""
    source = path.read_text(encoding="utf-8")
    lines = source.count("\n")
    if lines > MAX_FILE_LINES:
        yield f"{name}: {lines} lines (at most {MAX_FILE_LINES})"
    if not inside:
        return
    for node in ast.walk(ast.parse(source, filename=str(path))):
        if isinstance(node, ast.ClassDef):
            methods = sum(
                isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) for item in node.body
            )
            if methods > MAX_CLASS_METHODS:
                yield (
                    f"{name}:{node.lineno}: class {node.name} has {methods} methods (at most"
                    f" {MAX_CLASS_METHODS}, private ones too)"
                )
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield (
                    f"{name}:{node.lineno}: {node.name}() has {length} lines (at most"
                    f" {MAX_FUNCTION_LINES})"
                )


def main(root: Path = ROOT) -> int:
    found = [
        line
        for package in (*PACKAGES, *FILES_ONLY)
        for path in sorted((root / package).rglob("*.py"))
        for line in violations(path, str(path.relative_to(root)), inside=package not in FILES_ONLY)
    ]
    print("\n".join(found) if found else "Size caps: all within.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
