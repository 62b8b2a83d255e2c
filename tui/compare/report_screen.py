"""The report of a comparison or a guard: a prompt at a time with all answers side by side, or all
figures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Resize
from textual.widget import Widget

from jobs.job import Job
from tui import key_bindings
from tui.compare.report_text import answer_columns, figures_text, question_text
from tui.shared.action import Handler, Place
from tui.shared.job_actions import start_guard
from tui.shared.screen import LuthierScreen
from tui.shared.steady_text import SteadyText
from tui.shared.text_pane import TextPane
from workshop.chat.replay import Replay
from workshop.chat_with_run import check_side_by_side
from workshop.comparison.reports import REPORT_MARKDOWN, Report
from workshop.regression.report import Guarded

_LEAST = 22  # cells of a column; with less room answers stand below each other


class ReportScreen(LuthierScreen):
    place: ClassVar[Place] = "report"
    CSS_PATH = "compare.tcss"
    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("report")
    AUTO_FOCUS = "TextPane"

    def __init__(self, job: Job, report: Report, guarded: Guarded | None = None) -> None:
        """`guarded` is what the report of a guard is about: its figures come first, and its prompts
        are the flips."""
        super().__init__()
        self.job, self.report, self.guarded = job, report, guarded
        self.index = 0
        self.with_differences = False
        self.with_figures = guarded is not None
        has_several = len(report.questions) > 1
        self.handlers = {
            "turn": Handler(self._turn, lambda: has_several and not self.with_figures),
            "flip": Handler(
                self._next_flip,
                lambda: not self.with_figures and any(q.flipped for q in report.questions),
            ),
            "differences": Handler(self._mark_differences, lambda: not self.with_figures),
            "figures": Handler(self._turn_over, lambda: bool(report.questions)),
            "chat": Handler(self._chat, lambda: self.guarded is not None and not self.with_figures),
            "again": Handler(self._guard_again, lambda: self.guarded is not None),
            "copy": Handler(self._copy),
        }

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="report"):
            yield SteadyText(id="question")
            yield TextPane(_LEAST)

    def on_mount(self) -> None:
        self.show()

    def on_resize(self, event: Resize) -> None:
        self.call_after_refresh(self.show)

    def show(self) -> None:
        head, pane = self.query_one("#question", SteadyText), self.query_one(TextPane)
        questions = self.report.questions
        if self.with_figures or not questions:
            name = (self.job.spec.name, "bold")
            head.update(Content.assemble(name, ("   figures", "$foreground-muted")))
            pane.show(figures_text(self.report, pane.scrollable_content_region.width or 80))
        else:
            question = questions[self.index]
            head.update(question_text(question, self.index + 1, len(questions)))
            pane.show(*answer_columns(question, self.with_differences))
        self.refresh_hints()

    def _turn(self, step: int) -> None:
        """Another prompt, around the ends."""
        self.index = (self.index + step) % len(self.report.questions)
        self.query_one(TextPane).scroll_home(animate=False)
        self.show()

    def _next_flip(self) -> None:
        """The next prompt whose result has changed, around the end."""
        questions = self.report.questions
        steps = range(1, len(questions) + 1)
        self._turn(next(s for s in steps if questions[(self.index + s) % len(questions)].flipped))

    def _mark_differences(self) -> None:
        self.with_differences = not self.with_differences
        self.show()

    def _turn_over(self) -> None:
        self.with_figures = not self.with_figures
        self.query_one(TextPane).scroll_home(animate=False)
        self.show()

    def _chat(self) -> None:
        """Go through the prompts in the chat, from this one on, with the models that were
        compared."""
        guarded = self.guarded
        assert guarded is not None
        run, against = guarded.run, guarded.against
        replay = Replay(f"flips of {run.name}", guarded.flips, self.index)
        other = None if against is None else against.job
        self.in_thread(
            lambda: check_side_by_side(run, against),
            lambda _: self.app.call_later(self.app.journey.chat_with, run.job, replay, other),
            group="chat",
            exclusive=True,
        )

    def _guard_again(self) -> None:
        if self.guarded is not None:
            start_guard(self, self.guarded.run, self.job)

    def _copy(self) -> None:
        path = self.job.directory / REPORT_MARKDOWN
        self.app.copy_to_clipboard(str(path))
        self.notify(f"Copied {path}", markup=False)
