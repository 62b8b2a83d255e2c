"""Preferences as token ids, with the proof that nothing is scored but the answers that differ.

Each side is masked like a conversation of fine-tuning, by the same definition over the model's own
template: scored is exactly what a server would have to generate, up to and including the first stop
token. What stands before must be the same tokens on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.conversations import Conversation
from models.mask import MaskError
from models.samples import Sample
from models.stored_sample import UNTRAINED
from trainer.data.guard_rails import Figures
from trainer.data.lengths import Made
from trainer.data.preferences import Judged
from trainer.objective import Scoring

Line = tuple[Sample, Conversation, dict[str, Any], dict[str, Any] | None]


@dataclass(frozen=True)
class Unscored:
    """Why a preference is left out, and how many tokens go with it."""

    code: str
    detail: str
    lost: int


@dataclass(frozen=True)
class Scored:
    """The sides of a preference, the better one first, each cut after its last scored token."""

    judged: Judged
    samples: list[Sample]

    def lines(self, scoring: Scoring) -> Iterator[Line]:
        """The arguments of trainer.data.spool.sample_line: a pair is one line, and where verdicts
        are scored each answer is its own."""
        if scoring == "pairs":
            better, worse = self.samples
            rejected = {**_stored(worse), "messages": self.judged.rejected}
            yield better, self.judged, {}, {"rejected": rejected}
            return
        verdicts = [self.judged.is_good] if self.judged.rejected is None else [True, False]
        for sample, is_good in zip(self.samples, verdicts, strict=True):
            yield sample, sample.conversation, {}, {"is_good": is_good}


class PairScorer:
    """Makes preferences of samples: `sample` gives those of conversations, or why there are
    none."""

    def __init__(
        self, sample: Callable[[Sequence[Conversation]], list[Made]], max_length: int
    ) -> None:
        self._sample = sample
        self._max_length = max_length
        self._figures = Figures()
        self._prompts: set[int] = set()

    def scored(self, judged: Sequence[Judged]) -> Iterator[Scored | Unscored | MaskError]:
        """Of each preference its sides, or why it has none."""
        conversations: list[Conversation] = []
        for preference in judged:
            conversations.append(preference)
            if preference.rejected is not None:
                conversations.append(replace(preference, messages=preference.rejected))
        samples = iter(self._sample(conversations))
        for preference in judged:
            sides = [next(samples) for _ in range(1 if preference.rejected is None else 2)]
            yield self._checked(preference, sides)

    def _checked(self, judged: Judged, sides: list[Made]) -> Scored | Unscored | MaskError:
        samples: list[Sample] = []
        for side in sides:
            if isinstance(side, MaskError):
                return side
            if len(side) != 1:
                lost = sum(len(sample.input_ids) for sample in side)
                return Unscored("split_answer", "the template rewrites its own turns", lost)
            samples.append(_cut(side[0]))
        lengths = [len(sample.input_ids) for sample in samples]
        prompts = [_prompt(sample) for sample in samples]
        if prompts[0] != prompts[-1]:
            reason = "the template renders the prompt otherwise before the rejected answer."
            return MaskError("prompts_differ", judged, judged.first, reason, "")
        if len(samples) == 2 and samples[0].input_ids == samples[1].input_ids:
            self._figures.equal += 1
            return Unscored(
                "rejected", "the chosen and the rejected answer are the same tokens", sum(lengths)
            )
        if max(lengths) > self._max_length:
            self._figures.too_long += 1
            return Unscored("too_long", f"{max(lengths)} tokens", sum(lengths))
        self._count(judged, samples, prompts[0])
        return Scored(judged, samples)

    def _count(self, judged: Judged, samples: list[Sample], prompt: list[int]) -> None:
        self._prompts.add(hash(tuple(prompt)))
        if judged.rejected is None:
            self._figures.add_verdict(is_good=judged.is_good)
        else:
            self._figures.add_pair(*(len(sample.input_ids) - len(prompt) for sample in samples))

    @property
    def figures(self) -> Figures:
        """What the preferences come to so far."""
        self._figures.prompts = len(self._prompts)
        return self._figures


def _stored(sample: Sample) -> dict[str, Any]:
    return {"turns": sample.turns, "input_ids": sample.input_ids, "labels": sample.labels}


def _cut(sample: Sample) -> Sample:
    """Without what follows the last scored token, which no score depends on."""
    end = len(sample.labels)
    while end and sample.labels[end - 1] == UNTRAINED:
        end -= 1
    return replace(
        sample, input_ids=sample.input_ids[:end], labels=sample.labels[:end], weights=None
    )


def _prompt(sample: Sample) -> list[int]:
    """The tokens before the first that is scored."""
    first = next(
        (index for index, label in enumerate(sample.labels) if label != UNTRAINED),
        len(sample.labels),
    )
    return sample.input_ids[:first]
