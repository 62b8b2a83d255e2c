"""What columns beside a conversation mean: judgements of its answer, text that the answer rests on,
pictures and sounds. The tables of names stand here and nowhere else. Light."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import msgspec

from trainer.data.formats_turns import decoded


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words in a column's name. A verdict is read from its values; a score says nothing until somebody
# says from which value on it is good.
_VERDICTS = _words(
    "label labels correct accept accepted approved winner thumb thumbs feedback verdict liked"
    " preferred preference chosen good valid kto desirable judgement judgment helpful safe success"
    " upvoted"
)
_AGAINST = _words(
    "reject rejected bad wrong incorrect invalid harmful toxic flagged disliked unsafe hallucinated"
    " hallucination spam undesirable downvoted unhelpful"
)
_SCORES = _words(
    "score scores rating ratings reward rewards quality upvotes downvotes votes stars grade grades"
    " rank ranks ranking likes dislikes karma helpfulness correctness coherence harmlessness"
    " honesty truthfulness toxicity"
)
_NO_JUDGEMENT = _words(
    "id ids model models annotator annotators user users date time timestamp lang language url urls"
    " version type"
)
_CONTEXTS = _words(
    "context contexts ctx ctxs passage passages document documents doc docs article articles"
    " background reference references retrieved retrieval knowledge evidence evidences paragraph"
    " paragraphs story excerpt snippet snippets chunk chunks facts premise persona personality"
    " scenario transcript"
)
_CONTEXT_NAMES = _words(
    "input inputs history source_text search_results options choices question query instruction"
    " prompt problem hypothesis table schema code"
)
_FEWEST_NUMBERED = 32  # rows
_LESS_IS_BETTER = _words("rank ranks ranking toxicity downvotes dislikes")
# What belongs to a prompt in a way that differs between data sets.
_CHOICES = frozenset(("options", "choices"))
_NO_CONTEXT = _words(
    "id ids url urls uri link links title titles name names len length count num number score type"
    " types lang language date time answer answers hash token tokens start end idx index file"
    " filename path category domain topic source used has is"
)
_MEDIA = (
    r"(image|img|picture|photo|photograph|screenshot|pixel_value|video|frame|audio|speech|sound|waveform|spectrogram)s?"
    r"(_(path|url|uri|file|filename|file_?name|byte|data|base64|b64|src|input|feature|clip|list|content)s?)?"
)
_MEDIA_COLUMN = re.compile(rf"([a-z0-9_]+_)?{_MEDIA}(_?\d+)?|(image|img|picture|photo)_?ids?")
_SOUNDS = frozenset(("audio", "speech", "sound", "waveform", "spectrogram"))
# What data sets put where a picture stands. `<video>` alone may be HTML: then it is closed, or
# stands in code.
_PLACEHOLDER = re.compile(
    r"<\|(?:image|video|audio|vision|img|media|sound)[a-z_0-9|]*\|?>"
    r"|(?<![`'\"\w])<(?:image|video|audio|img|picture|speech|sound|media)s?(?:[_-]?(?:\d+|placeholder|here|token))?>"
    r"(?![`'\"]| (?:tag|element|html))",
    re.IGNORECASE,
)
_MEDIA_PART = re.compile(
    r"(?:input_|output_)?(image|video|audio|document|file|photo|picture)(?:_url|_file|_path)?"
)

_GOOD = _words(
    "true yes y good chosen accept accepted approve approved correct right positive pos up"
    " thumbs_up thumbsup thumb_up like liked win won preferred desirable helpful pass passed valid"
    " safe success better 👍 +1 ✓ ✅"
)
_BAD = _words(
    "false no n bad reject rejected wrong incorrect negative neg down thumbs_down thumbsdown"
    " thumb_down dislike disliked lose lost loser undesirable unhelpful fail failed invalid unsafe"
    " failure worse 👎 ✗ ❌ tie"
)
_SCALES = ({0.0, 1.0}, {-1.0, 1.0}, {-1.0, 0.0, 1.0})

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
_EMPTY: tuple[Any, ...] = (None, "", [], {})

Kind = Literal["verdict", "score", "context", "media"]


class Judgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A column that judges the answer. Good is what lies between `at_least` and `at_most`, or is
    one of `good`; without them, what a verdict says by itself (true, 1, "good"). Without a column
    it judges nothing."""

    column: str = ""
    at_least: float | None = None
    at_most: float | None = None
    good: list[str | float | bool] = []

    def verdict(self, value: Any) -> bool | None:
        """Whether the value says that the answer is good; None if it cannot be read."""
        if self.good:
            return (
                None
                if value is None
                else any(_spelled(value) == _spelled(good) for good in self.good)
            )
        if self.at_least is None and self.at_most is None:
            return _verdict(value, self.column)
        number = _number(value)
        if number is None:
            return None
        return (self.at_least is None or number >= self.at_least) and (
            self.at_most is None or number <= self.at_most
        )


