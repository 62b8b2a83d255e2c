"""A model that has lost arithmetic and nothing else: the real answers of the built-in model and of
a fine-tune of it whose data has wrong sums (docs/guard.md has how it was made), scored again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.certificate import Check
from workshop.regression import result as results
from workshop.regression.expectation import in_words
from workshop.regression.probes import Probe, luthiers_probes
from workshop.regression.result import Item, Reply, Result
from workshop.regression.scorers import passes

_RECORDED = Path(__file__).with_name("recorded") / "wrong-sums.jsonl"


def _reply(probe: Probe, answer: dict[str, Any]) -> Reply:
    passed = passes(probe.expect, answer["text"], ended=answer["ended"])
    return Reply(answer["text"], passed)


def checks(*, arithmetic_of: str = "tuned") -> dict[str, Check]:
    """What a guard says of these answers; `arithmetic_of` "base" has the tuned model answer its
    sums as the base does."""
    items = []
    rows = {row["id"]: row for row in map(json.loads, _RECORDED.read_text().splitlines())}
    for probe in luthiers_probes():
        side = arithmetic_of if probe.family == "arithmetic" else "tuned"
        base, tuned = (_reply(probe, rows[probe.id][name]) for name in ("base", side))
        words = in_words(probe.expect)
        items.append(Item(probe.id, probe.family, probe.prompt, words, base, tuned))
    figures = results.figures(Result("r", "base", "wrong-sums", items, [], {}))
    return {check.name: check for check in results.checks(figures)}


def test_lost_arithmetic_is_red_by_that_name() -> None:
    of = checks()
    assert of["arithmetic"].verdict == "red"
    assert "0 of 23 items pass, 9 with the base" in of["arithmetic"].sentence
    families = ["instructions", "facts", "refusals", "language", "format", "length"]
    assert "red" not in [of[family].verdict for family in families]


def test_the_same_model_with_its_sums_is_not_red() -> None:
    assert "red" not in [check.verdict for check in checks(arithmetic_of="base").values()]
