"""The form of a new comparison: tuned models of one base, and the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Label, Static
from textual.widgets.selection_list import Selection

from jobs.files import expanded, why_no_file
from models.runs import Run
from tui.shared.certificate_badge import badge
from tui.shared.check_list import CheckList
from tui.shared.form import Field, FormModal, JobStarted
from tui.shared.key_line import KeyHint
from workshop import number_format
from workshop.comparison.compare import Order
from workshop.comparison.launch import start_comparison
from workshop.job_list import JobRow


class CompareForm(FormModal):
    """Dismissed with the id of the comparison's job. `runs` have something to serve, the newest
    first."""

    heading: ClassVar[str] = "Compare base and tuned"
    hints: ClassVar[list[KeyHint]] = [
        KeyHint("tab", "tab", "next field"),
        KeyHint("space", "space", "choose"),
        KeyHint("enter", "enter", "start"),
    ]

    def __init__(self, runs: Sequence[JobRow], ticked: Sequence[str] = ()) -> None:
        super().__init__()
        self.runs = runs
        self.ticked = ticked or [row.id for row in runs[:1]]

    def compose_fields(self) -> ComposeResult:
        with Horizontal(classes="field", id="tuned-field"):
            yield Label("tuned models")
            yield CheckList(
                *[Selection(_line(row), row.id, row.id in self.ticked) for row in self.runs],
                compact=True,
            )
        ready = any(_held_out(row) for row in self.runs)
        proposed = "the conversations that the run held out" if ready else "questions.jsonl"
        yield Field("prompts", "prompts", placeholder=proposed)
        hint = (
            "A file: JSON Lines with conversations, or a text with a prompt on each line. Without"
            " one, the first chosen run's conversations that it was not trained on."
        )
        yield Static(Content(hint), classes="hint")
        yield Field("limit", "only the first", placeholder="all prompts")
        yield Field("tokens", "longest answer", "512")
        yield Field("judge", "judge", placeholder="none; or MODEL@URL, MODEL@ENDPOINT")
        yield Field("by", "slice by", placeholder="no column; or several, with commas")
        yield Field("noise", "another seed", placeholder="none; or a run that differs by its seed")

    def submit(self) -> None:
        limit = (
            self.number_in("limit", least=1, integer=True) if self.field("limit").value else None
        )
        tokens = self.number_in("tokens", least=1, integer=True)
        selected = set(self.query_one(CheckList).selected)
        runs = [row for row in self.runs if row.id in selected]
        prompts = self.field("prompts").value
        path = expanded(prompts).absolute() if prompts else next(map(_held_out, runs), None)
        if path is None:
            self.field("prompts").show_error("which file? The run held nothing out")
        elif reason := why_no_file(path):
            self.field("prompts").show_error(reason)
        if self.query(".field.-wrong") or tokens is None:
            return
        order = Order(
            [row.id for row in runs],
            str(path),
            None if limit is None else int(limit),
            max_tokens=int(tokens),
            judge=self.field("judge").value,
            by=[name.strip() for name in self.field("by").value.split(",") if name.strip()],
            noise=self.field("noise").value,
        )

        def start() -> None:
            self.post_message(JobStarted(start_comparison(order).id))

        self.show_problem(Content.styled("Reading the prompts.", "$foreground-muted"))
        self.run_worker(start, thread=True, exclusive=True, group="start", exit_on_error=False)


def _held_out(row: JobRow) -> Path | None:
    """The conversations that a run was not trained on, if it has kept some."""
    path = Run(row.job).folder.heldout_samples
    return path if path.is_file() else None


def prompts_name(path: str) -> str:
    """A prompt file as a list shows it; the conversations that a run held out by these words."""
    if path.endswith("/data/" + Path(path).name) and Path(path).name.startswith("heldout"):
        return "held-out conversations"
    return Path(path).name


def _line(row: JobRow) -> Content:
    age = (f"  {number_format.steady_age(row.created)}  ", "$foreground-muted")
    return Content.assemble(row.job.short_id, age, badge(row.standing))
