"""The answers of the old model that a new one can be held against: it was not trained on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs.luthier_error import LuthierError
from models.runs import Run
from serve.comparison.items import Item
from serve.comparison.journal import Entry
from workshop.asking.asker import is_answer
from workshop.rescue.kept import rows_of
from workshop.rescue.questions import Question, said, trained_questions


@dataclass
class Held:
    """`items` have the old model's answers as their references."""

    items: list[Item] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def held_against(run: Run, questions: Sequence[Question], entries: Sequence[Entry | None]) -> Held:
    """LuthierError if nothing is left that the run was not trained on."""
    samples = run.folder.train_samples
    trained = trained_questions(samples) if samples.is_file() else frozenset()
    comparison = Held()
    for question, entry in zip(questions, entries, strict=True):
        if entry is None or not is_answer(entry):
            comparison.left_out["without an answer"] += 1
        elif question.identity in trained:
            comparison.left_out["trained on"] += 1
        elif question.tools or entry["message"].get("tool_calls"):
            comparison.left_out["with tools"] += 1
        elif not rows_of([question], [entry]).rows:
            comparison.left_out["empty or cut off"] += 1
        else:
            comparison.items.append(Item(tuple(question.messages), said(entry["message"])))
    if not comparison.items:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in comparison.left_out.items())
        raise LuthierError(
            "Nothing to compare",
            f"{run.id} cannot be held against any of the questions: {reasons}.",
            "Ask questions that it was not trained on: --prompts FILE, or --data FILE without"
            " --all.",
        )
    return comparison
