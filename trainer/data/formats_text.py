"""Transcripts: conversations of free speaker names, as lines of text or as items."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from trainer.data.formats_markup import continued_markup, without_edges
from trainer.data.formats_turns import Converted, RowProblem, is_role, role_of

FIRST, OTHERS = "first", "others"

Turn = tuple[str, str]

# "Name: text", after a time in brackets if there is one.
_TIME = r"(?:[\[(]?\d{1,2}(?::\d{2}){1,2}[\])]?[ \t]*)?"
_SPEAKER_LINE = re.compile(
    rf"^[ \t]*{_TIME}([^\W\d_][^:\n<>{{}}\[\]\"/]{{0,39}}?)[ \t]*:(?=\s|$)", re.MULTILINE
)
_TIMED_LINE = re.compile(r"\s*[\[(]?\d{1,2}(?::\d{2}){1,2}[\])]?[ \t]*[^\W\d_]")
_USUAL = 0.8
# Names in a text that say a role, beyond those of the roles themselves: pairs of question and
# answer, and the common models' talk.
_ROLE_WORDS = {
    **dict.fromkeys(
        ("user", "human", "prompter", "q", "question", "instruct", "instruction"), "user"
    ),
    **dict.fromkeys(
        (
            "assistant",
            "gpt",
            "chatgpt",
            "bot",
            "chatbot",
            "ai",
            "a",
            "answer",
            "response",
            "falcon",
            "claude",
        ),
        "assistant",
    ),
    "system": "system",
}
_HEADERS = frozenset(
    [
        "subject",
        "from",
        "to",
        "cc",
        "bcc",
        "date",
        "sent",
        "reply to",
        "message id",
        "return path",
        "received",
        "content type",
        "mime version",
        "title",
        "author",
        "by",
        "category",
        "tags",
        "keywords",
        "source",
        "url",
        "link",
        "published",
        "updated",
        "abstract",
        "summary",
        "description",
        "language",
        "location",
        "address",
        "phone",
        "email",
        "name",
        "price",
        "isbn",
        "product",
    ]
)
_MOST_HEADERS = 8
_FEWEST_LINES = 4  # of a talk in which each line names a speaker
_ASSISTANT_NEXT = re.compile(
    r"(?:^|\n)[ \t]*(?:assistant|ai|bot|gpt|a|answer)[ \t]*:\s*$", re.IGNORECASE
)


def spoken_turns(text: str, names: Iterable[str] = ()) -> list[Turn]:
    """Who says what in lines like "Anna: hello". Without `names`, a speaker is who begins the text
    or speaks twice, and everybody where each line has a name, or all names are in capitals. Where
    both a user and an assistant speak under the name of their role, nobody else does.

    Lines without a speaker go on with the turn before; text before the first speaker has the
    speaker "".
    """
    speakers = {name.casefold() for name in names}
    headers = [
        (match[1].strip(), match.start(), match.end()) for match in _SPEAKER_LINE.finditer(text)
    ]
    if speakers:
        headers = [speaker for speaker in headers if speaker[0].casefold() in speakers]
        if len({name.casefold() for name, _, _ in headers}) < 2:
            headers = _named_anywhere(text, speakers)
    else:
        speakers = _speakers(text, headers)
        headers = [speaker for speaker in headers if speaker[0].casefold() in speakers]
    ends = [*(start for _, start, _ in headers), len(text)][1:]
    turns = [
        (name, without_edges(text[begin:end]))
        for (name, _, begin), end in zip(headers, ends, strict=True)
    ]
    before = without_edges(text[: headers[0][1]] if headers else text)
    return [("", before), *turns] if before else turns


def _named_anywhere(text: str, names: set[str]) -> list[tuple[str, int, int]]:
    """Speakers that the recipe names, also in the midst of a line and behind signs: "### USER: hi
    ASSISTANT: hello"."""
    either = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    headers = re.finditer(
        rf"(?:^|(?<=[\s>\]|.!?])|(?<=#))(?:#+[ \t]*)?({either})[ \t]*:", text, re.IGNORECASE
    )
    return [(match[1], match.start(), match.end()) for match in headers]


def _speakers(text: str, headers: Sequence[tuple[str, int, int]]) -> set[str]:
    """The names that speak in a text, folded."""
    counts = Counter(name.casefold() for name, _, _ in headers)
    roles = {name: word_role(name) for name in counts}
    if {"user", "assistant"} <= {roles[name] for name in counts if name in _ROLE_WORDS}:
        return {name for name, role in roles.items() if role}
    speakers = {name for name, number in counts.items() if number > 1 or roles[name]}
    if headers and not text[: headers[0][1]].strip():
        speakers.add(headers[0][0].casefold())
        # Two lines, a question and its answer: nobody speaks twice, yet the second name is no
        # accident.
        speakers.update(name.casefold() for name, _, _ in headers[1:2])
    return speakers | _heard_once(text, headers, speakers)


def _heard_once(text: str, headers: Sequence[tuple[str, int, int]], speakers: set[str]) -> set[str]:
    """Those who speak a single time in a talk of others, folded: where every line has a name, or
    all names are in capitals. Their words would else be those of whoever spoke before."""
    if len(speakers) < 2:
        return set()
    in_capitals = {name for name, _, _ in headers if name.isupper() and len(name) > 1}
    shouted = {name.casefold() for name in in_capitals}
    if speakers <= shouted:
        return shouted
    names = [name for name, _, _ in headers if not name[:1].islower()]
    lines = sum(1 for line in text.splitlines() if line.strip())
    is_whole_talk = lines == len(names) >= _FEWEST_LINES
    return {*map(str.casefold, names)} if is_whole_talk else set()


