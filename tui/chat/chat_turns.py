"""Parts of the chat screen: going from turn to turn, asking one again in other words, correcting an
answer, looking closer at one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from textual import on
from textual.content import Content
from textual.message import Message

from serve import lens
from serve.chats.turns import Answer, Conversation, Failed, Turn
from serve.client import ContextExceeded, Endpoint, stream_chat
from tui.chat import marks as chat_marks
from tui.chat.chat_base import ChatBase
from tui.chat.marks import Marked
from tui.chat.transcript import Transcript
from workshop.chat.server import ChatServer, newest_server
from workshop.chat.session import Streamer


@dataclass
class LensReady(Message):
    """The lens over one answer. `wanted` is the number of the request: older ones are late."""

    wanted: int
    answer_id: str
    marked: Marked


@dataclass(frozen=True)
class _Look:
    """Two models of one server and the answer that they are compared on."""

    answer: Answer
    endpoint: Endpoint
    base: tuple[str, str]
    tuned: tuple[str, str]


class ChatTurns(ChatBase):
    def __init__(
        self,
        find_server: Callable[[], ChatServer | None] = newest_server,
        stream: Streamer = stream_chat,
    ) -> None:
        super().__init__(find_server, stream)
        self.editing: Turn | None = None
        self._told: set[str] = set()
        self._wanted = 0

    # Which turn is meant

    def action_previous_turn(self) -> None:
        self._choose_turn(-1)

    def action_next_turn(self) -> None:
        self._choose_turn(1)

    def _choose_turn(self, step: int) -> None:
        answers, chosen = self.active.answers, self.chosen_answer
        if chosen is not None:
            place = max(
                0,
                min(
                    len(answers) - 1,
                    answers.index(chosen) + (step if self.chosen_turn else min(step, 0)),
                ),
            )
            self.choose_turn(answers[place].turn.id)

    @on(Transcript.TurnClicked)
    def turn_clicked(self, message: Transcript.TurnClicked) -> None:
        self.choose_turn(message.turn_id)

    def choose_turn(self, turn_id: str) -> None:
        self.chosen_turn = turn_id
        self.set_looks()
        self.sides.active_pane.transcript.reveal(turn_id)
        self.refresh_bindings()

    # What stood there before

    def action_previous_version(self) -> None:
        self._show_version(-1)

    def action_next_version(self) -> None:
        self._show_version(1)

    def _show_version(self, step: int) -> None:
        version = self.other_version(step)
        if version is not None:
            self.session.show_version(self.active, version)
            self.chosen_turn = version.turn.id if self.chosen_turn else ""
            self.show_sides()

    def other_version(self, step: int) -> Answer | None:
        """The version before or after the chosen answer of the active pane, if there is one."""
        answer = self.chosen_answer
        same = [] if answer is None else self.active.versions().get(answer.id, [])
        place = next((place for place, one in enumerate(same) if one is answer), 0) + step
        return same[place] if 0 <= place < len(same) else None

    # Edit and correct

    def action_edit(self) -> None:
        """Put the chosen turn's prompt into the box; sending it asks all again from there."""
        answer = self.chosen_answer
        assert answer is not None  # check_action offers it only then
        self.editing = answer.turn
        self.prompt.text = answer.turn.prompt
        title = f"Turn {answer.turn.number} in other words: enter asks it again, esc leaves it"
        self.prompt.border_title = Content(title)
        self.prompt.move_cursor(self.prompt.document.end)
        self.prompt.focus()

    def end_edit(self) -> None:
        self.editing = None
        self.prompt.text = ""
        self.prompt.border_title = ""

    def action_correct(self) -> None:
        from tui.chat.correct_modal import CorrectModal

        pane, answer = self.active, self.chosen_answer
        assert answer is not None  # check_action offers it only then

        def corrected(text: str | None) -> None:
            if text is not None and text != answer.text:
                self.session.correct(pane, answer, text)
                self.show_sides()
                self.notify(
                    "Corrected. `luthier votes export` makes training data of it.", timeout=5
                )

        self.app.push_screen(
            CorrectModal(self.session.name(pane), answer.turn.prompt, answer.text), corrected
        )

    def action_continue(self) -> None:
        """Every pane goes on from the active pane's last answer."""
        answer = self.active.last
        assert answer is not None  # check_action offers it only then
        self.session.continue_from(answer)
        self.notify(f"All go on from the answer of {self.session.name(self.active)}.", timeout=4)
        self.show_sides()

    # A model that has read enough

    def offer_room(self) -> bool:
        """Where chats are longer than their models can read: say how long, once, and let the user
        choose. False if none is."""
        from tui.chat.context_modal import ContextChoice, ContextModal

        full = [
            (pane, error)
            for pane in self.session.contestants
            if (error := _too_long(pane)) is not None
        ]
        failed = {pane.last.id for pane, _ in full if pane.last is not None}
        if not full or failed <= self._told:
            return False
        self._told |= failed
        self.prompt.text = ""

        def chosen(choice: ContextChoice | None) -> None:
            if choice == "forget":
                for pane, _ in full:
                    self.session.forget_oldest(pane)
                self.ask(self.session.retry([pane for pane, _ in full]))
                self.show_sides()
            elif choice == "new":
                self.session.clear()
                self.show_sides()

        can_forget = all(
            pane.last is not None and len(pane.last.chain) - 1 > pane.last.skipped
            for pane, _ in full
        )
        names = ", ".join(self.session.name(pane) for pane, _ in full)
        self.app.push_screen(
            ContextModal(
                names, max((error for _, error in full), key=lambda error: error.used), can_forget
            ),
            chosen,
        )
        return True

    # Looking closer

    def action_fold(self) -> None:
        """Show or fold reasoning and tool calls."""
        unfolded = not self.sides.active_pane.transcript.look.unfolded
        self.sides.look(lambda pane, look: replace(look, unfolded=unfolded))

    def action_lens(self) -> None:
        """Colour the answers by how much likelier the tuned model makes their tokens than the base,
        or end that."""
        if self._end_marks():
            return
        looks = [
            look for pane in self.session.contestants if (look := self._lens_on(pane)) is not None
        ]
        if not looks:
            why = (
                "The lens needs the base and a tuned model on one of Luthier's servers, and an"
                " answer of one of them."
            )
            self.notify(why, severity="warning")
            return
        self.notify("The lens: both models read the answers.", timeout=3)
        self.run_worker(self._take_looks(looks, self._wanted), group="lens", exit_on_error=False)

    def _lens_on(self, pane: Conversation) -> _Look | None:
        """Base and tuned model for a pane: its own where it is tuned, else the first tuned one that
        has a pane, or is served."""
        server, answer = self.server, self._chosen_in(pane)
        if (
            server is None
            or pane.speaker is None
            or pane.speaker.where
            or answer is None
            or answer.answering
            or not answer.text
        ):
            return None
        kinds = ("tuned", "checkpoint")
        others = [*(other.speaker for other in self.session.contestants), *server.speakers]
        tuned = next(
            (one for one in [pane.speaker, *others] if one is not None and one.kind in kinds), None
        )
        if tuned is None:
            return None
        names = [
            (one.label, self.reachable.asked_as(one)[1]) for one in (server.speakers[0], tuned)
        ]
        return _Look(answer, server.endpoint, names[0], names[1])

    async def _take_looks(self, looks: list[_Look], wanted: int) -> None:
        for look in looks:
            seen = await lens.shifts(
                look.endpoint, look.base[1], look.tuned[1], look.answer.context(), look.answer.text
            )
            self.post_message(
                LensReady(
                    wanted, look.answer.id, chat_marks.lens(seen, look.base[0], look.tuned[0])
                )
            )

    def on_lens_ready(self, message: LensReady) -> None:
        if message.wanted == self._wanted:
            self._mark({message.answer_id: message.marked})

    def action_differences(self) -> None:
        """Show which words of each answer the active pane's answer has not, or end that."""
        if self._end_marks():
            return
        shown = [
            (pane, answer)
            for pane in self.session.panes
            if (answer := self._chosen_in(pane)) is not None and answer.text
        ]
        measure = next(((pane, answer) for pane, answer in shown if pane is self.active), None)
        marks: dict[str, Marked] = {}
        for pane, answer in shown:
            against = (
                measure
                if measure is not None and pane is not self.active
                else next((one for one in shown if one[0] is not pane), None)
            )
            if against is not None and against[1].turn.id == answer.turn.id:
                marks[answer.id] = chat_marks.own_words(
                    answer.text, against[1].text, self.session.name(against[0])
                )
        if not marks:
            self.notify("There are no two answers to compare.", severity="warning", timeout=3)
        self._mark(marks)

    def _chosen_in(self, pane: Conversation) -> Answer | None:
        turn_id = self.chosen_turn or (
            self.session.chat.turns[-1].id if self.session.chat.turns else ""
        )
        return next((answer for answer in pane.answers if answer.turn.id == turn_id), None)

    def _mark(self, marks: dict[str, Marked]) -> None:
        for position, pane in enumerate(self.session.panes):
            mine = {answer.id: marks[answer.id] for answer in pane.answers if answer.id in marks}
            transcript = self.sides.all_panes[position].transcript
            if mine:
                transcript.look = replace(
                    transcript.look, marked={**transcript.look.marked, **mine}
                )
                transcript.redraw()

    def _end_marks(self) -> bool:
        """Draw the answers as they are again. False if they are."""
        self._wanted += 1
        self.workers.cancel_group(self, "lens")
        marked = [pane.transcript for pane in self.sides.all_panes if pane.transcript.look.marked]
        for transcript in marked:
            transcript.look = replace(transcript.look, marked={})
            transcript.redraw()
        return bool(marked)


def _too_long(pane: Conversation) -> ContextExceeded | None:
    """What the server said of a chat that its model cannot read."""
    state = pane.last.state if pane.last is not None else None
    return (
        state.error
        if isinstance(state, Failed) and isinstance(state.error, ContextExceeded)
        else None
    )
