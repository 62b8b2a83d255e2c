"""Conversations written as text: ChatML in one column, and transcripts of free speaker names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from trainer.data.formats_turns import Converted, Message, RowProblem, is_role, role_of

START, END = "<|im_start|>", "<|im_end|>"
FIRST, OTHERS = "first", "others"

Turn = tuple[str, str]

# "Name: text", after a time in brackets if there is one.
_TIME = r"(?:[\[(]?\d{1,2}(?::\d{2}){1,2}[\])]?[ \t]*)?"
_SPEAKER_LINE = re.compile(rf"^[ \t]*{_TIME}([^\W\d_][^:\n<>{{}}\[\]\"/]{{0,39}}?)[ \t]*:(?=\s|$)", re.MULTILINE)
_USUAL = 0.8


def chatml_messages(text: str, roles: Mapping[str, str]) -> list[Message]:
    """The turns between <|im_start|> and <|im_end|>; text outside of them is an error, since nobody says it."""
    outside, *turns = text.split(START)
    if outside.strip():
        raise RowProblem("outside_turns", f"{outside.strip()[:40]!r} stands before the first turn")
    messages = []
    for place, turn in enumerate(turns):
        body, end, after = turn.partition(END)
        if not end:
            raise RowProblem("unclosed_turn", f"turn {place} has no {END}")
        if after.replace("<|endoftext|>", "").strip():
            raise RowProblem("outside_turns", f"{after.strip()[:40]!r} stands after turn {place}")
        word, newline, content = body.partition("\n")
        if not newline:
            raise RowProblem("not_a_message", f"turn {place} has no line that says who speaks")
        messages.append({"role": role_of(word.strip(), roles), "content": content})
    return messages


def spoken_turns(text: str, names: Iterable[str] = ()) -> list[Turn]:
    """Who says what in lines like "Anna: hello". Without `names`, a speaker is who begins the text or speaks twice.

    Lines without a speaker go on with the turn before; text before the first speaker has the speaker "".
    """
    found = [(match[1].strip(), match.start(), match.end()) for match in _SPEAKER_LINE.finditer(text)]
    known = {name.casefold() for name in names}
    if not known:
        counts = Counter(name.casefold() for name, _, _ in found)
        known = {name for name, number in counts.items() if number > 1 or is_role(name)}
        if found and not text[: found[0][1]].strip():
            known.add(found[0][0].casefold())
            # Two lines, a question and its answer: nobody speaks twice, yet the second name is no accident.
            known.update(name.casefold() for name, _, _ in found[1:2])
    found = [speaker for speaker in found if speaker[0].casefold() in known]
    ends = [*(start for _, start, _ in found), len(text)][1:]
    turns = [(name, text[begin:end].strip()) for (name, _, begin), end in zip(found, ends, strict=True)]
    before = text[: found[0][1]].strip() if found else text.strip()
    return [("", before), *turns] if before else turns


def learn_speakers(rows: Sequence[Sequence[Turn]]) -> tuple[dict[str, str], str]:
    """Who is the assistant, judged by a sample of transcripts, and the reason in words."""
    by_row = [list(dict.fromkeys(name for name, _ in turns if name)) for turns in rows]
    by_row = [names for names in by_row if names]
    names = Counter(name for row in by_row for name in row)
    if names and all(is_role(name) for name in names):
        return {}, "the speakers are named as roles"
    begins = Counter(row[0] for row in by_row)
    usual = [name for name, number in names.items() if number >= _USUAL * len(by_row)]
    if len(by_row) > 1 and usual:
        # Between two who always speak, the one who begins is asked less of: it is the user.
        assistant = max(usual, key=lambda name: (role_of(name, {}) == "assistant", -begins[name], names[name]))
        reason = f"{assistant} speaks in {names[assistant]} of {len(by_row)} rows and is the assistant, everyone else the user"
        return {assistant: "assistant", OTHERS: "user"}, reason
    return {FIRST: "user", OTHERS: "assistant"}, "who speaks first is the user, the other the assistant"


def transcript(turns: Sequence[Turn], speakers: Mapping[str, str]) -> Converted:
    """Speakers become roles; consecutive turns of one speaker are merged, and what comes before the first user turn is dropped."""
    if not turns:
        raise RowProblem("no_turns", "nobody speaks")
    merged = [(name, "\n".join(text for _, text in group)) for name, group in groupby(turns, key=lambda turn: turn[0])]
    names = list(dict.fromkeys(name for name, _ in merged if name))
    if FIRST in speakers and len(names) > 2 and not all(name in speakers for name in names[1:]):
        raise RowProblem("many_speakers", f"{', '.join(names[:5])} speak: say in the recipe's [format] speakers who is whom")
    messages = [{"role": _role(name, names, speakers), "content": text} for name, text in merged]
    first = next((place for place, message in enumerate(messages) if message["role"] == "user"), None)
    if first is None:
        raise RowProblem("no_user_turn", f"{', '.join(names[:5]) or 'nobody'} speak, and none of them as the user")
    kept = [message for message in messages[:first] if message["role"] == "system"] + messages[first:]
    repairs = ["merged_speaker"] * (len(merged) < len(turns)) + ["dropped_opening"] * (len(kept) < len(messages))
    return Converted(kept, None, tuple(repairs))


def _role(name: str, names: Sequence[str], speakers: Mapping[str, str]) -> str:
    if not name:
        return ""  # text before anybody speaks: dropped with what comes before the first user turn
    folded = {key.casefold(): role for key, role in speakers.items()}
    if name.casefold() in folded:
        return folded[name.casefold()]
    if is_role(name):
        return role_of(name, {})
    if name == names[0] and FIRST in folded:
        return folded[FIRST]
    return folded.get(OTHERS, name)