def word_role(name: str) -> str:
    """The role that a speaker's name says; "" for any other name."""
    folded = name.casefold().strip()
    return _ROLE_WORDS.get(folded) or (role_of(name, {}) if is_role(name) else "")


def is_transcript(text: str, speakers: Mapping[str, str]) -> bool:
    """Whether a text is a talk of at least two: of those whom the recipe names, of roles, or of
    names of whom one speaks again or each line has a time. Header lines, as of mails and articles,
    are none."""
    names = [name for name in speakers if name not in (FIRST, OTHERS)]
    turns = spoken_turns(text, names if OTHERS not in speakers else ())
    spoken = [name.casefold() for name, _ in turns if name]
    if len({*spoken}) < 2 or not (turns[0][0] or names):
        return False
    if names and any(name.casefold() in spoken for name in names):
        return True
    if header_lines(text):
        return False
    return (
        len(spoken) > len({*spoken})
        or any(name in _ROLE_WORDS for name in spoken)
        or bool(_TIMED_LINE.match(text))
    )


def continued(prompt: str, answer: str) -> Converted | None:
    """The conversation of a prompt that ends where the assistant is to speak, in a markup or in
    lines of roles, and the answer; None for any other prompt."""
    if (marked := continued_markup(prompt, answer)) is not None or not _ASSISTANT_NEXT.search(
        prompt[-40:]
    ):
        return marked
    turns = spoken_turns(f"{prompt.rstrip()} {answer.strip()}")
    names = [name for name, _ in turns]
    is_talk = (
        all(word_role(name) for name in names)
        and word_role(names[0]) != "assistant"
        and len({*names}) > 1
    )
    return transcript(turns, {}) if is_talk else None


def leading_names(text: str) -> list[str]:
    """The names of the lines "Name: ..." with which a text begins."""
    names = []
    for line in text.lstrip().split("\n", _MOST_HEADERS)[:_MOST_HEADERS]:
        match = _SPEAKER_LINE.match(line)
        if match is None:
            break
        names.append(match[1].strip())
    return names


def header_lines(text: str) -> list[str]:
    """The names of the header lines with which a mail or an article begins; [] if it does not."""
    names = leading_names(text)
    header_names = [name for name in names if name.casefold().replace("-", " ") in _HEADERS]
    return header_names if len(header_names) > 1 or len(header_names) == len(names) == 1 else []


def learn_speakers(rows: Sequence[Sequence[Turn]]) -> tuple[dict[str, str], str]:
    """Who is the assistant, judged by a sample of transcripts, and the reason in words."""
    by_row = [list(dict.fromkeys(name for name, _ in turns if name)) for turns in rows]
    by_row = [names for names in by_row if names]
    names = Counter(name for row in by_row for name in row)
    if names and all(word_role(name) for name in names):
        return {}, "the speakers are named as roles"
    begins = Counter(row[0] for row in by_row)
    usual = [name for name, number in names.items() if number >= _USUAL * len(by_row)]
    if len(by_row) > 1 and usual:
        # Between two who always speak, the one who begins is asked less of: it is the user.
        assistant = max(
            usual, key=lambda name: (word_role(name) == "assistant", -begins[name], names[name])
        )
        reason = (
            f"{assistant} speaks in {names[assistant]} of {len(by_row)} rows and is taken as the"
            " assistant, everyone else as the user"
        )
        return {assistant: "assistant", OTHERS: "user"}, reason
    return {
        FIRST: "user",
        OTHERS: "assistant",
    }, "the first speaker is taken as the user, the other as the assistant"


def transcript(turns: Sequence[Turn], speakers: Mapping[str, str]) -> Converted:
    """Speakers become roles; consecutive turns of one speaker are merged, and what comes before the
    first user turn is dropped."""
    if not turns:
        raise RowProblem("no_turns", "nobody speaks")
    merged = [
        (name, "\n".join(text for _, text in group))
        for name, group in groupby(turns, key=lambda turn: turn[0])
    ]
    names = list(dict.fromkeys(name for name, _ in merged if name))
    if FIRST in speakers and len(names) > 2 and not all(name in speakers for name in names[1:]):
        raise RowProblem(
            "many_speakers",
            f"the speakers are {', '.join(names[:5])}: say in the recipe's [format] speakers who"
            " is who",
        )
    folded = {name.casefold(): role for name, role in speakers.items()}
    roles = {name: _role(name, names, folded) for name in {name for name, _ in merged}}
    messages = [{"role": roles[name], "content": text} for name, text in merged]
    first = next(
        (index for index, message in enumerate(messages) if message["role"] == "user"), None
    )
    if first is None:
        raise RowProblem(
            "no_user_turn",
            f"the speakers are {', '.join(names[:5]) or 'nobody'}, and none of them is the user",
        )
    kept = [message for message in messages[:first] if message["role"] == "system"] + messages[
        first:
    ]
    repairs = ["merged_speaker"] * (len(merged) < len(turns)) + ["dropped_opening"] * (
        len(kept) < len(messages)
    )
    return Converted(kept, None, tuple(repairs))


def _role(name: str, names: Sequence[str], speakers: Mapping[str, str]) -> str:
    """The role of a speaker; `speakers` are those of the recipe or learned ones, folded."""
    if not name:
        return ""  # text before anybody speaks: dropped with what comes before the first user turn
    if name.casefold() in speakers:
        return speakers[name.casefold()]
    if is_role(name):
        return role_of(name, {})
    if name == names[0] and FIRST in speakers:
        return speakers[FIRST]
    return speakers.get(OTHERS) or word_role(name) or name
