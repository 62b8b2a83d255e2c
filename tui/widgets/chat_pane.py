"""One side of the chat: a frame with the model's name, its conversation, and the answer that flows into it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from serve.client import Delta, Finished
from tui.chat_session import Complete, Conversation, Failed, Halted, Turn, Waiting, Writing, receive
from tui.failures import readable
from tui.glyphs import glyphs
from tui.widgets.transcript import Transcript


class FirstTextCame(Message):
    """The first token is shown at once; what follows waits for the next flush."""


class AnswerEnded(Message):
    """An answer is complete, was stopped, or failed."""


class ChatPane(Vertical):
    """`side` is 0 for the left pane, 1 for the right one."""

    def __init__(self, side: int, conversation: Conversation) -> None:
        super().__init__(id=f"side-{side}", classes="pane")
        self.side = side
        self.conversation = conversation
        self.transcript = Transcript(conversation)
        self._worker: Worker[None] | None = None
        self._shown_state = ""

    def compose(self) -> ComposeResult:
        yield Static(classes="before")
        yield self.transcript

    def show(self, conversation: Conversation, before: Content) -> None:
        """Show a conversation, or `before` while it has no turns."""
        self.conversation = conversation
        self.query_one(".before", Static).update(before)
        self.transcript.show(conversation)
        self.show_progress()

    def show_progress(self) -> None:
        """Show what has come, and whether more is coming."""
        state = self._state_text()
        if state != self._shown_state:  # setting it draws the whole frame again, the same text too
            self._shown_state = self.border_subtitle = state
        self.set_class(not self.conversation.turns, "-empty")
        self.transcript.advance()

    def _state_text(self) -> str:
        last = self.conversation.last
        match last.state if last else None:
            case Waiting():
                return f"{glyphs().starting} waiting"
            case Writing():
                return f"{glyphs().running} writing"
            case Complete(figures):
                return f"{figures.prompt_tokens + figures.completion_tokens} tokens so far"
            case Halted() | Failed() | None:
                return ""

    # Answering

    def ask(self, answer: AsyncIterator[Delta | Finished]) -> None:
        """Let `answer` flow into the last turn."""
        self._worker = self.run_worker(self._receive(self.conversation.turns[-1], answer), exclusive=True, exit_on_error=False)
        self.transcript.follow()
        self.show_progress()

    async def _receive(self, turn: Turn, answer: AsyncIterator[Delta | Finished]) -> None:
        try:
            await receive(turn, answer, lambda: self.post_message(FirstTextCame()))
        finally:
            self.post_message(AnswerEnded())

    def stop(self) -> None:
        if self.conversation.answering and self._worker is not None:
            self.conversation.turns[-1].halt()
            self._worker.cancel()
            self.post_message(AnswerEnded())  # a worker that is cancelled before its first step says nothing

    def on_first_text_came(self) -> None:
        self.show_progress()

    def on_answer_ended(self) -> None:
        self.show_progress()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """An answer that ended in an error nobody foresaw has failed like any other."""
        if event.worker is self._worker and event.state is WorkerState.ERROR and event.worker.error is not None:
            self.conversation.turns[-1].state = Failed(readable(event.worker.error))
            self.post_message(AnswerEnded())
