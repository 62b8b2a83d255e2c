"""Voting without knowing who said what, and what the votes say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serve.chats.store import Vote
from serve.votes.next_pair import Pair
from tui.chat.view import ChatView
from tui.chat.vote_modal import Explained, Judgement, VoteModal
from tui.key_bindings import key_of
from workshop.chat.ballot import ballot_of, cast, explain
from workshop.chat.session import LETTERS, ChatSession

if TYPE_CHECKING:
    from tui.chat.votes_modal import TrainOnVotes


class Voting:
    """Judging the answers to the last turn, and hiding whose they are."""

    def __init__(self, session: ChatSession, view: ChatView) -> None:
        self._session = session
        self._view = view

    def vote(self) -> None:
        """Judge the answers to the last turn."""
        session, ballot = self._session, ballot_of(self._session)
        if ballot is None:
            self._view.notify(
                "A vote needs two complete answers to the last prompt.",
                severity="warning",
                timeout=4,
            )
            return
        votes: list[Vote] = []

        def judged(judgement: Judgement) -> None:
            votes.append(cast(session, ballot, judgement.verdict, judgement.letter))

        def explained(explained: Explained | None) -> None:
            if votes and explained is not None and explained.reason:
                explain(session, votes[0], explained.reason)
            if explained is not None and explained.shows_votes:
                self.show_statistics()
            elif votes:  # the next prompt is at hand
                self._view.prompt.focus()
                self._view.refresh_bindings()

        names = {letter: session.name_of(answer) for letter, answer in ballot.answers}
        self._view.open_dialog(VoteModal(names, judged), explained)

    def toggle_blind(self) -> None:
        """Hide the names and shuffle the models; in a chat that has begun, show them."""
        session = self._session
        if session.chat.blind and not session.empty:
            session.show_names()
            self._view.notify(
                f"{self._names()}. Votes in this chat are no longer blind. A new chat"
                f" ({key_of('chat.clear')}) is blind again.",
                timeout=8,
            )
        elif session.blind_mode:
            session.show_names()
            session.blind_mode = False
            self._view.notify("The names are visible.", timeout=3)
        else:
            session.hide_names()
            if session.chat.blind:
                message = "Blind: shuffled with the first prompt."
            else:
                message = f"Blind from the next new chat on ({key_of('chat.clear')})."
            self._view.notify(message, timeout=5)
        self._view.show_sides()

    def _names(self) -> str:
        """Whose letter is whose: "A captain, B base"."""
        return ", ".join(
            f"{letter} {pane.speaker.label}"
            for letter, pane in zip(LETTERS, self._session.contestants, strict=False)
            if pane.speaker
        )

    def show_statistics(self) -> None:
        from tui.chat.votes_modal import TrainOnVotes, VotesModal

        self._session.record.journal.flush(2.0)

        def answered(answer: Pair | TrainOnVotes | None) -> None:
            if isinstance(answer, TrainOnVotes):
                self._train(answer)
            elif answer is not None:
                self._pit(answer)

        self._view.open_dialog(VotesModal(), answered)

    def _train(self, wish: TrainOnVotes) -> None:
        """Plan a run on the votes."""
        from workshop.voted_data import draft_of_votes

        self._view.in_thread(lambda: draft_of_votes(wish.with_named), self._view.plan_run)

    def _pit(self, pair: Pair) -> None:
        """A blind chat between the two models that the votes decide soonest."""
        server = self._session.reachable.server
        served = {speaker.label: speaker for speaker in (server.speakers if server else ())}
        missing = [name for name in pair if name not in served]
        if missing:
            self._view.notify(
                f"The server has no {' and no '.join(missing)}: m in a pane loads a model.",
                severity="warning",
                timeout=6,
            )
            return
        self._session.blind_mode = True
        self._session.begin_chat([served[name] for name in pair])
        self._view.show_sides()
        self._view.notify("Blind: shuffled with the first prompt.", timeout=5)
