"""What columns beside a conversation mean, learned from a sample of rows: judgements of its answer,
text that the answer rests on, pictures and sounds. Light."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.data.column_names import CONTEXT_NAMES, Kind, kind_of, words_of
from trainer.data.formats_turns import EMPTY, decoded
from trainer.data.judgements import Judgement, Unread, shortened, unread_judgement
from trainer.data.media import a_medium

_FEWEST_NUMBERED = 32  # rows
# What belongs to a prompt in a way that differs between data sets.
_CHOICES = frozenset(("options", "choices"))
_TEXT_KEYS = (
    "text",
    "content",
    "contents",
    "passage",
    "page_content",
    "body",
    "document",
    "snippet",
    "chunk",
    "paragraph_text",
)
_SHARED = 0.7  # of an answer's words that its source has
_BY_CHANCE = 0.3  # less than that in the sources of other answers


@dataclass(frozen=True)
class SideColumns:
    """What the columns beside a format's own mean, learned from a sample."""

    judges: tuple[Judgement, ...] = ()
    """How columns judge the answer."""
    context: tuple[str, ...] = ()
    """Columns whose texts join the prompt."""
    media: tuple[str, ...] = ()
    """Columns that hold pictures or sounds."""
    unread: tuple[Unread, ...] = ()
    """Columns that cannot be left aside."""
    columns: frozenset[str] | None = None
    """All that were judged: another one that turns up later is judged then."""

    def is_quiet(self, row: Mapping[str, Any]) -> bool:
        """Whether no column of a row can meet a policy: most rows have none beside their
        conversation."""
        return not (self.judges or self.media or self.unread) and (
            self.columns is None or row.keys() <= self.columns
        )

    def met(self, row: Mapping[str, Any]) -> list[tuple[str, str]]:
        """The policies that a row's side columns meet, each with what it is about."""
        met: list[tuple[str, str]] = []
        for judge in self.judges:
            value = at(row, judge.column)
            verdict = judge.verdict(value)
            if verdict is None:
                met.append(
                    (
                        "unread",
                        (
                            f"`{judge.column}` is {shortened(value)}, which does not say whether"
                            " the answer is good"
                        ),
                    )
                )
            elif not verdict:
                met.append(("rejected", f"`{judge.column}` is {shortened(value)}"))
        met += [
            ("media", f"`{column}` has {a_medium(column)}")
            for column in self.media
            if at(row, column)
        ]
        met += [
            ("unread", unread.why) for unread in self.unread if at(row, unread.column) not in EMPTY
        ]
        if self.columns is not None and not row.keys() <= self.columns:
            met += self._late(row)
        return met

    def _late(self, row: Mapping[str, Any]) -> list[tuple[str, str]]:
        kinds = {
            column: kind_of(column)
            for column in row
            if column not in (self.columns or ()) and row[column] not in EMPTY
        }
        late = "does not appear in the first rows of the file"
        return [
            (
                ("media", f"`{column}` has {a_medium(column)}")
                if kind == "media"
                else ("unread", f"`{column}` {late}: {_MEANING[kind]}")
            )
            for column, kind in kinds.items()
            if kind is not None and (kind != "context" or _is_prose(context_text(row[column])))
        ]


NO_SIDE = SideColumns()

_MEANING = {
    "verdict": "it seems to be a verdict on the answer",
    "score": "it seems to be a verdict on the answer",
    "context": "the answer seems to be based on it",
}


@dataclass(frozen=True)
class Sampled:
    """A sampled row and what its format makes of it: `asked` is all that the assistant does not
    say, `answered` what it does."""

    row: Mapping[str, Any]
    asked: str
    answered: str


