"""Parts of the chat screen: voting without knowing who said what, and what the votes say."""

from __future__ import annotations

from serve.chats.store import Vote
from tui.chat.chat_base import ChatBase
from tui.chat.vote_modal import Judgement, VoteModal
from workshop.chat.ballot import ballot_of, cast, explain


class ChatVotes(ChatBase):
    def action_vote(self) -> None:
        """Judge the answers to the last turn."""
        ballot = ballot_of(self.session)
        if ballot is None:
            self.notify(
                "A vote needs two complete answers to the last prompt.",
                severity="warning",
                timeout=4,
            )
            return
        votes: list[Vote] = []

        def judged(judgement: Judgement) -> None:
            votes.append(cast(self.session, ballot, judgement.verdict, judgement.letter))

        def explained(reason: str | None) -> None:
            if votes and reason:
                explain(self.session, votes[0], reason)
            if votes:
                self.after_vote()

        names = {letter: self.session.name_of(answer) for letter, answer in ballot.answers}
        self.app.push_screen(VoteModal(names, judged), explained)

    def after_vote(self) -> None:
        """The next prompt is at hand."""
        self.prompt.focus()
        self.refresh_bindings()

    def action_blind(self) -> None:
        """Hide the names and shuffle the models; in a chat that has begun, show them."""
        session = self.session
        if session.chat.blind and not session.empty:
            session.show_names()
            told = ", ".join(
                f"{letter} {pane.speaker.label}"
                for letter, pane in zip("ABCD", session.contestants, strict=False)
                if pane.speaker
            )
            self.notify(
                f"{told}. Votes in this chat are no longer blind; a new one (n) is.", timeout=8
            )
        elif session.blind_mode:
            session.show_names()
            session.blind_mode = False
            self.notify("Names are in sight.", timeout=3)
        else:
            session.hide_names()
            self.notify(
                "Blind from the next new chat on (n)."
                if not session.chat.blind
                else "Blind: shuffled with the first prompt.",
                timeout=5,
            )
        self.show_sides()

    def action_statistics(self) -> None:
        from tui.chat.votes_modal import VotesModal

        self.journal.flush(2.0)
        self.app.push_screen(VotesModal())
