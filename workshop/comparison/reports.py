"""The report that a comparison has left, read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import foreign_json
from jobs.foreign_json import Damaged
from serve.comparison.report import Table, tables
from serve.comparison.why_text import in_short

REPORT_JSON, REPORT_MARKDOWN, REPORT_HTML = "report.json", "report.md", "report.html"


@dataclass(frozen=True)
class Answer:
    """What a model said; `failed` is why it did not come to its end, "" if it did."""

    model: str
    text: str
    failed: str = ""


@dataclass(frozen=True)
class Question:
    """One prompt with all answers; `history` are the turns before it."""

    text: str
    history: str
    answers: tuple[Answer, ...]
    reference: str | None
    changes: tuple[str, ...] = ()
    """What the tuned answers do otherwise than the base's."""
    flipped: bool = False
    """Whether the result is another one, not only its look."""


@dataclass(frozen=True)
class Report:
    """`facts` say what was compared; `tables` are title, table and note of each part."""

    facts: tuple[tuple[str, str], ...]
    tables: tuple[tuple[str, Table, str], ...]
    questions: tuple[Question, ...]
    in_short: tuple[str, ...] = ()
    """Why base and tuned differ, in sentences; nothing in reports of earlier versions."""


def read_report(folder: Path) -> Report | None:
    """None where there is none yet. Damaged if it cannot be read."""
    path = folder / REPORT_JSON
    try:
        values = foreign_json.decode_object(path.read_bytes(), path, lenient=True)
    except FileNotFoundError:
        return None
    names = ("prompts", "sampling", "another seed", "red certificate")
    try:
        why = values.get("why") or {"models": {}}
        return Report(
            tuple((name, str(values[name])) for name in names if name in values),
            tuple(tables(values)),
            tuple(
                _question(row, list(values["models"]), number, why)
                for number, row in enumerate(values["rows"], start=1)
            ),
            tuple(in_short(why)),
        )
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise Damaged(path, f"it is not the report of a comparison ({error!r})") from error


def _question(row: dict[str, Any], models: list[str], number: int, why: dict[str, Any]) -> Question:
    *before, last = row["messages"]
    history = "\n\n".join(f"{turn['role']}: {turn.get('content') or ''}" for turn in before)
    answers = tuple(_answer(model, row["answers"].get(model)) for model in models)
    text, reference = str(last.get("content") or ""), row["reference"]
    tuned: dict[str, Any] = why["models"]
    return Question(
        text,
        history,
        answers,
        None if reference is None else str(reference),
        tuple(
            f"{name}: {change}" if len(tuned) > 1 else str(change)
            for name, of_model in tuned.items()
            for change in of_model["changes"].get(str(number), [])
        ),
        any(
            flip["question"] == number for of_model in tuned.values() for flip in of_model["flips"]
        ),
    )


def _answer(model: str, entry: dict[str, Any] | None) -> Answer:
    if entry is None:
        return Answer(model, "", "not asked yet")
    return Answer(model, str(entry.get("text") or ""), str(entry.get("error") or ""))
