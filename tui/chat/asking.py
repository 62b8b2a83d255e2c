"""Asking: what the prompt box holds is sent, asked again, or asked in other words; and what is done
once the answers have ended."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content

from serve.chats.turns import Conversation, Failed, Turn
from serve.client import ContextExceeded
from tui.chat.context_modal import ContextChoice, ContextModal
from tui.chat.replaying import Replaying
from tui.chat.versions import Versions
from tui.chat.view import ChatView
from tui.key_bindings import key_of
from workshop.chat.session import ChatSession


class Asking:
    """What is sent to the models of a chat, and when."""

    def __init__(
        self, session: ChatSession, view: ChatView, versions: Versions, replaying: Replaying
    ) -> None:
        self._session = session
        self._view = view
        self._versions = versions
        self._replaying = replaying
        self.editing: Turn | None = None
        """The turn whose prompt the box holds, to be asked in other words."""
        self._announced_failures: set[str] = set()
        """The ids of answers whose chat was too long, and of which the user was asked."""

    def send(self) -> None:
        prompt = self._view.prompt.text.strip()
        if self._session.answering:
            self._view.notify("Still answering. esc stops it.", timeout=3)
        elif prompt and not self._session.reachable:
            self._view.notify(
                f"No server is running. {key_of('app.serve')} opens Serve; the prompt stays here.",
                severity="warning",
            )
        elif prompt and not any(pane.speaker for pane in self._session.panes):
            self._view.notify(
                f"No pane has a model: esc, then {key_of('chat.model')} chooses one.",
                severity="warning",
            )
        elif prompt:
            self._leave_out_silent_panes()
            self._send(prompt)

    def _leave_out_silent_panes(self) -> None:
        """Those for which no model was chosen: one hosted model can be talked to alone."""
        silent = [pane for pane in self._session.panes if pane.speaker is None]
        for pane in silent:
            self._session.remove_pane(pane)
        if silent:
            self._view.sides.active = 0
            self._view.show_sides()

    def _send(self, prompt: str) -> None:
        session = self._session
        was_replaying = self._replaying.replay is not None
        before = (session.chat.id, *session.panes)
        self._versions.chosen_turn = ""
        if self.editing is not None:
            turn = self.editing
            self.end_edit()
            asked = session.edit(turn, prompt)
        elif self._replaying.has_turn:
            asked = self._replaying.send(prompt)
        else:
            asked = session.send(prompt)
        self._view.prompt.text = ""
        self._view.sides.ask(asked)  # before anything is drawn
        if was_replaying or before != (session.chat.id, *session.panes):
            self._view.show_sides()
        else:
            self._view.set_looks()

    def retry(self, panes: Iterable[Conversation]) -> None:
        """Ask the last question of these panes again."""
        self._view.sides.ask(self._session.retry(panes))
        self._view.set_looks()

    # In other words

    def edit(self) -> None:
        """Put the chosen turn's prompt into the box; sending it asks all again from there."""
        answer = self._versions.chosen_answer
        assert answer is not None  # offered only then
        self.editing = answer.turn
        title = f"Turn {answer.turn.number} in other words: enter asks it again, esc leaves it"
        self._view.prompt.border_title = Content(title)
        self._view.prompt.write(answer.turn.prompt)
        self._view.prompt.focus()

    def end_edit(self) -> None:
        self.editing = None
        self._view.prompt.text = ""
        self._view.prompt.border_title = ""

    # Once the answers have ended

    def answers_ended(self) -> None:
        """A prompt that brought nothing from anybody returns to the box, unless something new
        stands there."""
        session = self._session
        if session.answering:
            return
        answers = [pane.last for pane in session.contestants if pane.last is not None]
        empty = [
            answer for answer in answers if isinstance(answer.state, Failed) and not answer.answered
        ]
        if empty and len(empty) == len(session.contestants) and not self._view.prompt.text:
            self._view.prompt.write(empty[0].turn.prompt)
        if not self._offer_room():
            self._replaying.offer_next()
        self._view.refresh_bindings()

    def _offer_room(self) -> bool:
        """Where chats are longer than their models can read: say how long, once, and let the user
        choose. False if none is."""
        errors = {
            pane: error
            for pane in self._session.contestants
            if (error := _context_exceeded(pane)) is not None
        }
        failures = {pane.last.id for pane in errors if pane.last is not None}
        if failures <= self._announced_failures:
            return False
        self._announced_failures |= failures
        self._view.prompt.text = ""
        names = ", ".join(self._session.name(pane) for pane in errors)
        longest = max(errors.values(), key=lambda error: error.used)
        can_forget = all(_can_forget(pane) for pane in errors)
        self._view.open_dialog(
            ContextModal(names, longest, can_forget),
            lambda choice: self._make_room(list(errors), choice),
        )
        return True

    def _make_room(self, panes: list[Conversation], choice: ContextChoice | None) -> None:
        if choice == "forget":
            for pane in panes:
                self._session.forget_oldest(pane)
            self._view.sides.ask(self._session.retry(panes))
            self._view.show_sides()
        elif choice == "new":
            self._session.clear()
            self._view.show_sides()


def _context_exceeded(pane: Conversation) -> ContextExceeded | None:
    """What the server said of a chat that its model cannot read."""
    state = pane.last.state if pane.last is not None else None
    if isinstance(state, Failed) and isinstance(state.error, ContextExceeded):
        return state.error
    return None


def _can_forget(pane: Conversation) -> bool:
    """Whether a pane has earlier turns that could be left out of what is sent."""
    return pane.last is not None and len(pane.last.chain) - 1 > pane.last.skipped
