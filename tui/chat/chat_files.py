"""Parts of the chat screen: chats of before, files of prompts, copying and exporting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from textual.message import Message

from serve.chats import export, store
from serve.chats.search import words_of
from serve.chats.store import Chat
from serve.chats.turns import REFERENCE
from serve.replay import has_references
from tui.chat.chat_base import ChatBase
from workshop.chat.replay import Replay
from workshop.chat.session import MOST_PANES


@dataclass
class ChatRead(Message):
    """`words` are those that it was found by."""

    chat: Chat
    words: list[str]


class ChatFiles(ChatBase):
    # Chats of before

    def action_chats(self) -> None:
        from tui.chat.chats_modal import ChatsModal, ChosenChat

        def chosen(chat: ChosenChat | None) -> None:
            if chat is not None:
                self.in_background(
                    lambda: ChatRead(store.load(chat.id), words_of(chat.asked)),
                    group="read",
                    exclusive=True,
                )

        self.journal.flush(1.0)
        self.app.push_screen(ChatsModal(), chosen)

    def on_chat_read(self, message: ChatRead) -> None:
        if self.session.answering:
            return
        self.chosen_turn = ""
        if message.chat.id != self.session.chat.id:
            self.session.open(message.chat)
        held = self.session.chat.holding(message.words) if message.words else None
        if held is not None:
            pane, answer = held
            if all(one is not answer for one in pane.answers):
                self.session.show_version(pane, answer)
            self.chosen_turn = answer.turn.id
            self.sides.active = self.session.panes.index(pane)
        self.show_offered()
        if held is not None:
            self.call_after_refresh(self.sides.active_pane.transcript.reveal, self.chosen_turn)

    # Prompts from a file

    def action_replay(self) -> None:
        """Go through prompts that were written before, or end that."""
        if self.replay is not None:
            self._end_replay()
            return
        from tui.chat.replay_form import ReplayModal

        self.app.push_screen(
            ReplayModal(), lambda replay: self.begin_replay(replay) if replay else None
        )

    def begin_replay(self, replay: Replay) -> None:
        self.replay = replay
        session = self.session
        if not session.empty:
            session.clear()
        if (
            has_references(replay.scripts)
            and len(session.panes) < MOST_PANES
            and REFERENCE not in [pane.speaker for pane in session.panes]
        ):
            session.add_pane(REFERENCE)
        self.show_sides()
        self.offer_next()

    def _end_replay(self) -> None:
        self.replay = None
        for pane in [
            pane for pane in self.session.panes if pane.speaker == REFERENCE and not pane.answers
        ]:
            self.session.remove_pane(pane)
        self.prompt.text = ""
        self.notify("No more prompts from the file.", timeout=3)
        self.show_sides()

    def offer_next(self) -> None:
        """Put the next prompt of the file into the box, unless something else is being written
        there."""
        if self.replay is None or self.prompt.text:
            return
        script = self.replay.next_turn
        if script is None:
            self._end_replay()
            return
        self.prompt.text = script.prompt
        self.prompt.move_cursor(self.prompt.document.end)
        self.show_sides()

    def action_skip(self) -> None:
        """To the next conversation of the file."""
        assert self.replay is not None  # check_action offers it only then
        self.replay.skip(1 if self.replay.begins else 0 if self.replay.next_turn is None else 1)
        self.prompt.text = ""
        self.offer_next()

    # Copies

    def action_copy(self) -> None:
        answers = [
            (self.session.name(pane), pane.last.text)
            for pane in self.session.panes
            if pane.last is not None
        ]
        self._copy(
            "\n\n".join(f"## {name}\n\n{text}" for name, text in answers), "all last answers"
        )

    def action_copy_side(self) -> None:
        answer = self.chosen_answer
        if answer is not None:
            self._copy(answer.text, f"the answer of {self.session.name_of(answer)}")

    def _copy(self, text: str, what: str) -> None:
        self.app.copy_to_clipboard(text)
        self.notify(f"Copied {what}.", timeout=3)

    def action_export(self) -> None:
        from tui.shared.path_modal import PathModal

        def told(path: Path | None) -> None:
            if path is not None:
                self.notify(f"Written to {path}.")

        hint = (
            "A name in .md is for reading, one in .jsonl for data: one conversation a line, as"
            " training reads it."
        )
        proposed = Path.cwd() / export.default_name()
        self.app.push_screen(
            PathModal(
                "Export this chat",
                proposed,
                hint,
                lambda path: export.export(self.session.chat, path),
            ),
            told,
        )
