"""A conversation with several models: what was asked, what each answered, and what is sent next."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from jobs.luthier_error import LuthierError
from serve.client import ChatMessage, Delta, Finished, Sampling

SpeakerKind = Literal["base", "tuned", "checkpoint", "hosted", "reference"]


@dataclass(frozen=True)
class Speaker:
    """Who answers in a pane. `where` names the endpoint of a hosted model; it is empty for
    Luthier's own server. `run` is the id of the run that made the adapter at `path`."""

    model: str
    kind: SpeakerKind = "base"
    where: str = ""
    run: str | None = None
    path: str = ""

    @property
    def label(self) -> str:
        return f"{self.model} ({self.where})" if self.where else self.model

    @property
    def what(self) -> str:
        return {
            "base": "base model",
            "tuned": "tuned model",
            "checkpoint": "checkpoint of a run",
            "hosted": f"hosted by {self.where}",
            "reference": "what the data says",
        }[self.kind]


REFERENCE = Speaker("reference", "reference")
"""The answer that a held-out conversation has: a pane of its own, but no contestant."""


@dataclass(frozen=True)
class Waiting:
    """Sent; nothing has come back yet. Times are of time.monotonic()."""

    since: float


@dataclass(frozen=True)
class Writing:
    since: float
    first_token: float


@dataclass(frozen=True)
class Complete:
    figures: Finished


@dataclass(frozen=True)
class Halted:
    """Stopped by the user. What had come stays, and is part of the conversation."""

    time_to_first_token: float | None
    seconds: float


@dataclass(frozen=True)
class Failed:
    error: LuthierError


@dataclass(frozen=True)
class Interrupted:
    """Read back from the database: the program that received it is gone (`living` False), or is
    another one that still writes."""

    living: bool


@dataclass(frozen=True)
class Given:
    """Written by a person: the data's own answer, or a correction."""


AnswerState = Waiting | Writing | Complete | Halted | Failed | Interrupted | Given


@dataclass(frozen=True)
class ChatSettings:
    """What all panes share. With `sampling.seed` None a seed is drawn for each turn, the same for
    all."""

    system: str = ""
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class Turn:
    """What was asked, once for all panes: the messages added to the conversation, of which the last
    is the prompt.

    `source` says which prompt of which file it was; `edits` is the id of the turn that it is
    another version of.
    """

    id: str
    number: int
    messages: tuple[ChatMessage, ...]
    settings: ChatSettings
    tools: tuple[dict[str, Any], ...] = ()
    source: dict[str, Any] | None = None
    edits: str | None = None
    created: float = field(default_factory=time.time)

    @property
    def prompt(self) -> str:
        return str(self.messages[-1].get("content") or "")


@dataclass
class ToolCall:
    id: str = ""
    name: str = ""
    arguments: str = ""

    def message_part(self, index: int) -> dict[str, Any]:
        return {
            "id": self.id or f"call_{index}",
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments or "{}"},
        }


NOT_RUN = "Luthier runs no tools."
"""What stands in a conversation for the result of a tool that a model called: templates ask for
one."""


@dataclass
class Answer:
    """What one speaker says to one turn. `parent` is the answer that came before it in its
    conversation, whichever pane that stood in.

    `skipped` is how many of the oldest turns are left out of what is sent. `corrects` is the id of
    the answer that a person rewrote.
    """

    turn: Turn
    speaker: Speaker
    parent: Answer | None
    state: AnswerState
    id: str = ""
    skipped: int = 0
    corrects: str | None = None
    created: float = field(default_factory=time.time)
    pieces: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.id = self.id or new_id()

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def answering(self) -> bool:
        return isinstance(self.state, Waiting | Writing)

    @property
    def answered(self) -> bool:
        """Whether it is part of the conversation from now on. One that brought nothing makes way
        for the next."""
        return isinstance(self.state, Complete | Given) or bool(self.pieces or self.calls)

    @property
    def tokens(self) -> int | None:
        """The tokens of this answer, where the server told."""
        return self.state.figures.completion_tokens if isinstance(self.state, Complete) else None

    @property
    def cut_off(self) -> bool:
        """Whether it ended because it had no more room, not by itself."""
        return isinstance(self.state, Complete) and self.state.figures.reason == "length"

    def add(self, delta: Delta) -> None:
        if isinstance(self.state, Waiting):
            self.state = Writing(self.state.since, time.monotonic())
        if delta.text:
            self.pieces.append(delta.text)
        if delta.reasoning:
            self.reasoning.append(delta.reasoning)
        for piece in delta.calls:
            while len(self.calls) <= min(piece.index, 127):
                self.calls.append(ToolCall())
            call = self.calls[min(piece.index, 127)]
            call.id, call.name, call.arguments = (
                call.id or piece.id,
                call.name or piece.name,
                call.arguments + piece.arguments,
            )

    def halt(self) -> None:
        match self.state:
            case Waiting(since):
                self.state = Halted(None, time.monotonic() - since)
            case Writing(since, first_token):
                self.state = Halted(first_token - since, time.monotonic() - since)
            case Complete() | Halted() | Failed() | Interrupted() | Given():
                pass

    @property
    def chain(self) -> list[Answer]:
        """The answers of its conversation, the oldest first, this one last."""
        chain, answer = [], self
        while True:
            chain.append(answer)
            if answer.parent is None:
                return chain[::-1]
            answer = answer.parent

    def context(self) -> list[ChatMessage]:
        """The messages that it answers."""
        *earlier, last = self.chain
        system = self.turn.settings.system
        messages: list[ChatMessage] = [{"role": "system", "content": system}] if system else []
        for answer in earlier[self.skipped :]:
            messages += [*answer.turn.messages, *answer.said()]
        return [*messages, *last.turn.messages]

    def said(self) -> Iterator[ChatMessage]:
        """Its own messages, as they stand in the conversation that goes on after it."""
        calls = [call.message_part(index) for index, call in enumerate(self.calls)]
        yield {
            "role": "assistant",
            "content": self.text,
            **({"tool_calls": calls} if calls else {}),
        }
        for call in calls:
            yield {"role": "tool", "tool_call_id": call["id"], "content": NOT_RUN}


