"""Passages become the rows of a data file; the ledger says of each what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from string import Template
from typing import Any, Literal

import msgspec

from workshop.making.checks import Fault, NearTexts, words
from workshop.making.ledger import Entry, State
from workshop.making.order import Role
from workshop.making.passages import Passage
from workshop.making.questions import Verdict
from workshop.making.recipe import MakingRecipe

Part = Literal["train", "heldout"]


@dataclass
class Row:
    """A conversation. `passages` are those that it is made of, in their order."""

    messages: list[dict[str, Any]]
    passages: list[Passage]
    part: Part = "train"

    def as_data(self) -> dict[str, Any]:
        first, last = self.passages[0].location, self.passages[-1].location
        source = {
            **msgspec.to_builtins(first),
            "end": last.end,
            **({} if last.ends is None else {"ends": last.ends}),
            "numbers": [passage.number for passage in self.passages],
        }
        return {"messages": self.messages, "source": source}


@dataclass
class Conversations:
    """`entries` has one for each passage, by its number."""

    rows: list[Row] = field(default_factory=list)
    entries: dict[int, Entry] = field(default_factory=dict)

    def note(self, passage: Passage, state: State, reason: str = "", **details: str) -> None:
        assert passage.number not in self.entries
        self.entries[passage.number] = Entry(
            passage.number, passage.location, state, reason, **details
        )

    def reject(self, passage: Passage, fault: Fault, question: str = "") -> None:
        self.note(passage, "rejected", fault.code, detail=fault.detail, question=question)


def usable(
    passages: Sequence[Passage], recipe: MakingRecipe, conversations: Conversations
) -> list[Passage]:
    """Those that are long enough and repeat no other."""
    near = NearTexts(recipe.checks.nearest)
    kept = []
    for passage in passages:
        count = len(words(passage.text))
        if count < recipe.passages.fewest_words:
            conversations.reject(passage, Fault("too_short", f"{count} words"))
        elif (earlier := near.nearest(passage.number, passage.text)) is not None:
            conversations.reject(passage, Fault("repeated", f"passage {earlier}"))
        else:
            kept.append(passage)
    return kept


def sections(passages: Sequence[Passage], recipe: MakingRecipe) -> list[list[Passage]]:
    """What is asked about together: an interview stays in its chapter, other questions are only
    asked back together."""
    groups: list[list[Passage]] = []
    for passage in passages:
        last = groups[-1] if groups else []
        is_apart = recipe.method == "interview" and last and not _same_chapter(last[-1], passage)
        if last and len(last) < recipe.turns and not is_apart:
            last.append(passage)
        else:
            groups.append([passage])
    return groups


def stretches(passages: Sequence[Passage], longest: int) -> list[list[Passage]]:
    """Passages that follow one another, so many at a time, over the borders of chapters. One that
    would be alone joins those before it."""
    groups: list[list[Passage]] = []
    for passage in passages:
        last = groups[-1] if groups else []
        goes_on = bool(last) and _follows(passage, last[-1])
        if goes_on and len(last) < longest:
            last.append(passage)
        else:
            groups.append([passage])
    for index in range(len(groups) - 1, 0, -1):
        group, before = groups[index], groups[index - 1]
        if len(group) == 1 and _follows(group[0], before[-1]):
            groups[index - 1 : index + 1] = [[*before, *group]]
    return groups


def _follows(passage: Passage, earlier: Passage) -> bool:
    same_file = passage.location.file == earlier.location.file
    return same_file and passage.number == earlier.number + 1


def _same_chapter(passage: Passage, other: Passage) -> bool:
    location, other_location = passage.location, other.location
    return (location.file, location.chapter) == (other_location.file, other_location.chapter)


def asked(
    verdicts: Sequence[Sequence[Verdict]], recipe: MakingRecipe, conversations: Conversations
) -> None:
    """The conversations of passages and their questions; each section an interview, or each passage
    a row."""
    near = NearTexts(recipe.checks.nearest)
    for section in verdicts:
        kept = [verdict for verdict in section if _is_kept(verdict, near, conversations)]
        groups = [kept] if recipe.method == "interview" else [[verdict] for verdict in kept]
        for group in groups:
            if group:
                turns = [(verdict.question, verdict.passage.text) for verdict in group]
                passages = [verdict.passage for verdict in group]
                conversations.rows.append(Row(_messages(recipe, turns), passages))


def _is_kept(verdict: Verdict, near: NearTexts, conversations: Conversations) -> bool:
    passage, question = verdict.passage, verdict.question
    if verdict.fault is None and verdict.is_complete:
        earlier = near.nearest(passage.number, question)
        if earlier is None:
            conversations.note(passage, "kept", question=question)
            return True
        verdict.fault = Fault("duplicate", f"that of passage {earlier}")
    if verdict.fault is None:
        conversations.note(passage, "unanswered", "no_answer")
    else:
        conversations.reject(passage, verdict.fault, question)
    return False


def continued(
    passages: Sequence[Passage], recipe: MakingRecipe, conversations: Conversations
) -> None:
    """Each conversation has passages of its own, so that none is trained on and held out."""
    opening = Template(recipe.opening)
    for section in stretches(passages, recipe.turns + 1):
        first, *following = section
        if not following:
            conversations.reject(first, Fault("alone"))
            continue
        prompts = [opening.substitute(previous=first.text)]
        prompts += [recipe.onward] * (len(following) - 1)
        turns = [(prompt, each.text) for prompt, each in zip(prompts, following, strict=True)]
        conversations.note(first, "context", "beginning")
        for passage in following:
            conversations.note(passage, "kept")
        conversations.rows.append(Row(_messages(recipe, turns), section))


def spoken(
    turns: Sequence[Passage],
    roles: Mapping[str, Role],
    recipe: MakingRecipe,
    conversations: Conversations,
) -> None:
    """The conversations of a transcript: cut where a user speaks next."""
    kept = []
    for turn in turns:
        if roles[turn.speaker] == "drop":
            conversations.reject(turn, Fault("dropped_speaker", turn.speaker))
        elif len(turn.text) > recipe.passages.longest:
            conversations.reject(turn, Fault("too_long", f"{len(turn.text):,} characters"))
        else:
            kept.append(turn)
    for _, group in groupby(kept, lambda turn: turn.location.file):
        sides = [(role, list(side)) for role, side in groupby(group, lambda t: roles[t.speaker])]
        if sides and sides[0][0] == "assistant":
            for turn in sides.pop(0)[1]:
                conversations.reject(turn, Fault("no_question_before"))
        if sides and sides[-1][0] == "user":
            for turn in sides.pop()[1]:
                conversations.reject(turn, Fault("no_answer_after"))
        exchanges = [(sides[index][1], sides[index + 1][1]) for index in range(0, len(sides), 2)]
        for group_of_exchanges in _windows(exchanges, recipe):
            texts = [(_joined(user), _joined(answer)) for user, answer in group_of_exchanges]
            passages = [turn for pair in group_of_exchanges for side in pair for turn in side]
            for turn in passages:
                conversations.note(turn, "kept")
            conversations.rows.append(Row(_messages(recipe, texts), passages))


def _windows(
    exchanges: Sequence[tuple[list[Passage], list[Passage]]], recipe: MakingRecipe
) -> Iterator[list[tuple[list[Passage], list[Passage]]]]:
    current: list[tuple[list[Passage], list[Passage]]] = []
    length = 0
    for exchange in exchanges:
        size = sum(len(turn.text) for side in exchange for turn in side)
        if current and (len(current) == recipe.turns or length + size > recipe.passages.longest):
            yield current
            current, length = [], 0
        current.append(exchange)
        length += size
    if current:
        yield current


def _joined(turns: Sequence[Passage]) -> str:
    return "\n".join(turn.text for turn in turns)


def _messages(recipe: MakingRecipe, turns: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    messages = [{"role": "system", "content": recipe.system}] if recipe.system else []
    for question, answer in turns:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    return messages


def split(conversations: Conversations, share: float) -> None:
    """Decide by its first passage which part a conversation is in: it then stays there, whatever
    else is made beside it."""
    rows = conversations.rows
    marks = [_mark(row) for row in rows]
    if share and len(rows) > 1:
        limit = max(share, min(marks) + 1e-12)  # of few conversations, one at least
        for row, mark in zip(rows, marks, strict=True):
            row.part = "heldout" if mark < limit else "train"
    for row in rows:
        for passage in row.passages:
            entry = conversations.entries[passage.number]
            conversations.entries[passage.number] = msgspec.structs.replace(entry, part=row.part)


def _mark(row: Row) -> float:
    """Between 0 and 1."""
    text = row.passages[0].text.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest()) / 2**64
