"""Which turn of a chat is meant, and which of the answers that have stood in a place is shown
there."""

from __future__ import annotations

from serve.chats.turns import Answer, Conversation
from tui.chat.view import ChatView
from workshop.chat.session import ChatSession


class Versions:
    """The chosen turn and its answers in the active pane: their other versions, a person's
    correction, and continuing all panes from one of them."""

    def __init__(self, session: ChatSession, view: ChatView) -> None:
        self._session = session
        self._view = view
        self.chosen_turn = ""
        """The id of the turn that a user has chosen; empty while the last one is meant."""

    # Which turn is meant

    @property
    def chosen_answer(self) -> Answer | None:
        """The answer in the active pane to the turn that is chosen; without one, the last."""
        pane = self._view.sides.conversation
        return self._answer_to(pane, self.chosen_turn) or pane.last

    def chosen_in(self, pane: Conversation) -> Answer | None:
        """A pane's answer to the turn that is chosen; without one, to the last."""
        turns = self._session.chat.turns
        last_turn = turns[-1].id if turns else ""
        return self._answer_to(pane, self.chosen_turn or last_turn)

    def _answer_to(self, pane: Conversation, turn_id: str) -> Answer | None:
        return next((answer for answer in pane.answers if answer.turn.id == turn_id), None)

    def step(self, count: int) -> None:
        """Choose the turn before or after. The first step back chooses the one before the last."""
        answers, answer = self._view.sides.conversation.answers, self.chosen_answer
        if answer is None:
            return
        if not self.chosen_turn:
            count = min(count, 0)
        position = max(0, min(len(answers) - 1, answers.index(answer) + count))
        self.choose(answers[position].turn.id)

    def choose(self, turn_id: str) -> None:
        self.chosen_turn = turn_id
        self._view.set_looks()
        self._view.sides.active_pane.transcript.reveal(turn_id)
        self._view.refresh_bindings()

    # What stood there before

    def other(self, step: int) -> Answer | None:
        """The version before or after the chosen answer of the active pane, if there is one."""
        answer = self.chosen_answer
        if answer is None:
            return None
        versions = self._view.sides.conversation.versions().get(answer.id, [])
        positions = [index for index, version in enumerate(versions) if version is answer]
        position = (positions[0] if positions else 0) + step
        return versions[position] if 0 <= position < len(versions) else None

    def show(self, step: int) -> None:
        version = self.other(step)
        if version is not None:
            self._session.show_version(self._view.sides.conversation, version)
            self.chosen_turn = version.turn.id if self.chosen_turn else ""
            self._view.show_sides()

    def correct(self) -> None:
        """A person's own words in the place of the chosen answer."""
        from tui.chat.correct_modal import CorrectModal

        pane, answer = self._view.sides.conversation, self.chosen_answer
        assert answer is not None  # offered only then

        def corrected(text: str | None) -> None:
            if text is not None and text != answer.text:
                self._session.correct(pane, answer, text)
                self._view.show_sides()
                self._view.notify(
                    "Corrected. `luthier votes export` makes training data of it.", timeout=5
                )

        name = self._session.name(pane)
        self._view.open_dialog(CorrectModal(name, answer.turn.prompt, answer.text), corrected)

    def continue_all(self) -> None:
        """Continue every pane from the active pane's last answer."""
        pane = self._view.sides.conversation
        assert pane.last is not None  # offered only then
        self._session.continue_from(pane.last)
        self._view.notify(f"All continue from the answer of {self._session.name(pane)}.", timeout=4)
        self._view.show_sides()

    # What a pane says of them

    def labels(self, pane: Conversation) -> dict[str, str]:
        """ "2/3" by the id of each answer that has other versions."""
        labels: dict[str, str] = {}
        for answer_id, versions in pane.versions().items():
            position = [version.id for version in versions].index(answer_id)
            labels[answer_id] = f"{position + 1}/{len(versions)}"
        return labels

    def notes(self, pane: Conversation) -> dict[str, str]:
        """By id of the answer: what it continues, where that is not the answer above it."""
        notes: dict[str, str] = {}
        above: Answer | None = None
        for answer in pane.answers:
            lines = self._note(answer, above)
            if lines:
                notes[answer.id] = "\n".join(lines)
            above = answer
        return notes

    def _note(self, answer: Answer, above: Answer | None) -> list[str]:
        lines = []
        if answer.parent is not above and answer.parent is not None:
            lines.append(f"continues from the answer of {self._session.name_of(answer.parent)}")
        elif above is not None and answer.parent is None:
            lines.append("starts over")
        if answer.skipped > (answer.parent.skipped if answer.parent else 0):
            plural = "s" if answer.skipped > 1 else ""
            lines.append(f"from here on without the {answer.skipped} oldest turn{plural}")
        earlier_messages = len(answer.turn.messages) - 1
        if earlier_messages:
            plural = "s" if earlier_messages > 1 else ""
            lines.append(f"after {earlier_messages} more message{plural} of the file")
        return lines
