"""The chat on the screen: its panes are asked the same things, and everything that happens is
written down. Knows nothing of the screen."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from serve.chats.store import Chat, Record
from serve.chats.turns import (
    REFERENCE,
    Answer,
    ChatSettings,
    Complete,
    Conversation,
    Failed,
    Given,
    Speaker,
    Turn,
    new_id,
)
from serve.client import ContextExceeded, stream_chat
from serve.replay import ScriptTurn
from workshop.chat.server import Reachable
from workshop.chat.streams import AnswerStreams, Streamer

MOST_PANES = 4
LETTERS = "ABCD"


class ChatSession:
    """A chat, what can be asked in it, and the streams of its answers. `stream` is how a model is
    asked; tests and the picture bring their own."""

    def __init__(
        self,
        record: Record,
        stream: Streamer = stream_chat,
        draw_seed: Callable[[], int] = lambda: random.SystemRandom().randrange(2**31),
    ) -> None:
        self.record = record
        self.streams = AnswerStreams(record, stream, lambda who: self.reachable.asked_as(who))
        self.chat = Chat(panes=[Conversation(), Conversation()])
        self.reachable = Reachable()
        """What can be asked now."""
        self.blind_mode = False
        """Each new chat begins with its models shuffled and unnamed."""
        self._earlier: Chat | None = None
        self._draw_seed = draw_seed
        self._shuffle: Callable[[list[Conversation]], None] = random.SystemRandom().shuffle

    @property
    def panes(self) -> list[Conversation]:
        return self.chat.panes

    @property
    def contestants(self) -> list[Conversation]:
        """The panes in which a model speaks."""
        return [pane for pane in self.panes if pane.speaker != REFERENCE]

    @property
    def settings(self) -> ChatSettings:
        return self.chat.settings

    @property
    def answering(self) -> bool:
        return any(pane.answering for pane in self.panes)

    @property
    def empty(self) -> bool:
        return not any(pane.answers for pane in self.panes)

    @property
    def can_clear(self) -> bool:
        return not self.answering and not (self.empty and self._earlier is None)

    def name(self, pane: Conversation) -> str:
        """How a pane is called: its model, or its letter while the names are hidden."""
        if self.chat.blind and pane.speaker != REFERENCE:
            return LETTERS[self.panes.index(pane)]
        return pane.speaker.label if pane.speaker else "no model"

    def name_of(self, answer: Answer) -> str:
        """How the speaker of an answer is called, also of one that stands in another pane now."""
        pane = next((pane for pane in self.panes if answer in pane.answers), None)
        if pane is None or not self.chat.blind:
            return "an earlier model" if self.chat.blind else answer.speaker.label
        return self.name(pane)

    # Asking

    def send(self, prompt: str) -> list[Conversation]:
        """Ask all models. Returns the panes that now wait for an answer."""
        return self.send_turn(ScriptTurn(({"role": "user", "content": prompt},)))

    def send_turn(self, script: ScriptTurn) -> list[Conversation]:
        """Ask all models a turn that was read from a file; a reference answer stands in its pane at
        once."""
        if self.empty and self.chat.blind:
            self._deal()
        settings = self._seeded(None)
        if script.system is not None:
            settings = replace(settings, system=script.system)
        number = max((turn.number for turn in self.chat.turns), default=0) + 1
        turn = Turn(new_id(), number, script.messages, settings, script.tools, script.source)
        return self._begin(turn, self.contestants, script.reference)

    def edit(self, turn: Turn, prompt: str) -> list[Conversation]:
        """Ask a turn again in other words. What came after it is left behind, and stays in the
        database."""
        number = turn.number
        last = {**turn.messages[-1], "content": prompt}
        edited = Turn(
            new_id(),
            number,
            (*turn.messages[:-1], last),
            self._seeded(turn.settings),
            turn.tools,
            turn.source,
            edits=turn.id,
        )
        later = {other.id for other in self.chat.turns if other.number >= number}
        for pane in self.panes:
            pane.keep_before(later)
        return self._begin(edited, self.contestants, None)

    def _begin(
        self, turn: Turn, panes: list[Conversation], reference: str | None
    ) -> list[Conversation]:
        answers = [pane.begin(turn) for pane in panes]
        if reference is not None:
            answers += [
                pane.give(turn, reference) for pane in self.panes if pane.speaker == REFERENCE
            ]
        self.record.begun(self.chat, answers)
        return panes

    def retry(self, panes: Iterable[Conversation]) -> list[Conversation]:
        """Ask the last question of these panes again, with the settings of now. Returns those that
        had one.

        An answer that was complete gets a new seed, or it would come out the same; the same new one
        in every pane. One that failed or was stopped keeps its seed, so that it still compares with
        the others.
        """
        asked = [
            pane
            for pane in panes
            if pane.last is not None and not isinstance(pane.last.state, Given)
        ]
        complete = any(isinstance(pane.answers[-1].state, Complete) for pane in asked)
        seeds: dict[str, Turn] = {}
        answers = []
        for pane in asked:
            old = pane.drop_last()
            before = old.parent.skipped if old.parent is not None else 0
            pane.skip_next = max(pane.skip_next, old.skipped - before)
            turn = seeds.get(old.turn.id)
            if turn is None:
                system = old.turn.settings.system if old.turn.source else self.settings.system
                settings = replace(
                    self._seeded(None if complete else old.turn.settings), system=system
                )
                turn = seeds[old.turn.id] = replace(old.turn, settings=settings)
            answers.append(pane.begin(turn))
        self.record.begun(self.chat, answers)
        return asked

    def _seeded(self, earlier: ChatSettings | None) -> ChatSettings:
        seed = self.settings.sampling.seed
        if seed is None:
            seed = earlier.sampling.seed if earlier else self._draw_seed()
        return replace(self.settings, sampling=replace(self.settings.sampling, seed=seed))

    def halt(self, panes: Iterable[Conversation] | None = None) -> None:
        """What has come to the answers of these panes (else of all) is all of it."""
        for pane in self.panes if panes is None else panes:
            if pane.last is not None and pane.last.answering:
                pane.last.halt()
                self.record.ended(pane.last)

    def continue_from(self, answer: Answer) -> None:
        """Have every pane go on from this answer: the next prompt finds the same conversation
        everywhere."""
        for pane in self.panes:
            pane.head = answer
        self.record.layout(self.chat)

    def correct(self, pane: Conversation, answer: Answer, text: str) -> None:
        """A person's own words in the place of an answer; the conversation goes on from them."""
        corrected = Answer(
            answer.turn,
            answer.speaker,
            answer.parent,
            Given(),
            skipped=answer.skipped,
            corrects=answer.corrects or answer.id,
        )
        corrected.pieces = [text]
        pane.replace(answer, corrected)
        self.record.begun(self.chat, [corrected])

    def show_version(self, pane: Conversation, answer: Answer) -> None:
        """Show an answer of before in its place. Where its turn was asked in other words since, the
        other panes go back with it."""
        pane.show(answer)
        turn_id = answer.turn.id
        for other in self.panes:
            if all(theirs.turn.id != turn_id for theirs in other.answers):
                versions = [left for left in other.left if left.turn.id == turn_id]
                if versions:
                    other.show(max(versions, key=lambda version: version.created))
        self.record.layout(self.chat)

    def forget_oldest(self, pane: Conversation) -> int:
        """Leave out as many of the oldest turns of a pane as its model has no room for, from the
        next question on: how many."""
        failed = pane.last
        assert failed is not None and isinstance(failed.state, Failed)
        earlier = failed.chain[:-1][failed.skipped :]
        error = failed.state.error
        excess = 0
        if isinstance(error, ContextExceeded) and error.used:
            excess = (
                error.used
                - error.limit
                + min(failed.turn.settings.sampling.max_tokens, error.limit // 4)
            )
        count = next(
            (n for n, answer in enumerate(earlier, 1) if _tokens_so_far(answer) >= excess),
            len(earlier),
        )
        forgotten = min(len(earlier), max(1, count))
        skipped_before = failed.parent.skipped if failed.parent else 0
        pane.skip_next = forgotten + failed.skipped - skipped_before
        return forgotten

    # Chats and panes

    def clear(self) -> None:
        """A new chat with the same models and settings. From one that is still empty: back to the
        one before."""
        if not self.empty:
            self._earlier = self.chat
            self.begin_chat()
        elif self._earlier is not None:
            self.chat, self._earlier = self._earlier, None

    def begin_chat(self, speakers: Sequence[Speaker] | None = None) -> None:
        """Between these, or the models of now."""
        speaking = [pane.speaker for pane in self.panes] if speakers is None else speakers
        panes = [Conversation(speaker) for speaker in speaking]
        self.chat = Chat(panes=panes, settings=self.settings, blind=self.blind_mode)

    def open(self, chat: Chat) -> None:
        """Go on with a chat that was read back."""
        if not self.empty:
            self._earlier = self.chat
        self.chat = chat

    def use_settings(self, settings: ChatSettings) -> None:
        self.chat.settings = settings
        self.record.layout(self.chat)

    def add_pane(self, speaker: Speaker) -> None:
        self.panes.append(Conversation(speaker))
        self.record.layout(self.chat)

    def remove_pane(self, pane: Conversation) -> None:
        position = self.panes.index(pane)
        self.panes.remove(pane)
        self.record.removed(self.chat, position)

    def choose(self, pane: Conversation, speaker: Speaker) -> None:
        """Another model speaks in this pane from now on."""
        pane.speaker = speaker
        self.record.layout(self.chat)

    # Names

    def hide_names(self) -> None:
        """Blind from the next chat on, or at once in one that is empty."""
        self.blind_mode = True
        if self.empty:
            self.chat.blind = True

    def show_names(self) -> None:
        """The names of this chat are told: its next votes are not blind. A new chat hides them
        again while `blind_mode` is on."""
        if self.empty:
            self.blind_mode = False
        self.chat.blind = False
        self.record.layout(self.chat)

    def _deal(self) -> None:
        """Put the models into their panes in an order that nobody knows."""
        contestants = self.contestants
        self._shuffle(contestants)
        self.chat.panes = contestants + [pane for pane in self.panes if pane.speaker == REFERENCE]


def _tokens_so_far(answer: Answer) -> int:
    """The tokens from the conversation's beginning to the end of this answer, where the server
    told."""
    return (
        answer.state.figures.prompt_tokens + answer.state.figures.completion_tokens
        if isinstance(answer.state, Complete)
        else 0
    )
