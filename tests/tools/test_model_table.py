"""The table of architectures in docs/models.md is what bench/architectures.py measured."""

from __future__ import annotations

import json

from bench.tiny_models import ARCHITECTURES
from tools import model_table


def test_the_page_has_the_table() -> None:
    text = model_table.PAGE.read_text(encoding="utf-8")
    assert model_table.page() == text, "python tools/model_table.py"


def test_what_failed_is_named() -> None:
    """A row says "no" only with a reason below it."""
    results = json.loads(model_table.RESULTS.read_text(encoding="utf-8"))
    table = model_table.table(results)
    for name, stages in results["results"].items():
        row = next(line for line in table.splitlines() if line.startswith(f"| `{name}` |"))
        if "| no |" in row or "| none |" in row:
            assert f"* `{name}`, " in table, stages


def test_every_architecture_is_counted_once() -> None:
    """By how far it went."""
    results = json.loads(model_table.RESULTS.read_text(encoding="utf-8"))
    counted = model_table.table(results).split(" went through all stages")[0].splitlines()[-1]
    served = [stages for stages in results["results"].values() if stages["merged"] == "ok"]
    assert counted == f"{len(served)} of {len(ARCHITECTURES)}"
    nothing = model_table.table({**results, "results": {}})
    assert f"0 of {len(ARCHITECTURES)} went through all stages" in nothing
    assert f"; {len(ARCHITECTURES)} have no result yet." in nothing
