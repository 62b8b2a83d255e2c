"""Looking closer at answers: the lens over them, the words in which they differ, and what is
folded."""

from __future__ import annotations

from dataclasses import dataclass, replace

from textual.worker import Worker

from serve import lens
from serve.chats.turns import Answer, Conversation, Speaker
from serve.client import Endpoint
from tui.chat import marks as chat_marks
from tui.chat.marks import Marked
from tui.chat.versions import Versions
from tui.chat.view import ChatView
from workshop.chat.session import ChatSession


@dataclass(frozen=True)
class _Comparison:
    """Two models of one server and the answer that they are compared on. Each model is its label
    and the name that the server has for it."""

    answer: Answer
    endpoint: Endpoint
    base: tuple[str, str]
    tuned: tuple[str, str]


class Marking:
    """Marks that are drawn over the answers, until they are ended by the same key."""

    def __init__(self, session: ChatSession, view: ChatView, versions: Versions) -> None:
        self._session = session
        self._view = view
        self._versions = versions
        self._reading: Worker[None] | None = None
        """The models read the answers, for the lens."""

    def fold(self) -> None:
        """Show or fold reasoning and tool calls."""
        unfolded = not self._view.sides.active_pane.transcript.look.unfolded
        for pane in self._view.sides.panes:
            pane.transcript.use_look(replace(pane.transcript.look, unfolded=unfolded))

    # The lens

    @property
    def is_lens(self) -> bool:
        """Whether the lens is over the answers, or on its way there."""
        return self._reading is not None

    def toggle_lens(self) -> None:
        """Colour the answers by how much likelier the tuned model makes their tokens than the base,
        or end that."""
        if self.end():
            self._view.show_sides()
            return
        comparisons = [
            comparison
            for pane in self._session.contestants
            if (comparison := self._comparison(pane)) is not None
        ]
        if not comparisons:
            need = (
                "The lens needs the base and a tuned model on one of Luthier's servers, and an"
                " answer of one of them."
            )
            self._view.notify(need, severity="warning")
            return
        self._view.notify("The lens: both models read the answers.", timeout=3)
        self._reading = self._view.run_worker(
            self._read(comparisons), group="lens", exit_on_error=False
        )
        self._view.show_sides()

    def _comparison(self, pane: Conversation) -> _Comparison | None:
        """Base and tuned model for a pane: its own where it is tuned, else the first tuned one that
        has a pane, or is served."""
        reachable, answer = self._session.reachable, self._versions.chosen_in(pane)
        server = reachable.server
        if server is None or pane.speaker is None or pane.speaker.where:
            return None
        if answer is None or answer.answering or not answer.text:
            return None
        contestants = [contestant.speaker for contestant in self._session.contestants]
        tuned = _first_tuned([pane.speaker, *contestants, *server.speakers])
        if tuned is None:
            return None
        base = server.speakers[0]
        return _Comparison(
            answer,
            server.endpoint,
            (base.label, reachable.asked_as(base)[1]),
            (tuned.label, reachable.asked_as(tuned)[1]),
        )

    async def _read(self, comparisons: list[_Comparison]) -> None:
        for comparison in comparisons:
            (base_label, base), (tuned_label, tuned) = comparison.base, comparison.tuned
            answer = comparison.answer
            shifts = await lens.shifts(
                comparison.endpoint, base, tuned, answer.context(), answer.text
            )
            self._mark({answer.id: chat_marks.lens(shifts, base_label, tuned_label)})

    # The differences

    def toggle_differences(self) -> None:
        """Show which words of each answer the active pane's answer has not, or end that."""
        if self.end():
            self._view.show_sides()
            return
        marks = self._differences()
        if not marks:
            self._view.notify("There are no two answers to compare.", severity="warning", timeout=3)
        self._mark(marks)

    def _differences(self) -> dict[str, Marked]:
        """By id of an answer: its words that the active pane's answer has not; of that one, those
        that the first other answer has not."""
        answers = [
            (pane, answer)
            for pane in self._session.panes
            if (answer := self._versions.chosen_in(pane)) is not None and answer.text
        ]
        active = self._view.sides.conversation
        marks: dict[str, Marked] = {}
        for pane, answer in answers:
            against = [(rival, theirs) for rival, theirs in answers if rival is not pane]
            against.sort(key=lambda pair: pair[0] is not active)
            if against and against[0][1].turn.id == answer.turn.id:
                rival, theirs = against[0]
                name = self._session.name(rival)
                marks[answer.id] = chat_marks.own_words(answer.text, theirs.text, name)
        return marks

    # The marks

    def _mark(self, marks: dict[str, Marked]) -> None:
        for pane in self._view.sides.panes:
            answers = pane.conversation.answers
            marked = {answer.id: marks[answer.id] for answer in answers if answer.id in marks}
            if marked:
                look = pane.transcript.look
                pane.transcript.use_look(replace(look, marked={**look.marked, **marked}))

    def end(self) -> bool:
        """Draw the answers as they are again. False if they are."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        marked = [pane.transcript for pane in self._view.sides.all_panes]
        marked = [transcript for transcript in marked if transcript.look.marked]
        for transcript in marked:
            transcript.use_look(replace(transcript.look, marked={}))
        return bool(marked)


def _first_tuned(speakers: list[Speaker | None]) -> Speaker | None:
    return next(
        (speaker for speaker in speakers if speaker and speaker.kind in ("tuned", "checkpoint")),
        None,
    )