def side_columns(
    samples: Sequence[Sampled],
    used: Iterable[str],
    *,
    reads_context: bool,
    is_pair: bool,
    judgement: Judgement | None = None,
    context: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> tuple[SideColumns, list[str]]:
    """The meaning of the columns that a format does not use, and those that mean nothing.
    `reads_context`: the prompt is made of columns, so that context can join it; `is_pair`: chosen
    and rejected are known. The last three are what the recipe says."""
    settled = {*used, *context, *ignore, *([judgement.column] if judgement else [])}
    judges: list[Judgement] = [judgement] if judgement else []
    contexts, media, unread, unused = list(context), list[str](), list[Unread](), list[str]()
    for column in _leftover(samples, settled):
        values = [value for sample in samples if (value := at(sample.row, column)) not in EMPTY]
        kind = kind_of(column) if values else None
        if kind in ("verdict", "score") and (
            judgement is not None or (is_pair and _of_pair(column)) or _numbers_rows(values)
        ):
            kind = None
        if kind in ("verdict", "score"):
            if (unreadable := unread_judgement(column, kind, values)) is None:
                judges.append(Judgement(column))
            else:
                unread.append(unreadable)
        elif kind == "media":
            media.append(column)
        elif context or (why := _why_context(column, kind, samples)) is None:
            unused.append(column)
        elif (
            kind == "context"
            and reads_context
            and column not in _CHOICES
            and all(context_text(value) is not None for value in values)
        ):
            contexts.append(column)
        else:
            unread.append(Unread(column, why))
    filled = {
        column
        for sample in samples
        for column, value in sample.row.items()
        if value not in EMPTY or kind_of(column) is None
    }
    columns = frozenset((*filled, *used, *ignore))
    read = {
        column.partition(".")[0]
        for column in (
            *(judge.column for judge in judges),
            *contexts,
            *media,
            *(entry.column for entry in unread),
        )
    }
    unused = [column for column in unused if column not in read]
    unused += sorted({*ignore} - {*unused})
    return SideColumns(tuple(judges), tuple(contexts), tuple(media), tuple(unread), columns), unused


def _numbers_rows(values: Sequence[Any]) -> bool:
    """Whether many values count up by one: they number the rows, whatever the column is called."""
    try:
        numbers = [int(value) for value in values if not isinstance(value, bool | float)]
    except (TypeError, ValueError):
        return False
    return len(numbers) == len(values) >= _FEWEST_NUMBERED and numbers == list(
        range(numbers[0], numbers[0] + len(numbers))
    )


def _leftover(samples: Sequence[Sampled], settled: set[str]) -> list[str]:
    """Columns that are not settled; those of an object inside a row are named with a dot where
    their names mean something."""
    leftover: dict[str, None] = {}
    for sample in samples:
        for column, value in sample.row.items():
            inner = (
                [f"{column}.{key}" for key in value]
                if isinstance(value, dict) and kind_of(str(column)) is None
                else []
            )
            if column not in settled and not any(name.startswith(f"{column}.") for name in settled):
                leftover[str(column)] = None
                leftover.update(
                    dict.fromkeys(
                        name for name in inner if name not in settled and kind_of(name) is not None
                    )
                )
    return list(leftover)


def at(row: Mapping[str, Any], column: str) -> Any:
    """A column's value; dots lead into objects. None if there is none."""
    if column in row or "." not in column:
        return row.get(column)
    head, _, inner_path = column.partition(".")
    inner = decoded(row.get(head))
    return at(inner, inner_path) if isinstance(inner, dict) else None


def _of_pair(column: str) -> bool:
    words = words_of(column)
    return kind_of(column) == "score" or (
        len(words) > 1 and bool({*words} & {"chosen", "rejected"})
    )


# Context


def context_text(value: Any) -> str | None:
    """The text of a passage, a list of them, or objects with a title and a text; None if it holds
    something else."""
    value = decoded(value)
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        parts = [context_text(item) for item in value]
        return (
            None
            if any(part is None for part in parts)
            else "\n\n".join(part for part in parts if part)
        )
    if isinstance(value, dict):
        text = next((value[key] for key in _TEXT_KEYS if isinstance(value.get(key), str)), None)
        title = value.get("title")
        return f"{title}\n{text}".strip() if text is not None and isinstance(title, str) else text
    return None


def _why_context(column: str, kind: Kind | None, samples: Sequence[Sampled]) -> str | None:
    """Why a column may hold what the answers rest on; None if nothing speaks for it."""
    filled = [
        (sample, at(sample.row, column))
        for sample in samples
        if at(sample.row, column) not in EMPTY
    ]
    texts = [
        (sample, text) for sample, value in filled if (text := context_text(value)) is not None
    ]
    advice = (
        f'[format] context = ["{column}"] puts it into the prompt, ignore = ["{column}"] ignores it'
    )
    if kind == "context":
        if all(
            text in sample.asked or text == sample.answered.strip() for sample, text in texts
        ) and len(texts) == len(filled):
            return None
        is_asked = "_".join(words_of(column)) in CONTEXT_NAMES
        if (
            not is_asked
            and not any(_is_prose(text) for _, text in texts)
            and not any(isinstance(value, list | dict) for _, value in filled)
        ):
            return None
        return f"`{column}` seems to contain what the answers are based on: {advice}"
    if not texts or any(not isinstance(value, str) for _, value in filled):
        return None
    return f"`{column}` contains the text of the answers: {advice}" if _is_source(texts) else None


def _is_prose(text: str | None) -> bool:
    return text is not None and len(text.split()) > 1


def _is_source(texts: Sequence[tuple[Sampled, str]]) -> bool:
    """Whether texts hold the words of their own answers, and not those of others; a text that has
    the question too is the row again."""
    pairs = [
        (text.casefold(), answer)
        for sample, text in texts
        if (answer := _telling(sample.answered))
        and len(text) > len(sample.answered)
        and not _has_all(text, sample.asked)
    ]
    if not pairs or len(pairs) < 0.6 * len(texts):
        return False
    own_share = sum(_share(text, answer) for text, answer in pairs) / len(pairs)
    other_shares = (
        [_share(pairs[index - 1][0], answer) for index, (_, answer) in enumerate(pairs)]
        if len(pairs) > 1
        else [0.0]
    )
    return own_share >= _SHARED and own_share - sum(other_shares) / len(other_shares) >= _BY_CHANCE


def _has_all(text: str, asked: str) -> bool:
    return all(piece.strip() in text for piece in asked.split("\n\n"))


def _telling(answer: str) -> set[str]:
    """An answer's words that say something: yes, no and the like stand in any text."""
    return {
        word for word in re.findall(r"\w+", answer.casefold()) if len(word) > 3 or word.isdigit()
    }


def _share(text: str, answer: set[str]) -> float:
    return sum(word in text for word in answer) / len(answer)
