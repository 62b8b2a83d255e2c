"""What all parts of the chat screen share: the session, its record, what can be asked, and the
widgets."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace

from textual import getters
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from jobs.errors import LuthierError
from serve.chats.journal import Journal
from serve.chats.store import Record
from serve.chats.turns import Answer, Conversation
from serve.client import Delta, Finished, stream_chat
from tui.chat.prompt_box import PromptBox
from tui.chat.sides import ChatSides
from tui.chat.text import settings_line
from tui.shared.screen import LuthierScreen
from workshop.chat.replay import Replay
from workshop.chat.server import ChatServer, Reachable, newest_server
from workshop.chat.session import ChatSession, Streamer

NO_SERVER = Content.from_markup("""[b]No server is running[/]

Base and tuned models talk here, side by side, once one is.

[$primary]3[/] opens Serve: start one there, and come back with [$primary]4[/].
[$primary]/[/] opens the chats of before, [$primary]m[/] names a hosted endpoint.""")


@dataclass
class Looked(Message):
    """Servers and settings were looked at."""

    reachable: Reachable


@dataclass
class WritingChanged(Message):
    """Chats cannot be written down, or (None) can be again."""

    problem: LuthierError | None


class ChatBase(LuthierScreen):
    """`find_server` and `stream` are what it talks to; tests and the picture bring their own."""

    prompt = getters.query_one("#prompt", PromptBox)
    sides = getters.query_one("#sides", ChatSides)

    def __init__(
        self,
        find_server: Callable[[], ChatServer | None] = newest_server,
        stream: Streamer = stream_chat,
    ) -> None:
        super().__init__()
        self.journal = Journal(lambda problem: self.post_message(WritingChanged(problem)))
        self.record = Record(self.journal)
        self.session = ChatSession(self.record)
        self.reachable = Reachable()
        self.looked = False
        self.replay: Replay | None = None
        self.chosen_turn = ""
        self._find_server = find_server
        self._stream = stream

    def show_offered(self) -> None:
        """Show the chat, or what is to be done or waited for first."""
        raise NotImplementedError

    @property
    def server(self) -> ChatServer | None:
        return self.reachable.server

    def compose_body(self) -> Iterable[Widget]:
        yield Static(id="no-server")
        yield ChatSides(self.record)
        yield Static(id="unsaved")
        yield PromptBox()

    @property
    def active(self) -> Conversation:
        return self.session.panes[self.sides.active]

    @property
    def chosen_answer(self) -> Answer | None:
        """The answer in the active pane to the turn that is chosen; without one, the last."""
        answers = self.active.answers
        return next(
            (answer for answer in answers if answer.turn.id == self.chosen_turn),
            answers[-1] if answers else None,
        )

    def show_sides(self) -> None:
        """Everything anew: the session, or who can be asked, has changed."""
        self.set_looks()
        self.sides.show(self.session, self.reachable)
        replaying = (
            f"{self.replay.name}: {self.replay.progress} {chr(0xB7)} " if self.replay else ""
        )
        self.prompt.border_subtitle = Content(replaying + settings_line(self.session.settings))
        self.refresh_bindings()

    def set_looks(self) -> None:
        """How each pane's answers are to be drawn now; drawn anew where that has changed."""
        for position, pane in enumerate(self.session.panes):
            transcript = self.sides.all_panes[position].transcript
            wanted = replace(
                transcript.look,
                hidden=self.session.chat.blind,
                chosen=self.chosen_turn,
                notes=self._notes(pane),
                versions=_versions(pane),
            )
            if wanted != transcript.look:
                transcript.look = wanted
                transcript.redraw()

    def _notes(self, pane: Conversation) -> dict[str, str]:
        """By id of the answer: what it continues, where that is not the answer above it."""
        notes: dict[str, str] = {}
        above: Answer | None = None
        for answer in pane.answers:
            lines = []
            if answer.parent is not above and answer.parent is not None:
                lines.append(f"continues from the answer of {self.session.name_of(answer.parent)}")
            elif above is not None and answer.parent is None:
                lines.append("begins anew")
            left_out = answer.skipped - (answer.parent.skipped if answer.parent else 0)
            if left_out > 0:
                lines.append(
                    f"from here on without the {answer.skipped} oldest"
                    f" turn{'s' if answer.skipped > 1 else ''}"
                )
            if more := len(answer.turn.messages) - 1:
                lines.append(f"after {more} more message{'s' if more > 1 else ''} of the file")
            if lines:
                notes[answer.id] = "\n".join(lines)
            above = answer
        return notes

    def ask(self, panes: Iterable[Conversation]) -> None:
        """Have the last turn of these panes answered, all at once."""
        for position, pane in enumerate(self.session.panes):
            if pane in panes:
                self.sides.ask(position, pane, self._answer_stream)
        # the footer is drawn after the first token, should that come at once
        self.set_timer(0.1, self.refresh_bindings)

    async def _answer_stream(self, answer: Answer) -> AsyncIterator[Delta | Finished]:
        endpoint, model = self.reachable.asked_as(answer.speaker)
        stream = self._stream(
            endpoint, model, answer.context(), answer.turn.settings.sampling, answer.turn.tools
        )
        async for item in stream:
            yield item

    # Writing down

    def on_mount(self) -> None:
        # A terminal that is closed, or a system that shuts down, says so first: what has come is
        # written.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._end)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)

    def on_unmount(self) -> None:
        for name in (signal.SIGHUP, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(name)
        self.session.halt()
        self.journal.close()

    def _end(self) -> None:
        self.session.halt()
        self.journal.flush(2.0)
        self.app.exit()

    def _hang_up(self) -> None:
        """The terminal is gone: nothing can be drawn any more, and whoever tries may wait for
        ever."""
        self.session.halt()
        self.journal.close()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGHUP)

    def stop_all(self) -> None:
        for pane in self.sides.panes:
            pane.stop()

    def on_writing_changed(self, message: WritingChanged) -> None:
        problem = message.problem
        line = self.query_one("#unsaved", Static)
        line.display = problem is not None
        if problem is not None:
            what_now = "What you see is kept in memory and written as soon as it can be."
            line.update(Content(f"Not saved: {problem.title}. {problem.message} {what_now}"))
        else:
            self.notify("The chat is saved again.", timeout=4)

    def unsaved(self) -> str:
        if self.journal.problem is None or self.journal.saved:
            return ""
        return (
            f"This chat is not saved ({self.journal.problem.message}) ^g writes it to a file"
            " elsewhere."
        )


def _versions(pane: Conversation) -> dict[str, str]:
    """ "2/3" by the id of each answer that has other versions."""
    return {
        one: f"{[version.id for version in same].index(one) + 1}/{len(same)}"
        for one, same in pane.versions().items()
    }