class Unread(NamedTuple):
    """A column that cannot be left aside, why, and how it might judge the answer, if it does."""

    column: str
    why: str
    judgement: Judgement | None = None


@dataclass(frozen=True)
class SideColumns:
    """What the columns beside a format's own mean, learned from a sample. `unread` says of a column
    why it cannot be left aside; `columns` are all that were judged: another one that turns up later
    is judged then."""

    judges: tuple[Judgement, ...] = ()
    context: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    unread: tuple[Unread, ...] = ()
    columns: frozenset[str] | None = None

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
            ("unread", unread.why) for unread in self.unread if at(row, unread.column) not in _EMPTY
        ]
        if self.columns is not None and not row.keys() <= self.columns:
            met += self._late(row)
        return met

    def _late(self, row: Mapping[str, Any]) -> list[tuple[str, str]]:
        kinds = {
            column: kind_of(column)
            for column in row
            if column not in (self.columns or ()) and row[column] not in _EMPTY
        }
        late = "is not in the first rows of the file"
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
    "verdict": "it seems to judge the answer",
    "score": "it seems to judge the answer",
    "context": "the answer seems to rest on it",
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
        values = [value for sample in samples if (value := at(sample.row, column)) not in _EMPTY]
        kind = kind_of(column) if values else None
        if kind in ("verdict", "score") and (
            judgement is not None or (is_pair and _of_pair(column)) or _numbers_rows(values)
        ):
            kind = None
        if kind in ("verdict", "score"):
            if (unreadable := _unreadable(column, kind, values)) is None:
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
        if value not in _EMPTY or kind_of(column) is None
    }
    columns = frozenset((*filled, *used, *ignore))
    read = {
        column.partition(".")[0]
        for column in (
            *(judge.column for judge in judges),
            *contexts,
            *media,
            *(one.column for one in unread),
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
    found: dict[str, None] = {}
    for sample in samples:
        for column, value in sample.row.items():
            inner = (
                [f"{column}.{key}" for key in value]
                if isinstance(value, dict) and kind_of(str(column)) is None
                else []
            )
            if column not in settled and not any(name.startswith(f"{column}.") for name in settled):
                found[str(column)] = None
                found.update(
                    dict.fromkeys(
                        name for name in inner if name not in settled and kind_of(name) is not None
                    )
                )
    return list(found)


def at(row: Mapping[str, Any], column: str) -> Any:
    """A column's value; dots lead into objects. None if there is none."""
    if column in row or "." not in column:
        return row.get(column)
    head, _, rest = column.partition(".")
    inner = decoded(row.get(head))
    return at(inner, rest) if isinstance(inner, dict) else None


def words_of(column: str) -> list[str]:
    """A column's name in words, without the objects that it stands in."""
    return [
        word
        for word in re.split(
            r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column.rpartition(".")[2]).lower()
        )
        if word
    ]


@lru_cache(maxsize=4096)
def kind_of(column: str) -> Kind | None:
    """What a column's name says of its meaning."""
    words = {*words_of(column)}
    folded = "_".join(words_of(column))
    if _MEDIA_COLUMN.fullmatch(folded) and "caption" not in words:
        return "media"
    if not words & _NO_JUDGEMENT:
        if words & _SCORES:
            return "score"
        if words & (_VERDICTS | _AGAINST):
            return "verdict"
    if folded in _CONTEXT_NAMES or (words & _CONTEXTS and not words & _NO_CONTEXT):
        return "context"
    return None


def _of_pair(column: str) -> bool:
    words = words_of(column)
    return kind_of(column) == "score" or (
        len(words) > 1 and bool({*words} & {"chosen", "rejected"})
    )


# Judgements


def _verdict(value: Any, column: str) -> bool | None:
    good = _plain_verdict(value)
    return good if good is None or not {*words_of(column)} & _AGAINST else _reversed(value, good)


def _reversed(value: Any, good: bool) -> bool:
    """A column `rejected` says true of bad answers; a word such as "bad" means the same in any
    column."""
    spelled = _spelled(value)
    return (
        not good
        if spelled in ("true", "false", "yes", "no", "y", "n") or _number(value) is not None
        else good
    )


def _plain_verdict(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    number = _number(value)
    if number is not None:
        return number == 1 if number in (-1, 0, 1) else None
    spelled = _spelled(value)
    if spelled in _GOOD or spelled in _BAD:
        return spelled in _GOOD
    return None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _spelled(value: Any) -> str:
    number = _number(value)
    return str(number) if number is not None else re.sub(r"[\s-]+", "_", str(value).strip().lower())


def _unreadable(column: str, kind: str, values: Sequence[Any]) -> Unread | None:
    """Why a column's values are no verdicts, with what to say in the recipe; None if they are."""
    numbers = {number for value in values if (number := _number(value)) is not None}
    readable = all(_plain_verdict(value) is not None for value in values)
    if readable and (
        not numbers
        or numbers in _SCALES
        or (kind == "verdict" and any(numbers <= scale for scale in _SCALES))
    ):
        return None
    ignored = f'or leave it aside: ignore = ["{column}"]'
    if len(numbers) == len({*map(str, values)}) and numbers:
        seen = (
            f"runs from {min(numbers):g} to {max(numbers):g}"
            if len(numbers) > 1
            else f"is {min(numbers):g}"
        )
        if {*words_of(column)} & _LESS_IS_BETTER:
            judgement, way = Judgement(column, at_most=min(numbers)), f"at_most = {min(numbers):g}"
        else:
            judgement, way = (
                Judgement(column, at_least=max(numbers)),
                f"at_least = {max(numbers):g}",
            )
        says = f"{seen} in the first rows: say in [format] which answers are good"
    else:
        shown = list(
            dict.fromkeys(
                shortened(value) for value in values if isinstance(value, str | int | float)
            )
        )
        if not shown:
            return Unread(
                column,
                f"`{column}` may judge the answer, and holds no plain values: map another column,"
                f" {ignored}",
            )
        judgement, way = (
            Judgement(column, good=[*shown[:1]]),
            f"good = {msgspec.json.encode(shown[:1]).decode()}",
        )
        says = (
            f"has {', '.join(shown[:4])}, which may judge the answer: say in [format] which values"
            " are good"
        )
    return Unread(
        column,
        f'`{column}` {says}, judgement = {{ column = "{column}", {way} }}, {ignored}',
        judgement,
    )


def shortened(value: Any) -> str:
    is_literal = value is None or isinstance(value, bool | int | float)
    text = msgspec.json.encode(value).decode() if is_literal else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


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
    held = [
        (sample, at(sample.row, column))
        for sample in samples
        if at(sample.row, column) not in _EMPTY
    ]
    texts = [(sample, text) for sample, value in held if (text := context_text(value)) is not None]
    advice = (
        f'[format] context = ["{column}"] puts it into the prompt, ignore = ["{column}"] leaves it'
        " aside"
    )
    if kind == "context":
        if all(
            text in sample.asked or text == sample.answered.strip() for sample, text in texts
        ) and len(texts) == len(held):
            return None
        is_asked = "_".join(words_of(column)) in _CONTEXT_NAMES
        if (
            not is_asked
            and not any(_is_prose(text) for _, text in texts)
            and not any(isinstance(value, list | dict) for _, value in held)
        ):
            return None
        return f"`{column}` seems to hold what the answers rest on: {advice}"
    if not texts or any(not isinstance(value, str) for _, value in held):
        return None
    return f"`{column}` holds what the answers say: {advice}" if _is_source(texts) else None


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
    own = sum(_share(text, answer) for text, answer in pairs) / len(pairs)
    others = (
        [_share(pairs[place - 1][0], answer) for place, (_, answer) in enumerate(pairs)]
        if len(pairs) > 1
        else [0.0]
    )
    return own >= _SHARED and own - sum(others) / len(others) >= _BY_CHANCE


def _has_all(text: str, asked: str) -> bool:
    return all(piece.strip() in text for piece in asked.split("\n\n"))


def _telling(answer: str) -> set[str]:
    """An answer's words that say something: yes, no and the like stand in any text."""
    return {
        word for word in re.findall(r"\w+", answer.casefold()) if len(word) > 3 or word.isdigit()
    }


def _share(text: str, answer: set[str]) -> float:
    return sum(word in text for word in answer) / len(answer)


# Pictures and sounds


def a_medium(name: str) -> str:
    """The name of a column, a part or a placeholder as what it stands for."""
    lowered = name.lower()
    if "video" in lowered or "frame" in lowered:
        return "a video"
    if any(sound in lowered for sound in _SOUNDS):
        return "a sound"
    return (
        "a document"
        if "document" in lowered or lowered.removeprefix("input_") == "file"
        else "a picture"
    )


def media_in(content: Any) -> str | None:
    """What a message's content has of pictures and sounds, in words; None if it is text."""
    if isinstance(content, str):
        placeholder = _PLACEHOLDER.search(content) if "<" in content else None
        return (
            None
            if placeholder is None or _is_markup(content, placeholder[0])
            else f"{placeholder[0]}, the place of {a_medium(placeholder[0])}"
        )
    for part in content if isinstance(content, list) else [content]:
        if not isinstance(part, dict):
            continue
        kind = part.get("type")
        names = (
            [kind]
            if isinstance(kind, str)
            else [str(key) for key, value in part.items() if value not in _EMPTY]
        )
        for name in names:
            if _MEDIA_PART.fullmatch(name):
                return f"{a_medium(name)} (`{name}`)"
        if (
            kind in ("tool_result", "text", None)
            and isinstance(part.get("content"), list)
            and (inner := media_in(part["content"]))
        ):
            return inner
    return None


def _is_markup(text: str, placeholder: str) -> bool:
    """Whether `<video>` is HTML that the text is about: closed somewhere, or in a block of code."""
    return not placeholder.startswith("<|") and (f"</{placeholder[1:]}" in text or "```" in text)
