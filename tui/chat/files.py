"""Chats of before, copying answers, and exporting a chat to a file."""

from __future__ import annotations

from pathlib import Path

from serve.chats import export, store
from serve.chats.search import words_of
from serve.chats.store import Chat
from tui.chat.code_picker import CodeBlock, CodePicker, code_blocks
from tui.chat.versions import Versions
from tui.chat.view import ChatView
from workshop.chat.session import ChatSession


class Files:
    """What is read back from the database, and what leaves the app."""

    def __init__(self, session: ChatSession, view: ChatView, versions: Versions) -> None:
        self._session = session
        self._view = view
        self._versions = versions

    def choose_chat(self) -> None:
        from tui.chat.chats_modal import ChatsModal, ChosenChat

        def read(chat: ChosenChat | None) -> None:
            if chat is not None:
                self._view.in_thread(
                    lambda: store.load(chat.id),
                    lambda loaded: self.open_chat(loaded, words_of(chat.asked)),
                    group="read",
                    exclusive=True,
                )

        self._session.record.journal.flush(1.0)
        self._view.open_dialog(ChatsModal(), read)

    def open_chat(self, chat: Chat, words: list[str]) -> None:
        """Go on with a chat that was read back, at the answer that has these words."""
        session, sides, versions = self._session, self._view.sides, self._versions
        if session.answering:
            return
        versions.chosen_turn = ""
        if chat.id != session.chat.id:
            session.open(chat)
        match = session.chat.holding(words) if words else None
        if match is not None:
            pane, answer = match
            if not any(answer is version for version in pane.answers):
                session.show_version(pane, answer)
            versions.chosen_turn = answer.turn.id
            sides.active = session.panes.index(pane)
        self._view.show_offered()
        if match is not None:
            sides.call_after_refresh(sides.active_pane.transcript.reveal, versions.chosen_turn)

    def copy_all(self) -> None:
        """Copy the last answers of all panes."""
        texts = [
            f"## {self._session.name(pane)}\n\n{pane.last.text}"
            for pane in self._session.panes
            if pane.last is not None
        ]
        self._view.copy("\n\n".join(texts))
        self._view.notify("Copied all last answers.", timeout=3)

    def copy_one(self) -> None:
        """Copy the chosen answer of the active pane."""
        answer = self._versions.chosen_answer
        if answer is not None:
            self._view.copy(answer.text)
            speaker = self._session.name_of(answer)
            self._view.notify(f"Copied the answer of {speaker}.", timeout=3)

    @property
    def has_code(self) -> bool:
        answer = self._versions.chosen_answer
        return answer is not None and bool(code_blocks(answer.text))

    def copy_code(self) -> None:
        """Copy a block of code of the chosen answer of the active pane."""
        answer = self._versions.chosen_answer
        blocks = code_blocks(answer.text) if answer is not None else []

        def copy(block: CodeBlock | None) -> None:
            if block is not None:
                self._view.copy(block.text)
                self._view.notify("Copied the code.", timeout=3)

        if len(blocks) > 1:
            self._view.open_dialog(CodePicker(blocks), copy)
        elif blocks:
            copy(blocks[0])

    def export(self) -> None:
        from tui.shared.path_modal import PathModal

        def exported(path: Path | None) -> None:
            if path is not None:
                self._view.notify(f"Written to {path}.")

        hint = (
            "A name in .md is for reading, one in .jsonl for data: one conversation a line, as"
            " training reads it."
        )
        dialog = PathModal(
            "Export this chat",
            Path.cwd() / export.default_name(),
            hint,
            lambda path: export.export(self._session.chat, path),
        )
        self._view.open_dialog(dialog, exported)
