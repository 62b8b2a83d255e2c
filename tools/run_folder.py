"""One reader of a run: no module but models/run_folder.py names what lies in a run's folder, and
no module but the reader of a kind of job reads that kind's settings by string keys."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("jobs", "models", "trainer", "serve", "workshop", "tui")
PATHS_HOME = "models/run_folder.py"
NAMES = {"adapter", "model", "merged", "data", "checkpoints"}
"""Folders of a run: a finding where one is joined to a path that is called a directory or run."""
FILES = {"heldout.jsonl", "train.jsonl", "ledger.jsonl", "COMPLETE", "recipe.toml"}
SETTINGS_READERS = {
    "jobs/shim.py": "puts the run's folder into the orders of what follows",
    "jobs/spec.py": "checks their types",
    "jobs/worker.py": "hands a worker its own",
    "models/export/launch.py": "exports",
    "models/runs.py": "runs",
    "serve/certificate/launch.py": "certificates",
    "serve/servers.py": "servers",
    "trainer/data/inspection.py": "looks at data",
}


def findings(path: Path, name: str) -> Iterator[str]:
    """Where a file reads what another module reads for it."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.expr | ast.stmt)):
        if name != PATHS_HOME and _names_a_file(node):
            yield f"{name}:{node.lineno}: a run's file by name; models.run_folder.RunFolder has it"
        if name not in SETTINGS_READERS and _reads_a_setting(node):
            yield f"{name}:{node.lineno}: a job's settings by key; models.runs.Run has them"


def _names_a_file(node: ast.AST) -> bool:
    """`run.directory / "adapter"`, or the name of a file that only runs have."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        below = node.right
        return (
            isinstance(below, ast.Constant)
            and below.value in NAMES | FILES
            and isinstance(node.left, ast.Attribute | ast.Name)
            and ast.unparse(node.left).endswith(("directory", "folder", "run", "job"))
        )
    return False


def _reads_a_setting(node: ast.AST) -> bool:
    """`job.spec.settings["model"]` or `.get("model")`."""
    if isinstance(node, ast.Subscript):
        owner: ast.AST = node.value
        return isinstance(node.slice, ast.Constant) and _is_settings(owner)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr == "get" and _is_settings(node.func.value)
    return isinstance(node, ast.Assign) and _is_settings(node.value)


def _is_settings(node: ast.AST) -> bool:
    return ast.unparse(node).endswith("spec.settings")


def main(root: Path = ROOT) -> int:
    lines = [
        line
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
        for line in findings(path, str(path.relative_to(root)))
    ]
    print("\n".join(lines) if lines else "Runs: one reader.")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
