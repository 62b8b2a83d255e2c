"""Writes the table of architectures into docs/models.md, from docs/models.json, which
bench/architectures.py makes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE, RESULTS = ROOT / "docs" / "models.md", ROOT / "docs" / "models.json"
sys.path.insert(0, str(ROOT))

from bench.tiny_models import ARCHITECTURES  # noqa: E402

BEGIN, END = "<!-- architectures: made by tools/model_table.py -->", "<!-- end -->"
_COLUMNS = ("mask", "train", "merge", "adapter", "merged")
# Part of what a stage said -> the reason behind it.
_REASONS = (
    (
        "Data-dependent assertion failed",
        "vLLM's router for CPUs knows no sigmoid for experts that are in no groups",
    ),
)


def table(results: dict[str, Any]) -> str:
    """The table, what is red or missing in it below, and what it was made with."""
    lines = [
        "| Architecture | Models | Mask | Train | Merge | Adapter in vLLM | Merged in vLLM"
        " | Certificate |",
        "|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for entry in ARCHITECTURES:
        stages = results["results"].get(entry.name)
        if stages is None:
            cells = ["not run", "", "", "", "", ""]
        else:
            cells = [_cell(stages, column) for column in _COLUMNS]
            cells.append(_verdict(stages))
            notes += _notes(entry.name, stages)
        experts = ", with experts" if stages is not None and stages["experts"] else ""
        lines.append(f"| `{entry.name}` | {entry.people}{experts} | {' | '.join(cells)} |")
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    origin = f"Made on {results['made']} with `{results['command']}` on a CPU: {versions}."
    return "\n".join([*lines, "", _count(results["results"]), "", *notes, "", origin])


def _count(results: dict[str, Any]) -> str:
    """How many went how far, in a sentence."""
    served = sum(stages["merged"] == "ok" for stages in results.values())
    unserved = sum(map(_is_unserved, results.values()))
    failed = len(results) - served - unserved
    missing = len(ARCHITECTURES) - len(results)
    counts = [
        f"{served} of {len(ARCHITECTURES)} went through all stages",
        *([f"{unserved} were trained and merged, and vLLM has not been run"] if unserved else []),
        *([f"{failed} could not be served here"] if failed else []),
        *([f"{missing} have no result yet"] if missing else []),
    ]
    return f"{'; '.join(counts)}."


def _cell(stages: dict[str, Any], column: str) -> str:
    outcome = stages[column]
    if outcome == "ok":
        losses = stages["losses"]
        return f"{losses[0]} to {losses[1]}" if column == "train" else "yes"
    if outcome:
        return "no"
    if column == "adapter" and stages["merged"] == "ok":
        return "merged instead"
    return "not run" if _is_unserved(stages) and column in ("adapter", "merged") else "-"


def _verdict(stages: dict[str, Any]) -> str:
    if _is_unserved(stages):
        return "not run"
    verdict = str(stages["certificate"])
    return verdict if verdict in ("green", "amber", "red") else "none"


def _is_unserved(stages: dict[str, Any]) -> bool:
    """Whether the walk ended after the merge (--no-serve)."""
    return stages["merge"] == "ok" and not stages["certificate"]


def _notes(name: str, stages: dict[str, Any]) -> list[str]:
    problems = [(column, stages[column]) for column in _COLUMNS if stages[column] not in ("", "ok")]
    verdict = stages["certificate"]
    if verdict not in ("", "green", "amber", "red"):
        problems.append(("certificate", verdict))
    elif stages["faults"]:
        problems.append((verdict, ", ".join(stages["faults"])))
    return [f"* `{name}`, {column}: {_reason(text)}" for column, text in problems]


def _reason(text: str) -> str:
    for part, reason in _REASONS:
        if part in text:
            return f"{reason}."
    lines = [line for line in text.splitlines() if "Error" in line] or text.splitlines()
    return lines[0][:240]


def page() -> str:
    """docs/models.md with the table as it is now."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, old = text.partition(BEGIN)
    _, _, after = old.partition(END)
    architectures = table(json.loads(RESULTS.read_text(encoding="utf-8")))
    return f"{before}{BEGIN}\n{architectures}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
