"""The chats of before: newest first, searched through everything that was asked and answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input
from textual.worker import Worker, WorkerState

from jobs.luthier_error import LuthierError
from serve.chats import search, store
from serve.chats.search import Hit, Summary
from tui.shared.confirm_modal import ConfirmModal
from tui.shared.glyphs import glyphs
from tui.shared.key_line import KeyHint
from tui.shared.pick_modal import Pick, PickModal
from workshop import number_format

_TYPING_SECONDS = 0.2


@dataclass
class ChatsFound(Message):
    """`asked` is the text that was searched for, empty for all chats."""

    asked: str
    picks: list[Pick[str]]


@dataclass(frozen=True)
class ChosenChat:
    """`asked` is the text that it was found by, empty where it was taken from the list."""

    id: str
    asked: str


class ChatsModal(PickModal[str, ChosenChat]):
    heading: ClassVar[str] = "Chats"
    placeholder: ClassVar[str] = "words that were asked or answered"
    narrows: ClassVar[bool] = False  # the database does
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+d,delete", "delete", priority=True)]
    hints: ClassVar[list[KeyHint]] = [
        KeyHint("enter", "enter", "open"),
        KeyHint("ctrl+d", "^d", "delete"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._typing: Timer | None = None
        self._found_by = ""

    def on_mount(self) -> None:
        self._look()

    def text_changed(self) -> None:
        """Look once the typing pauses."""
        if self._typing is not None:
            self._typing.stop()
        self._typing = self.set_timer(_TYPING_SECONDS, self._look)

    def _look(self) -> None:
        asked = self.query_one(Input).value.strip()

        def look() -> None:
            picks = (
                [_hit(hit) for hit in search.search(asked)]
                if asked
                else [_summary(chat) for chat in search.chats()]
            )
            self.post_message(ChatsFound(asked, picks))

        self.run_worker(look, thread=True, exclusive=True, group="search", exit_on_error=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.app.show_failure(event.worker.error)  # type: ignore[attr-defined]  # LuthierApp, which would import this module in a circle

    def on_chats_found(self, message: ChatsFound) -> None:
        note = ""
        if not message.picks and message.asked:
            note = "No prompt or answer contains all of these words."
        elif not message.picks:
            note = "No chats yet: they appear here as soon as you ask."
        self._found_by = message.asked
        self.set_picks(message.picks, note)

    def take(self) -> None:
        if self.highlighted is not None:
            self.dismiss(ChosenChat(self.highlighted.value, self._found_by))

    def action_delete(self) -> None:
        pick = self.highlighted
        if pick is None:
            return

        def answered(yes: bool | None) -> None:
            if yes:
                try:
                    store.remove(pick.value)
                except LuthierError as error:
                    self.app.show_failure(error)  # type: ignore[attr-defined]
                self._look()

        message = "With its answers and its votes. It cannot be brought back."
        self.app.push_screen(
            ConfirmModal("Delete this chat?", message, yes="delete", no="keep"), answered
        )


def _summary(chat: Summary) -> Pick[str]:
    models = "names hidden" if chat.blind else ", ".join(dict.fromkeys(chat.models))
    counts = f"{chat.turns} turn{'s' if chat.turns != 1 else ''}" + (
        f", {chat.votes} voted" if chat.votes else ""
    )
    line = Content.assemble(
        (f"{number_format.age(chat.updated):>8}  ", "$foreground-muted"),
        f"{_short(chat.title):<48} ",
        (f"{models}  {counts}", "$foreground-muted"),
    )
    return Pick(chat.id, line, chat.title)


def _short(title: str) -> str:
    return title if len(title) <= 48 else f"{title[:47]}{glyphs().ellipsis}"


def _hit(hit: Hit) -> Pick[str]:
    who = hit.speaker or "you"
    line = Content.assemble(
        (f"{number_format.age(hit.chat.updated):>8}  ", "$foreground-muted"),
        (f"{who[:14]:<14} ", "$primary"),
        hit.excerpt,
    )
    return Pick(hit.chat.id, line, hit.excerpt)
