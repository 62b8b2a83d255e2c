"""What a rescue leaves: the answers as an ordinary data file, where they come from, and a data card
for people."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from jobs.counting import counted
from jobs.files import write_atomic, write_json
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models import foreign
from serve.comparison.journal import Entry, Journal
from workshop.asking.asker import Outcome, is_answer
from workshop.rescue.order import Order
from workshop.rescue.questions import Question

ANSWERS_FILE = "answers.jsonl"
PROVENANCE_FILE = "provenance.json"
CARD_FILE = "README.md"
TERMS = (
    "Whether a provider's answers may train another model is for the provider's terms to say:"
    " check them."
)

_LEFT_OUT = {
    "length": "cut off at the longest answer that was asked for",
    "content_filter": "stopped by the provider's filter",
    "empty": "empty",
}


class Provenance(msgspec.Struct, frozen=True):
    """Where the answers of a folder come from."""

    model: str
    endpoint: str
    prompts: str
    prompts_sha256: str
    part: str
    sampling: dict[str, Any]
    questions: int = 0
    answered: int = 0
    rows: int = 0
    left_out: dict[str, int] = {}
    models_told: list[str] = []
    """The names that the endpoint gave to what answered."""
    first_answer: float = 0.0
    last_answer: float = 0.0

    @property
    def identity(self) -> tuple[Any, ...]:
        """Equal for folders that one rescue may write."""
        return (self.model, self.endpoint, self.prompts_sha256, self.part, self.sampling)


@dataclass
class Kept:
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def check_out(order: Order, base_url: str, questions: int) -> None:
    """LuthierError if the folder holds something else than this rescue's answers: nothing is
    overwritten silently."""
    folder = Path(order.out)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        before = foreign.read(folder / PROVENANCE_FILE, Provenance)
    except (OSError, Damaged):
        raise LuthierError(
            "The folder is in use",
            f"{folder} contains something other than answers of {order.model}.",
            "Choose another folder with --out.",
        ) from None
    if before.questions > questions:
        raise LuthierError(
            "The folder has more",
            f"{folder} holds answers to {before.questions:,} questions; these are {questions:,}.",
            "Choose another folder with --out.",
        )
    if before.identity != _provenance(order, base_url).identity:
        raise LuthierError(
            "The folder is in use",
            f"{folder} holds the answers of {before.model} to {before.prompts} ({before.part}),"
            " asked in another way.",
            "Choose another folder with --out.",
        )


def _provenance(order: Order, base_url: str, **counts: Any) -> Provenance:
    sampling = order.sampling.fields()
    identity = (order.model, base_url, order.prompts, order.prompts_sha256, order.part, sampling)
    return Provenance(*identity, **counts)


def keep(
    order: Order,
    base_url: str,
    questions: Sequence[Question],
    entries: Sequence[Entry | None],
    outcome: Outcome,
) -> Provenance:
    """Write the folder. The order of the rows is that of the questions."""
    folder = Path(order.out)
    folder.mkdir(parents=True, exist_ok=True)
    kept = rows_of(questions, entries)
    answers = [entry for entry in entries if entry is not None and is_answer(entry)]
    times = [float(entry["t"]) for entry in answers]
    names_told = sorted({str(entry["model"]) for entry in answers if entry.get("model")})
    provenance = _provenance(
        order,
        base_url,
        questions=len(questions),
        answered=len(answers),
        rows=len(kept.rows),
        left_out=dict(kept.left_out),
        models_told=names_told,
        first_answer=min(times, default=0.0),
        last_answer=max(times, default=0.0),
    )
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in kept.rows)
    write_json(folder / PROVENANCE_FILE, msgspec.to_builtins(provenance))
    write_atomic(folder / ANSWERS_FILE, "".join(lines))
    write_atomic(folder / CARD_FILE, _card(provenance, order, outcome))
    return provenance


def rows_of(questions: Iterable[Question], entries: Iterable[Entry | None]) -> Kept:
    """The conversations that end with an answer of the old model. Earlier answers in them are
    the file's, and have the weight 0: they are not trained."""
    kept = Kept()
    for question, entry in zip(questions, entries, strict=True):
        if entry is None or not is_answer(entry):
            continue
        answer = entry["message"]
        reason = entry["reason"]
        if not answer["content"].strip() and not answer.get("tool_calls"):
            reason = "empty"
        if reason in _LEFT_OUT:
            kept.left_out[reason] += 1
            continue
        context = [
            {**message, "weight": 0} if message["role"] == "assistant" else message
            for message in question.messages
        ]
        tools = {"tools": question.tools} if question.tools else {}
        kept.rows.append({"messages": [*context, answer], **tools, "source": question.source})
    return kept


def _card(provenance: Provenance, order: Order, outcome: Outcome) -> str:
    def day(seconds: float) -> str:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds)) if seconds else "never"

    sampling = ", ".join(f"{name} {value:g}" for name, value in provenance.sampling.items())
    names_told = f" (it calls itself {', '.join(provenance.models_told)})"
    cost = order.ceiling.cost_of(outcome.spent)
    facts = {
        "Model": provenance.model + (names_told if provenance.models_told else ""),
        "Endpoint": provenance.endpoint,
        "Asked": f"{day(provenance.first_answer)} to {day(provenance.last_answer)}",
        "Questions": f"{provenance.prompts}, {provenance.part}",
        "SHA-256 of that file": provenance.prompts_sha256,
        "Sampling": f"{sampling}; what is not named was left to the endpoint",
        "Answers": f"{provenance.answered:,} of {provenance.questions:,} questions",
        "Rows": f"{provenance.rows:,} in {ANSWERS_FILE}",
        "Tokens": f"{outcome.spent.prompt:,} in, {outcome.spent.completion:,} out",
        **({"Cost": f"{cost:.4g}, by the prices that were given"} if cost else {}),
    }
    left_out = [
        f"- Left out: {counted(count, 'answer')}, {_LEFT_OUT[reason]}"
        for reason, count in provenance.left_out.items()
    ]
    return "\n".join(
        [
            f"# Answers of {provenance.model}",
            "",
            "A conversation a line, as chat models are trained on them. Each ends with an answer of"
            " the model; earlier answers in it are those of the file that the questions come from,"
            " and have the weight 0.",
            "",
            *(f"- {name}: {value}" for name, value in facts.items()),
            *left_out,
            "",
            TERMS,
            "",
        ]
    )


def entries_of(
    order: Order, base_url: str, questions: Sequence[Question], journal: Journal
) -> list[Entry | None]:
    """What the cache has of each question."""
    return [journal.found.get(order.key(question, base_url)) for question in questions]