class Conversation:
    """One pane: who speaks, the answers that it shows, and `head`, the answer that the next one
    continues.

    The head is mostly the last answer shown; it is one of another pane where all were told to
    continue from that. `left` are the answers that stood here once: asked again, corrected, or left
    behind by a turn that was asked in other words.
    """

    def __init__(self, speaker: Speaker | None = None) -> None:
        self.speaker = speaker
        self.answers: list[Answer] = []
        self.left: list[Answer] = []
        self.head: Answer | None = None
        self.skip_next = 0

    @property
    def last(self) -> Answer | None:
        return self.answers[-1] if self.answers else None

    @property
    def answering(self) -> bool:
        return self.last is not None and self.last.answering

    def begin(self, turn: Turn, answer_id: str = "") -> Answer:
        """Have this turn answered next. An answer that brought nothing makes way."""
        assert self.speaker is not None
        if self.last is not None and not self.last.answered:
            self.drop_last()
        answer = Answer(
            turn, self.speaker, self.head, Waiting(time.monotonic()), answer_id, self._skipped()
        )
        self.answers.append(answer)
        self.head = answer
        return answer

    def drop_last(self) -> Answer:
        """Take the last answer back: the head is again what it continued."""
        dropped = self.answers[-1]
        self._leave(len(self.answers) - 1)
        if self.head is dropped:
            self.head = dropped.parent
        return dropped

    def _skipped(self) -> int:
        """As many of the oldest turns as were left out before, and those that were asked for
        since."""
        before = self.head.skipped if self.head is not None else 0
        self.skip_next, newly_skipped = 0, self.skip_next
        return before + newly_skipped

    def give(self, turn: Turn, text: str) -> Answer:
        """An answer that a person wrote."""
        answer = self.begin(turn)
        answer.pieces, answer.state = [text], Given()
        return answer

    def replace(self, old: Answer, new: Answer) -> None:
        """Show `new` where `old` stood. What came after it is no longer shown, for it continued
        something else."""
        self._leave(self.answers.index(old))
        self.answers.append(new)
        self.head = new

    def keep_before(self, turn_ids: set[str]) -> None:
        """Go back to before the first answer to one of these turns. The head is what that answer
        continued."""
        for index, answer in enumerate(self.answers):
            if answer.turn.id in turn_ids:
                self.head = answer.parent
                self._leave(index)
                return

    # Versions

    def versions(self) -> dict[str, list[Answer]]:
        """By the id of an answer that is shown: those that have stood in its place, the oldest
        first, itself among them. Only where there are several."""
        below = self._by_place() if self.left else {}
        return {
            answer.id: siblings
            for siblings in below.values()
            for answer in siblings
            if len(siblings) > 1
        }

    def show(self, answer: Answer) -> None:
        """Show this answer, with what stood above it, and of what came after it the latest."""
        below = self._by_place()
        above = {
            sibling.id: above_id for above_id, siblings in below.items() for sibling in siblings
        }
        by_id = {sibling.id: sibling for siblings in below.values() for sibling in siblings}
        path = [answer]
        while above[path[0].id]:
            path.insert(0, by_id[above[path[0].id]])
        while path[-1].id in below:
            path.append(below[path[-1].id][-1])
        path_ids = {step.id for step in path}
        self.left = [
            hidden for hidden in by_id.values() if hidden.id not in path_ids and hidden.answered
        ]
        self.answers, self.head = path, path[-1]

    def _by_place(self) -> dict[str, list[Answer]]:
        """All answers of this pane, the oldest first, by the id of the one that each stood below;
        empty for the first in a pane.

        That is the one it continues; where it continues one of another pane, the last one before it
        that answered an earlier turn.
        """
        answers = sorted(
            [*self.left, *self.answers], key=lambda answer: (answer.created, answer.id)
        )
        ids = {answer.id for answer in answers}
        below: dict[str, list[Answer]] = {}
        for index, answer in enumerate(answers):
            if answer.parent is not None and answer.parent.id in ids:
                above = answer.parent.id
            else:
                above = next(
                    (
                        earlier.id
                        for earlier in reversed(answers[:index])
                        if earlier.turn.number < answer.turn.number
                    ),
                    "",
                )
            below.setdefault(above, []).append(answer)
        return below

    def _leave(self, index: int) -> None:
        """Show no more what stands from this place on. What brought nothing is forgotten."""
        self.left += [answer for answer in self.answers[index:] if answer.answered]
        del self.answers[index:]


def new_id() -> str:
    """An id of a turn, an answer or a vote; it sorts by time."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(4)}"


def new_chat_id() -> str:
    """An id that a person can type: 20261122-153012-7f3a."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
