"""What a row of preference data holds: two answers of which one is preferred, or one answer with a
verdict on it. Light.

Each format reads the preferred answer, since that is what fine-tuning learns. The rejected one is
read by the same converter with the two columns exchanged, so that whatever a format understands of
one answer it understands of the other. Where both conversations part, the answers begin: what lies
before is the prompt, of which nothing is scored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec

from jobs.luthier_error import LuthierError
from models.conversations import Conversation
from trainer.data.columns import at
from trainer.data.formats import Format, Mapping
from trainer.data.formats_exports import ARENA
from trainer.data.formats_pairs import comparison_of
from trainer.data.formats_turns import Converted, Message, RowProblem, decoded
from trainer.objective import Scoring

_COMPARED = ("arena", "comparison")  # layouts of two answers and a judgement
_TITLES = {"pairs": "pairs of answers", "verdicts": "answers with a verdict"}
_ANSWER = Format(
    "preference", "", Mapping(format="preference", columns={"prompt": "prompt", "chosen": "chosen"})
)


@dataclass(frozen=True)
class Judged(Conversation):
    """A conversation whose last answers are scored: those from the message `first` on. `rejected`
    is the same conversation with the worse answers; without one, `is_good` says what the answer
    is worth."""

    first: int = 0
    rejected: list[Message] | None = None
    is_good: bool = True


_TRAINED = ", of which the chosen answer is trained"


def compared(row_format: Format) -> Format:
    """A file's format, said as it is read for preferences."""
    return replace(row_format, reason=row_format.reason.replace(_TRAINED, ""))


class Sides(NamedTuple):
    """A row's conversation with the better answer, and with the worse one if it has two."""

    better: Converted
    worse: Converted | None = None
    is_good: bool = True


class PreferenceRows:
    """The rows of a file as preferences. LuthierError if its format has none of the kind that is
    scored."""

    def __init__(self, row_format: Format, scoring: Scoring, file: str) -> None:
        self._format = row_format
        self._worse = _exchanged(row_format)
        self._has_pairs = (
            self._worse is not None
            or row_format.mapping.layout in _COMPARED
            or _has_rejected_turn(row_format)
        )
        is_judged = bool(row_format.side.judges)
        if row_format.is_chained or not (self._has_pairs or (scoring == "verdicts" and is_judged)):
            raise _refusal(row_format, scoring, file, is_judged=is_judged)

    def read(self, row: dict[str, Any]) -> Sides:
        """RowProblem if the row makes no conversation."""
        better = self._format.convert(row)
        if not self._has_pairs:
            is_good = all(code != "rejected" for code, _ in better.met)
            met = tuple(oddity for oddity in better.met if oddity[0] != "rejected")
            return Sides(better._replace(met=met), None, is_good)
        return Sides(_unchosen(better), _unchosen(self._worse_side(row, better)))

    def _worse_side(self, row: dict[str, Any], better: Converted) -> Converted:
        if self._worse is not None:
            return self._worse.convert(row)
        if columns := _compared_columns(self._format, row):
            first, second = columns
            return self._format.convert({**row, first: row[second], second: row[first]})
        answer = decoded(at(row, self._format.mapping.columns["rejected"]))
        if answer is None:
            raise RowProblem("other_format", "the rejected answer is missing")
        prompt = better.messages[: _end_of_prompt(better.messages)]
        return _ANSWER.convert({"prompt": prompt, "chosen": answer})._replace(tools=better.tools)


def _compared_columns(row_format: Format, row: dict[str, Any]) -> tuple[str, str] | None:
    """The columns of two answers beside a judgement of which is the better one."""
    if row_format.mapping.layout == "arena":
        return ARENA[0], ARENA[1]
    comparison = comparison_of(row) if row_format.mapping.layout == "comparison" else None
    return None if comparison is None else comparison.answers


def _unchosen(converted: Converted) -> Converted:
    """Where both answers count, taking the better one repairs nothing."""
    repairs = tuple(code for code in converted.repairs if code != "chosen_answer")
    return converted._replace(repairs=repairs)


def _exchanged(row_format: Format) -> Format | None:
    """The format that reads rejected answers where this one reads chosen ones."""
    columns = row_format.mapping.columns
    if row_format.name != "preference" or "rejected" not in columns:
        return None
    other = {**columns, "chosen": columns["rejected"], "rejected": columns["chosen"]}
    return replace(row_format, mapping=msgspec.structs.replace(row_format.mapping, columns=other))


def _has_rejected_turn(row_format: Format) -> bool:
    """Whether rows are conversations with a column for what their last answer is preferred to."""
    return row_format.name in ("messages", "sharegpt") and "rejected" in row_format.mapping.columns


def _end_of_prompt(messages: list[Message]) -> int:
    """Where the last answer begins."""
    end = len(messages)
    while end and messages[end - 1]["role"] == "assistant":
        end -= 1
    return end


def judged(conversation: Conversation, rejected: list[Message] | None, is_good: bool) -> Judged:
    """Both sides with nothing scored but their answers. RowProblem if they do not answer the same
    prompt, or do not differ."""
    messages = conversation.messages
    first = _end_of_prompt(messages)
    if rejected is not None:
        pairs = zip(messages, rejected, strict=False)
        first = next(
            (index for index, sides in enumerate(pairs) if not _is_same(*sides)),
            min(len(messages), len(rejected)),
        )
        if first == len(messages) == len(rejected):
            raise RowProblem("rejected", "the chosen and the rejected answer are equal")
    if any(
        len(side) <= first or side[first]["role"] != "assistant"
        for side in (messages, rejected or messages)
    ):
        raise RowProblem("prompts_differ", "the two answers do not answer the same prompt")
    if not first:
        raise RowProblem("no_user_turn", "the answers answer no prompt")
    return Judged(
        _scored_from(messages, first),
        conversation.file,
        conversation.row,
        conversation.tools,
        first,
        None if rejected is None else _scored_from(rejected, first),
        is_good,
    )


def _scored_from(messages: list[Message], first: int) -> list[Message]:
    """The messages with weights that leave only the answers from `first` on to be scored."""
    unweighted = [
        {key: value for key, value in message.items() if key != "weight"} for message in messages
    ]
    return [
        {**message, "weight": 0} if index < first and message["role"] == "assistant" else message
        for index, message in enumerate(unweighted)
    ]


def _is_same(message: Message, other: Message) -> bool:
    return {**message, "weight": 1} == {**other, "weight": 1}


def _refusal(row_format: Format, scoring: Scoring, file: str, *, is_judged: bool) -> LuthierError:
    if scoring == "pairs" and is_judged:
        return LuthierError(
            "Verdicts, not pairs",
            f"{file}: each row has one answer with a verdict on it, but DPO and ORPO compare two"
            " answers to one prompt.",
            'Choose KTO: [objective] kind = "kto".',
        )
    return LuthierError(
        "No preferences in this data",
        f"{file}: this objective needs {_TITLES[scoring]}, but the rows are {row_format.title}:"
        f" {row_format.reason}.",
        "docs/preferences.md shows each layout. Without [objective] the answers are learned as"
        " they are.",
    )
