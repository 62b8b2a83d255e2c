"""What the votes say so far: at once what is quickly told, then what a library fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message

from serve.votes import report
from serve.votes.next_pair import Pair
from serve.votes.report import Report
from tui.chat.vote_text import report_lines
from tui.shared.dialog import Dialog, DialogKeys
from tui.shared.hanging_text import HangingText
from tui.shared.key_line import KeyHint

_INDENT = 4  # of a line that is too long, below itself


@dataclass
class ReportReady(Message):
    report: Report
    full: bool


@dataclass(frozen=True)
class TrainOnVotes:
    """What comes after the votes. `with_named`: those that were not blind count, too."""

    with_named: bool


class VotesModal(Dialog[Pair | TrainOnVotes]):
    """Dismissed with what is to be done next, if anything is."""

    CSS_PATH = "modals.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "dismiss"),
        Binding("n", "named"),
        Binding("p", "pair"),
        Binding("t", "train"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._every = False
        self._next: Pair | None = None

    def compose(self) -> ComposeResult:
        with Vertical(id="votes") as dialog:
            dialog.border_title = "Votes"
            with VerticalScroll():
                yield HangingText(id="votes-text")
            yield DialogKeys(*self._hints())

    def _hints(self) -> list[KeyHint]:
        counted = "blind votes only" if self._every else "count named votes too"
        pair = [KeyHint("p", "p", "vote on the next pair")] if self._next else []
        return [
            KeyHint("t", "t", "train on them"),
            *pair,
            KeyHint("n", "n", counted),
            KeyHint("down", "up down", "scroll"),
        ]

    def on_mount(self) -> None:
        self._show(Content("Counting the votes."))
        self._count()

    def action_named(self) -> None:
        self._every = not self._every
        self.query_one(DialogKeys).show(self._hints())
        self._count()

    def action_pair(self) -> None:
        if self._next is not None:
            self.dismiss(self._next)

    def action_train(self) -> None:
        self.dismiss(TrainOnVotes(with_named=self._every))

    def _count(self) -> None:
        every = self._every

        def count() -> None:
            self.post_message(ReportReady(report.quick_report(every), full=False))
            self.post_message(ReportReady(report.full_report(every), full=True))

        self.run_worker(count, thread=True, exclusive=True, group="count", exit_on_error=False)

    def on_report_ready(self, message: ReportReady) -> None:
        if message.report.next_pair != self._next:
            self._next = message.report.next_pair
            self.query_one(DialogKeys).show(self._hints())
        lines = report_lines(message.report)
        if not message.full and message.report.duels:
            lines = [line for line in lines if "at equal length" not in line] + [
                "",
                "Fitting the lengths and the ratings.",
            ]
        self._show(Content("\n").join(_line(line) for line in lines))

    def _show(self, text: Content) -> None:
        self.query_one("#votes-text", HangingText).hang(text, _INDENT)


def _line(line: str) -> Content:
    if line.startswith("  decided"):
        return Content.styled(line, "bold")
    return Content(line) if line.startswith(" ") else Content.styled(line, "$primary")
