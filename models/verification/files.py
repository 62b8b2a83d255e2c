"""Whether the files of an export are the exported ones, by its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from models.certificate import Check
from models.export.manifest import MANIFEST_FILE, Manifest
from models.provenance import BASE_PARTS, file_changes

PAPERS = "papers"
_PARTS = {
    "chat template": ("*.jinja",),
    "weights": ("*.safetensors", "*.safetensors.index.json", "*.gguf", "*.bin", "*.pt", "*.pth"),
    "code": ("*.py",),
    "configuration": ("config.json", "generation_config.json", "adapter_config.json"),
    "tokenizer": BASE_PARTS["tokenizer"],
}
"""What changes an answer, by the names of its files; everything else is papers."""


def file_checks(folder: Path, manifest: Manifest | None, now: Mapping[str, str]) -> list[Check]:
    """A check of each part of the model: its files are there, as they were exported."""
    if manifest is None:
        return [
            Check(
                "files",
                "amber",
                f"There is no {MANIFEST_FILE}: an earlier version of Luthier exported this folder,"
                " so nothing says which files it had.",
            )
        ]
    checks = []
    for part in (*_PARTS, PAPERS):
        before = {name: hash_ for name, hash_ in manifest.files.items() if part_of(name) == part}
        present = {name: hash_ for name, hash_ in now.items() if part_of(name) == part}
        if not before and not present:
            continue
        changes = file_changes(before, present, folder)
        new = [name for name in present if name not in before]
        only_new_papers = part == PAPERS and len(new) == len(changes)
        checks.append(_check(part, len(before), changes, only_new_papers))
    return checks


def part_of(name: str) -> str:
    """Which part of a model a file is."""
    own_name = name.rpartition("/")[2]
    for part, patterns in _PARTS.items():
        if any(fnmatch(own_name, pattern) for pattern in patterns):
            return part
    return PAPERS


def _check(part: str, files: int, changes: list[str], only_new_papers: bool) -> Check:
    name = f"files, {part}"
    if not changes:
        count = "1 file" if files == 1 else f"{files} files"
        sentence = f"{count}, unchanged since the export."
        return Check(name, "green", sentence, 0, 0, 0, "differences")
    listed = ", ".join(changes[:3]) + (f" and {len(changes) - 3} more" if len(changes) > 3 else "")
    sentence = f"Since the export: {listed}."
    if only_new_papers:
        return Check(name, "amber", sentence, len(changes), 0, None, "differences")
    return Check(name, "red", sentence, len(changes), 0, 0, "differences")
