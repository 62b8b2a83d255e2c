"""One pane of the chat: a frame with the model's name, its conversation, and the answer that flows
into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Region
from textual.message import Message
from textual.worker import Worker, WorkerState

from serve.chats.turns import (
    Answer,
    Complete,
    Conversation,
    Failed,
    Given,
    Halted,
    Interrupted,
    Waiting,
    Writing,
)
from tui.chat.transcript import Transcript
from tui.shared.failures import readable
from tui.shared.glyphs import glyphs
from tui.shared.steady_text import SteadyText
from workshop.chat.session import ChatSession


@dataclass
class FirstTextCame(Message):
    """The first token of a pane's answer is there."""

    pane: ChatPane


@dataclass
class AnswerEnded(Message):
    """An answer is complete, was stopped, or failed."""

    pane: ChatPane


class ChatPane(Vertical):
    """`position` counts from the left. When it is drawn is decided by
    `tui.chat.painting`."""

    def __init__(self, position: int, session: ChatSession) -> None:
        super().__init__(id=f"side-{position}", classes="pane")
        self.position = position
        self.title_text = ""
        self.conversation = Conversation()
        self.transcript = Transcript(self.conversation)
        self.context_length: int | None = None
        self._session = session
        self._worker: Worker[None] | None = None
        self._shown_state = ""
        self._only_edge = False

    def refresh(
        self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False
    ) -> Self:
        """A new text on the lower edge has that row drawn, not the whole frame: an answer's first
        token waits for it."""
        if self._only_edge and self.size:
            regions = (Region(-self.content_offset.x, self.size.height, self.outer_size.width, 1),)
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def compose(self) -> ComposeResult:
        yield SteadyText(classes="before")
        yield self.transcript

    def show(self, conversation: Conversation, before: Content, context_length: int | None) -> None:
        """Show a conversation, or `before` while it has no answers."""
        self.conversation, self.context_length = conversation, context_length
        self.query_one(".before", SteadyText).update(before)
        self.transcript.show(conversation)
        self.show_progress()

    def show_progress(self) -> None:
        """Show what has come, and whether more is coming."""
        state = self._state_text()
        if state != self._shown_state:
            self._shown_state = state
            self._only_edge = True
            self.border_subtitle = Content(state)
            self._only_edge = False
        self.set_class(not self.conversation.answers, "-empty")
        self.transcript.advance()

    def _state_text(self) -> str:
        last = self.conversation.last
        match last.state if last else None:
            case Waiting():
                return f"{glyphs().starting} waiting"
            case Writing():
                return f"{glyphs().running} writing"
            case Complete(figures) if not self.transcript.look.hidden:
                used = f"{figures.prompt_tokens + figures.completion_tokens:,}"
                if self.context_length is None:
                    return f"{used} tokens so far"
                return f"{used} of {self.context_length:,} tokens"
            case Complete() | Halted() | Failed() | Interrupted() | Given() | None:
                return ""

    # Answering

    def ask(self, conversation: Conversation) -> None:
        """Let the last answer of this conversation come, and show it from now on."""
        self.conversation = conversation
        answer = conversation.answers[-1]
        self._worker = self.run_worker(self._answer(answer), exclusive=True, exit_on_error=False)
        self.transcript.turn_to(conversation)
        self.transcript.follow()
        self.show_progress()

    async def _answer(self, answer: Answer) -> None:
        try:
            await self._session.streams.answer(
                answer, lambda: self.post_message(FirstTextCame(self))
            )
        finally:
            self.post_message(AnswerEnded(self))

    def stop(self) -> None:
        if self.conversation.answering and self._worker is not None:
            # a worker that is cancelled before its first step says and writes nothing
            self._session.halt([self.conversation])
            self._worker.cancel()
            self.post_message(AnswerEnded(self))

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """An answer that ended in an error nobody foresaw has failed like any other."""
        error = event.worker.error
        if event.worker is self._worker and event.state is WorkerState.ERROR and error is not None:
            self._session.streams.fail(self.conversation.answers[-1], readable(error))
            self.post_message(AnswerEnded(self))
