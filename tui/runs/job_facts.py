"""What came of a job that is no run, in a few lines: its verdict, what it wrote, and where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.content import Content

from jobs.job import Job
from jobs.state import Done, Failed, Lost, State, Stopped, Stopping
from models.certificate import SEVERITY
from models.runs import model_of
from models.standing import Standing
from tui.shared.certificate_badge import badge
from tui.shared.glyphs import glyphs
from tui.shared.phase_lines import Sign
from workshop import number_format

LABEL = 11  # cells before what a label stands for
_MUTED = "$foreground-muted"

KIND_WORDS = {
    "merge": "merge",
    "certify": "certificate",
    "import": "import",
    "export": "export",
    "compare": "comparison",
    "inspect": "look at data",
    "prepare": "preparation of the built-in model",
    "rescue": "rescue",
    "make": "conversations from documents",
    "recites": "chapter of the certificate: recites",
    "drift": "chapter of the certificate: drift",
    "reproduce": "reproduction",
    "guard": "chapter of the certificate: forgets",
}
"""What a job of each kind is called on its screen."""


def job_facts(job: Job, run: Job | None, state: State) -> Content:
    """A label and its value in each line; nothing where nothing can be said yet."""
    facts = [("run", Content(run.spec.name))] if run is not None else []
    model = model_of(job)
    if model:
        facts.append(("model", Content(model)))
    if isinstance(state, Done):
        facts += _of_result(state.result)
    return Content("\n").join(
        Content.assemble((f"{label:<{LABEL}}", _MUTED), value) for label, value in facts
    )


def _of_result(result: dict[str, Any]) -> list[tuple[str, Content]]:
    """Its fields are those of its worker, and of older ones."""
    facts = []
    if result.get("verdict") in SEVERITY:
        facts.append(("verdict", badge(Standing(result["verdict"]))))
    readers: list[tuple[str, str, Callable[[Any], str]]] = [
        ("summary", "in short", str),
        ("path", "folder", str),
        ("chapter", "file", str),
        ("certificate", "file", str),
    ]
    for field, label, text in readers:
        if isinstance(result.get(field), str):
            facts.append((label, Content(text(result[field]))))
    if isinstance(result.get("bytes"), int | float):
        facts.append(("size", Content(number_format.size(result["bytes"]))))
    reasons = result.get("reasons")
    for reason in reasons if isinstance(reasons, list) else []:
        facts.append(("", Content(str(reason))))
    return facts


def last_sign(state: State) -> Sign | None:
    """That of the last phase of a job that has ended; None while it goes on."""
    match state:
        case Done():
            return glyphs().done, "$success"
        case Failed():
            return glyphs().failed, "$error"
        case Lost():
            return glyphs().lost, "$error"
        case Stopped() | Stopping():
            return glyphs().stopped, _MUTED
        case _:
            return None
