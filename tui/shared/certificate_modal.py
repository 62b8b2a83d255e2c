"""The page of a certificate: the claim in one sentence, a line for each chapter, and each of them
with its checks behind enter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.widgets import OptionList, Static

from jobs.home import jobs_directory
from jobs.luthier_error import LuthierError
from models.chapters import Chapter
from models.standing import Standing, of_chapter
from tui.shared.certificate_words import (
    COLUMNS,
    IDENTITY,
    WORDS,
    Proofs,
    certificate_text,
    chapter_text,
    claim,
    more,
    row_id,
    rows,
)
from tui.shared.dialog import Dialog, DialogKeys
from tui.shared.hanging_text import HangingText
from tui.shared.key_line import KeyHint
from tui.shared.row_table import RowTable
from tui.shared.styles import DIALOGS
from workshop.chapters import MAKERS

CHAT = "chat"
DRIFT = "drift"
_MARK = 2  # cells before the name of a check
_TITLES = 2  # lines of a table above its rows
_ROOM_FOR_UNITS = 100  # cells of the screen
_MAP = KeyHint("enter", "enter", "prompts and tokens")
_SCROLL = KeyHint("down", "up down", "scroll")
_BACK = KeyHint("escape", "esc", "back")


@dataclass(frozen=True)
class NextStep:
    """What is to be done: CHAT, or the kind of chapter (or IDENTITY) that is to be measured."""

    kind: str
    chapter: Chapter | None
    """The one on the chosen line: what is measured again, or which two models talk."""


class CertificateModal(Dialog[NextStep]):
    CSS_PATH = DIALOGS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", priority=True),
        Binding("left,backspace", "back"),
        Binding("c", f"finish('{IDENTITY}')"),
        Binding("a", f"finish('{CHAT}')"),
        # before the list of the chapters, for which g leads to its first line
        *(Binding(maker.key, f"finish('{maker.kind}')", priority=True) for maker in MAKERS),
    ]

    def __init__(self, read: Callable[[], Proofs]) -> None:
        """`read` reads files: make the dialog in a thread."""
        super().__init__()
        self._read = read
        self.proofs = read()
        self._opened = ""
        """The line whose checks are shown; "" while all lines are."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -certificate"):
            with Vertical(id="chapters"):
                yield Static(id="claim")
                yield RowTable(COLUMNS, "proofs")
                yield HangingText(id="in-full")
            with VerticalScroll(id="checks"):
                yield HangingText(id="certificate")
            yield DialogKeys()

    def on_mount(self) -> None:
        self.query_one("#checks").display = False
        self._show_lines()
        self.query_one(RowTable).options.focus()
        self._show()
        self.watch(self.app, "rows", self._jobs_read, init=False)

    def _jobs_read(self) -> None:
        if self.proofs.being_made:
            self._read_again()

    @work(thread=True, exclusive=True, exit_on_error=False)
    def _read_again(self) -> None:
        self.app.call_from_thread(self._take, self._read())

    def _take(self, proofs: Proofs) -> None:
        if proofs != self.proofs and self.is_attached:
            self.proofs = proofs
            self._show_lines()
            self._show()

    def _show_lines(self) -> None:
        self.query_one(".dialog").set_class(self.proofs.standing.verdict == "red", "-error")
        self.query_one("#claim", Static).update(claim(self.proofs))
        lines, table = rows(self.proofs), self.query_one(RowTable)
        table.styles.height = len(lines) + _TITLES
        table.show(lines)

    def on_resize(self, event: Resize) -> None:
        self._show()

    @on(OptionList.OptionHighlighted)
    def _follow_cursor(self) -> None:
        self._show()

    @property
    def selected_line(self) -> str:
        return self.query_one(RowTable).highlighted_id or IDENTITY

    def _show(self) -> None:
        if not self.query(RowTable):  # a message that came before it was composed, or as it closes
            return
        self.query_one("#chapters").display = not self._opened
        self.query_one("#checks").display = bool(self._opened)
        dialog = self.query_one(".dialog")
        dialog.border_title = self._title()
        dialog.set_class(self._standing.verdict == "red", "-error")
        if self._opened:
            indent = _MARK if self._opened == IDENTITY else 0
            self.query_one("#certificate", HangingText).hang(self._checks(self._opened), indent)
            self._show_keys_of_checks()
            self.call_after_refresh(self._show_keys_of_checks)  # it is known then what has room
            return
        self.query_one("#in-full", HangingText).hang(more(self.proofs, self.selected_line), 0)
        opens = [KeyHint("enter", "enter", "checks")] if self._can_open(self.selected_line) else []
        self.query_one(DialogKeys).show(
            [KeyHint("a", "a", "chat"), *opens, *self._measuring(self.selected_line)]
        )

    def _show_keys_of_checks(self) -> None:
        if self._opened and self.query(DialogKeys):
            opens_map = [_MAP] if self._opened == DRIFT else []
            scrolls = [_SCROLL] if self.query_one("#checks").max_scroll_y else []
            self.query_one(DialogKeys).show(
                [*opens_map, *scrolls, *self._measuring(self._opened)], leave=_BACK
            )

    def _title(self) -> Content:
        part = self._opened.partition(" ")[0]
        words = [(IDENTITY, IDENTITY), *WORDS.items()]
        title = next((f": {word}" for kind, word in words if kind == part), "")
        return Content(f"Certificate of {self.proofs.name}{title}")

    @property
    def _standing(self) -> Standing:
        """Of what is shown: of all lines, or of the one whose checks are open."""
        if self._opened == IDENTITY:
            return self.proofs.of_certificate
        chapter = self._chapter(self._opened)
        return self.proofs.standing if chapter is None else of_chapter(chapter)

    def _measuring(self, line_id: str) -> list[KeyHint]:
        """The key that measures a line, unless a job is doing so already."""
        kind = line_id.partition(" ")[0]
        again = " again" if self._can_open(line_id) else ""
        if kind in self.proofs.being_made:
            return []
        if kind == IDENTITY:
            return [KeyHint("c", "c", f"certify{again}")]
        return [
            KeyHint(maker.key, maker.key, f"measure{again}")
            for maker in MAKERS
            if maker.kind == kind
        ]

    def _can_open(self, line_id: str) -> bool:
        if line_id == IDENTITY:
            return self.proofs.certificate is not None
        return self._chapter(line_id) is not None

    def _checks(self, line_id: str) -> Content:
        units = self.app.size.width >= _ROOM_FOR_UNITS
        written = self.proofs.certificate
        if line_id == IDENTITY and written is not None:
            return certificate_text(written, self.proofs.of_certificate, units=units)
        chapter = self._chapter(line_id)
        assert chapter is not None  # only such lines open
        return chapter_text(chapter, units=units)

    def _chapter(self, line_id: str) -> Chapter | None:
        return next((each for each in self.proofs.chapters if row_id(each) == line_id), None)

    def entries(self) -> list[object]:
        return []

    def check_action(self, action: str, parameters: tuple[Any, ...]) -> bool | None:
        if action == "finish":
            return parameters[0] not in self.proofs.being_made
        return super().check_action(action, parameters)

    def action_open(self) -> None:
        if self._opened == DRIFT:
            self._open_map()
        if not self._opened and self._can_open(self.selected_line):
            self._opened = self.selected_line
            self._show()
            self.query_one("#checks").scroll_home(animate=False)
            self.query_one("#checks").focus()

    @work(thread=True, exit_on_error=False)
    def _open_map(self) -> None:
        """The prompts with their tokens, from the folder of the job that measured them."""
        from serve.drift import spill_map
        from tui.shared.drift_modal import DriftModal
        from tui.shared.error_modal import ErrorModal

        job = next(chapter.job for chapter in self.proofs.chapters if chapter.kind == DRIFT)
        dialog: Dialog[None] | ErrorModal
        try:
            dialog = DriftModal(self.proofs.name, spill_map.read(jobs_directory() / job))
        except LuthierError as error:
            dialog = ErrorModal(error, [])
        self.app.call_from_thread(self.app.push_screen, dialog)

    def action_back(self) -> None:
        if self._opened:
            self._opened = ""
            self._show()
            self.query_one(RowTable).options.focus()

    def action_close(self) -> None:
        if self._opened:
            self.action_back()
        else:
            super().action_close()

    def action_finish(self, kind: str) -> None:
        self.dismiss(NextStep(kind, self._chapter(self._opened or self.selected_line)))
