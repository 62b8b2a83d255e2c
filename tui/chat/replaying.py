"""Going through prompts that were written before, from a file or a run's held-out
conversations."""

from __future__ import annotations

from serve.chats.turns import REFERENCE, Conversation
from serve.replay import has_references
from tui.chat.view import ChatView
from workshop.chat.replay import Replay
from workshop.chat.session import MOST_PANES, ChatSession


class Replaying:
    """The file's next prompt stands in the box; sending it goes on to the one after."""

    def __init__(self, session: ChatSession, view: ChatView) -> None:
        self._session = session
        self._view = view
        self.replay: Replay | None = None

    @property
    def has_turn(self) -> bool:
        return self.replay is not None and self.replay.next_turn is not None

    @property
    def progress(self) -> str:
        """ "heldout.jsonl: 3 of 20"; empty where no prompts are gone through."""
        return f"{self.replay.name}: {self.replay.progress}" if self.replay else ""

    def toggle(self) -> None:
        """Go through prompts that were written before, or end that."""
        from tui.chat.replay_form import ReplayModal

        if self.replay is not None:
            self._end()
        else:
            self._view.open_dialog(ReplayModal(), self._chosen)

    def _chosen(self, replay: Replay | None) -> None:
        if replay is not None:
            self.begin(replay)

    def begin(self, replay: Replay) -> None:
        """Go through these prompts, in a chat of their own."""
        self.replay = replay
        session = self._session
        if not session.empty:
            session.clear()
        if (
            has_references(replay.scripts)
            and len(session.panes) < MOST_PANES
            and REFERENCE not in [pane.speaker for pane in session.panes]
        ):
            session.add_pane(REFERENCE)
        self._view.show_sides()
        self.offer_next()

    def _end(self) -> None:
        self.replay = None
        for pane in list(self._session.panes):
            if pane.speaker == REFERENCE and not pane.answers:
                self._session.remove_pane(pane)
        self._view.prompt.text = ""
        self._view.notify("No more prompts from the file.", timeout=3)
        self._view.show_sides()

    def offer_next(self) -> None:
        """Put the next prompt of the file into the box, unless something else is being written
        there."""
        if self.replay is None or self._view.prompt.text:
            return
        script = self.replay.next_turn
        if script is None:
            self._end()
            return
        self._view.prompt.write(script.prompt)
        self._view.show_sides()

    def send(self, prompt: str) -> list[Conversation]:
        """Ask the next turn of the file, in the words that the box has now. A conversation of the
        file is a chat of its own."""
        assert self.replay is not None
        if self.replay.begins and not self._session.empty:
            self._session.begin_chat()
        return self._session.send_turn(self.replay.take(prompt))

    def skip(self) -> None:
        """To the next conversation of the file."""
        assert self.replay is not None  # offered only then
        self.replay.skip(1)
        self._view.prompt.text = ""
        self.offer_next()
