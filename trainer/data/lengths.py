"""Conversations that are too long: cut at turn boundaries, each part with the system prompt and the
tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.conversations import Conversation
from models.mask import MaskError
from models.samples import Sample
from trainer.data.formats_turns import Message
from trainer.data.policies import exchanges

Made = list[Sample] | MaskError
Sampling = Callable[[Sequence[Conversation]], list[Made]]
# parts are planned by their characters, and the rate of tokens differs within a conversation
_ROOM = 0.95


@dataclass(frozen=True)
class Part:
    """Some exchanges of a conversation, after its system prompt. `first` is the index that its
    first message has in the whole."""

    conversation: Conversation
    first: int
    samples: list[Sample]


@dataclass(frozen=True)
class Cut:
    """A conversation cut into parts that fit."""

    parts: list[Part]
    lost: int = 0
    """Tokens of what was left out."""
    reasons: tuple[str, ...] = ()
    """"too_long" where a part was, and "long_turn" where an exchange fits nowhere."""
    error: MaskError | None = None
    """What masking a part ended with."""
    turn: int = 0
    """The error's message in the whole conversation."""

    @property
    def samples(self) -> list[Sample]:
        return [sample for part in self.parts for sample in part.samples]


class Cutter:
    """Cuts conversations so that no sample has more than `max_length` tokens and no part more than
    `max_messages` messages.

    With `last_only`, where just a conversation's last turn is trained, its end is kept, as much as
    fits. Without `splits_long`, only many messages are a reason to cut, and a part that is too long
    is left out.
    """

    def __init__(
        self,
        sampling: Sampling,
        max_length: int,
        max_messages: int,
        *,
        last_only: bool,
        splits_long: bool,
    ) -> None:
        self._sampling = sampling
        self._max_length = max_length
        self._max_messages = max_messages
        self._last_only = last_only
        self._splits_long = splits_long

    def cut(self, conversation: Conversation, tokens: int) -> Cut:
        """The parts of a conversation whose longest sample has this many tokens (0: not known, only
        its messages are too many)."""
        system = [message for message in conversation.messages if message["role"] == "system"]
        groups = exchanges(conversation.messages[len(system) :])
        firsts, first = [], len(system)
        for group in groups:
            firsts.append(first)
            first += len(group)
        budget = (
            self._max_length * _ROOM / tokens * _size(conversation.messages)
            if tokens
            else float("inf")
        )
        waiting = self._planned(system, groups, 0, budget)
        parts: list[Part] = []
        reasons: dict[str, None] = {}
        lost = 0
        while waiting:
            spans, waiting = waiting, []
            sampled = self._sampling(
                [_part(conversation, system, groups[begin:end]) for begin, end in spans]
            )
            for (begin, end), samples in zip(spans, sampled, strict=True):
                if isinstance(samples, MaskError):
                    if samples.code == "nothing_trained":
                        continue
                    inside = samples.turn >= len(system)
                    return Cut(
                        [],
                        lost,
                        error=samples,
                        turn=samples.turn + (firsts[begin] - len(system) if inside else 0),
                    )
                longest = max((len(sample.input_ids) for sample in samples), default=0)
                if longest <= self._max_length:
                    parts.append(
                        Part(_part(conversation, system, groups[begin:end]), firsts[begin], samples)
                    )
                    continue
                reasons["too_long"] = None
                if not self._splits_long:
                    lost += longest
                elif end - begin == 1:
                    reasons["long_turn"] = None
                    lost += longest
                else:
                    smaller = (
                        self._max_length
                        * _ROOM
                        / longest
                        * _size([*system, *(m for group in groups[begin:end] for m in group)])
                    )
                    waiting += self._planned(system, groups[begin:end], begin, smaller)
        return Cut(sorted(parts, key=lambda part: part.first), lost, tuple(reasons))

    def _planned(
        self, system: list[Message], groups: list[list[Message]], offset: int, budget: float
    ) -> list[tuple[int, int]]:
        """Which exchanges make a part: as many as the budget of characters and of messages allows,
        never all of them, at least one."""
        system_size = _size(system)
        order = range(len(groups) - 1, -1, -1) if self._last_only else range(len(groups))
        spans: list[list[int]] = []
        size = messages = 0
        for number in order:
            group_size = _size(groups[number])
            full = (
                system_size + size + group_size > budget
                or len(system) + messages + len(groups[number]) > self._max_messages
            )
            if not spans or full or (len(spans) == 1 and len(spans[0]) == len(groups) - 1):
                spans.append([])
                size = messages = 0
            spans[-1].append(number)
            size += group_size
            messages += len(groups[number])
        if self._last_only:
            spans = spans[:1]
        return [(offset + min(span), offset + max(span) + 1) for span in spans]


def _part(
    conversation: Conversation, system: list[Message], groups: Sequence[list[Message]]
) -> Conversation:
    messages = [*system, *(message for group in groups for message in group)]
    return Conversation(messages, conversation.file, conversation.row, conversation.tools)


def _size(messages: Sequence[Message]) -> int:
    return sum(len(message["content"]) + 16 for message in messages)
