"""Preferences: every layout of pairs and verdicts, what is scored, and what is held out."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from jobs.luthier_error import LuthierError
from models.stored_sample import UNTRAINED
from tests.trainer.data.layout_table import Layout, layouts
from tests.trainer.data.stub import Run, check_books, prepared, settings, talk, write
from trainer.data.guard_rails import Figures, warnings
from trainer.data.pipeline import Refused
from trainer.data.policies import Policies, SpecialTexts
from trainer.data.reading import Reader
from trainer.data.split import Heldout
from trainer.objective import Scoring

pytestmark = pytest.mark.heavy

ASKED = [{"role": "user", "content": "Tune my lute."}]
GOOD, BAD = ("With pleasure.", "No.")
_NO_PAIRS = ("chain-pairs", "moss-pairs", "llama-factory-old-pairs")  # named for something else
PAIR_LAYOUTS = {
    name: layout
    for name, layout in layouts().items()
    if not layout.error
    and (
        name in ("hh-rlhf", "openai-preferences", "trl-explicit", "trl-implicit", "winner")
        or name in ("ultrafeedback-binarized", "completion-rejected", "orca-pairs")
        or name.startswith(("comparison-winner", "comparison-preference", "comparison-kaggle"))
        or (name.endswith("-pairs") and name not in _NO_PAIRS)
    )
}
KTO_LAYOUTS = {name: layout for name, layout in layouts().items() if name.startswith("kto-")}


def rows_of(layout: Layout, folder: Path, scoring: Scoring) -> list[Any]:
    path = folder / layout.file
    path.write_bytes(layout.rows.lstrip("\n").encode(layout.encoding))
    reader = Reader(layout.format, layout.policy, SpecialTexts(), scoring=scoring)
    return [*reader.rows(str(path))]


@pytest.mark.parametrize("layout", PAIR_LAYOUTS.values(), ids=PAIR_LAYOUTS)
def test_both_answers_of_every_layout_of_pairs(layout: Layout, tmp_path: Path) -> None:
    rows = [row for row in rows_of(layout, tmp_path, "pairs") if row.judged is not None]
    assert rows
    for row in rows:
        judged = row.judged
        better, worse = judged.messages, judged.rejected
        assert better[: judged.first] == worse[: judged.first]
        assert better[judged.first]["role"] == worse[judged.first]["role"] == "assistant"
        assert better[judged.first :] != worse[judged.first :]
        if better[-1]["content"] == GOOD:
            assert worse[-1]["content"] == BAD


@pytest.mark.parametrize("layout", KTO_LAYOUTS.values(), ids=KTO_LAYOUTS)
def test_verdicts_of_every_layout(layout: Layout, tmp_path: Path) -> None:
    rows = rows_of(layout, tmp_path, "verdicts")
    verdicts = {row.judged.messages[-1]["content"]: row.judged.is_good for row in rows}
    assert verdicts[GOOD]
    assert not verdicts[BAD]


def pair(prompt: str, better: str, worse: str | None, **extra: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": better, "rejected": worse, **extra}


def scored(line: dict[str, Any]) -> list[int]:
    return [label for label in line["labels"] if label != UNTRAINED]


def prepare(folder: Path, rows: list[Any], scoring: Scoring = "pairs", **keys: Any) -> Run:
    return prepared(
        folder / "out", settings(write(folder / "d.jsonl", rows), scoring=scoring, **keys)
    )


def test_only_the_answers_that_differ_are_scored(tmp_path: Path) -> None:
    history = [*ASKED, {"role": "assistant", "content": "which string"}]
    question = {"role": "user", "content": "the third one"}
    answers = [{"role": "assistant", "content": text} for text in ("gladly done", "no")]
    asked = [*history, question]
    pair_row = {"chosen": [*asked, answers[0]], "rejected": [*asked, answers[1]]}
    apart = {"prompt": asked, "chosen": answers[:1], "rejected": answers[1:]}
    for number, row in enumerate((pair_row, apart)):
        (tmp_path / str(number)).mkdir()
        (line,) = prepare(tmp_path / str(number), [row]).train
        assert line["turns"] == line["rejected"]["turns"] == [3]
        assert scored(line) == [16, 14, 5]
        assert scored(line["rejected"]) == [12, 5]
        first = len(line["labels"]) - 3
        assert line["input_ids"][:first] == line["rejected"]["input_ids"][:first]
        assert [message.get("weight") for message in line["messages"]] == [None, 0, None, None]


def test_what_is_left_out_and_why(tmp_path: Path) -> None:
    rows = [
        pair("a", "yes indeed", "no"),
        pair("b", "same", "same"),
        {"chosen": talk("Tune.", "x")["messages"], "rejected": talk("Sing.", "y")["messages"]},
        pair("d", "good", None),
        pair("e", " ".join(["long"] * 50), "short"),
        pair("a", "yes indeed", "no"),
        pair("a", "yes indeed", "never"),
    ]  # fmt: skip
    run = prepare(tmp_path, rows, max_length=30)
    assert [entry.state for entry in run.ledger] == [
        "kept", "dropped", "dropped", "dropped", "dropped", "dropped", "kept",
    ]  # fmt: skip
    reasons = [entry.reasons[-1] for entry in run.ledger[1:6]]
    assert reasons == ["rejected", "prompts_differ", "other_format", "too_long", "duplicates"]
    assert run.summary["preferences"]["pairs"] == 2
    assert run.summary["preferences"]["prompts"] == 1
    with pytest.raises(Refused):
        (tmp_path / "stop").mkdir()
        prepare(tmp_path / "stop", rows[:2], policy=Policies(rejected="stop"))


def test_all_pairs_of_a_prompt_are_held_out_together(tmp_path: Path) -> None:
    rows = [
        pair(f"prompt {number % 20}", f"better {number}", f"worse {number}") for number in range(80)
    ]
    run = prepare(tmp_path, rows, heldout=Heldout(share=0.2, at_least=1))
    prompts = [
        Counter(line["messages"][0]["content"] for line in part)
        for part in (run.train, run.heldout)
    ]
    assert not set(prompts[0]) & set(prompts[1])
    assert set(prompts[1].values()) == {4}
    assert len(prompts[1]) == 4


def test_prompts_of_held_out_files_that_are_trained_on_are_reported(tmp_path: Path) -> None:
    heldout = write(tmp_path / "h.jsonl", [pair("p1", "a b", "c"), pair("other", "a", "b")])
    run = prepare(
        tmp_path,
        [pair(f"p{number}", f"x {number}", "y") for number in range(5)],
        heldout=Heldout(files=[str(heldout)]),
    )
    assert run.summary["leaks"]["reported"] == 1


def test_pairs_are_two_verdicts_each(tmp_path: Path) -> None:
    run = prepare(tmp_path, [pair("a", "yes indeed", "no")], scoring="verdicts")
    assert [line["is_good"] for line in run.train] == [True, False]
    assert [scored(line) for line in run.train] == [[13, 16, 5], [12, 5]]
    check_books(run, 1)


def test_what_cannot_be_scored_is_refused_with_the_way_out(tmp_path: Path) -> None:
    verdict = {"prompt": "a", "completion": "b", "label": True}
    with pytest.raises(LuthierError, match="one answer with a verdict") as error:
        prepare(tmp_path, [verdict])
    assert 'kind = "kto"' in error.value.hint
    plain = {"messages": [*ASKED, {"role": "assistant", "content": GOOD}]}
    kinds: tuple[Scoring, ...] = ("pairs", "verdicts")
    for scoring in kinds:
        (tmp_path / scoring).mkdir()
        with pytest.raises(LuthierError, match="this objective needs"):
            prepare(tmp_path / scoring, [plain], scoring=scoring)


def test_votes_as_they_are_exported(tmp_path: Path) -> None:
    row = {
        "prompt": [*ASKED, {"role": "assistant", "content": "Which?", "weight": 0}, *ASKED],
        "chosen": [{"role": "assistant", "content": GOOD}],
        "rejected": [{"role": "assistant", "content": BAD}],
        "provenance": {"kind": "vote", "vote": "v1", "blind": True, "reason": "", "cast": 1.0},
    }
    (line,) = prepare(tmp_path, [row]).train
    assert line["turns"] == [3]
    assert json.dumps(line["rejected"]["messages"][-1]["content"]) == json.dumps(BAD)


def test_the_guard_rails_speak_in_figures() -> None:
    figures = Figures()
    for _ in range(90):
        figures.add_pair(30, 10)
    for _ in range(60):
        figures.add_pair(10, 10)
    (length,) = warnings(figures, "pairs")
    assert "longer in 90 of 150 pairs (60%; 22 against 10 tokens on average)" in length
    even = Figures()
    for number in range(200):
        even.add_pair(10 + number % 3, 11)
    assert warnings(even, "pairs") == []
    few = Figures(pairs=12, equal=3)
    assert ["Only 12 pairs" in text for text in warnings(few, "pairs")] == [True, False]
    assert "3 pairs have two equal answers" in warnings(few, "pairs")[1]
    assert "All 200 answers are called good" in warnings(Figures(good=200), "verdicts")[0]
    assert warnings(few, "turns") == []
