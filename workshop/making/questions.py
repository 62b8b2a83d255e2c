"""Questions to passages: asked for, checked, and asked back."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs import foreign_json
from jobs.foreign_json import Damaged
from serve.comparison.journal import Entry
from workshop.asking.asker import Asker, Request
from workshop.making.checks import Fault, answer_fault, question_fault
from workshop.making.passages import Passage
from workshop.making.recipe import Making, Prompt

_ATTEMPTS = 2
"""How often the same is asked where the answer cannot be read."""
_FENCE = re.compile(r"\A```(?:json)?\s*(.*?)\s*```\Z", re.DOTALL)
_THOUGHTS = re.compile(r"\A.*</think>", re.DOTALL)
_NOTHING_BEFORE = "(nothing)"


@dataclass
class Verdict:
    """What came of a passage: a question, unless there is a fault; with neither, the endpoint has
    not answered."""

    passage: Passage
    question: str = ""
    fault: Fault | None = None
    is_complete: bool = False
    """Whether all was asked that had to be."""

    @property
    def is_open(self) -> bool:
        return self.fault is None and bool(self.question)


class Questioner:
    """Asks about passages, as the recipe wants it."""

    def __init__(self, making: Making, asker: Asker) -> None:
        assert making.questions is not None and making.answers is not None
        self._recipe, self._asker = making.recipe, asker
        self._questions, self._answers = making.questions, making.answers

    async def verdicts(self, passages: Sequence[Passage]) -> list[Verdict]:
        """Of passages that follow one another: the exchanges of an interview, or those whose
        questions are asked back together."""
        verdicts = [Verdict(passage) for passage in passages]
        is_interview = self._recipe.method == "interview"
        groups = [verdicts] if is_interview else [[verdict] for verdict in verdicts]
        await asyncio.gather(*(self._ask(group) for group in groups))
        await self._ask_back([verdict for verdict in verdicts if verdict.is_open])
        return verdicts

    async def _ask(self, verdicts: Sequence[Verdict]) -> None:
        passages = [verdict.passage for verdict in verdicts]
        texts = [passage.text for passage in passages]
        is_interview = self._recipe.method == "interview"
        questions = await self._listed(
            self._questions,
            "questions",
            len(passages),
            passages=_numbered("Passage", texts) if is_interview else texts[0],
            previous=passages[0].previous or _NOTHING_BEFORE,
            title=passages[0].location.chapter or passages[0].location.file,
        )
        if questions is None:
            return
        checks = self._recipe.checks
        for index, verdict in enumerate(verdicts):
            verdict.is_complete = True
            if isinstance(questions, Fault):
                verdict.fault = questions
                continue
            verdict.question = _tidy(questions[index])
            verdict.fault = question_fault(
                verdict.question, verdict.passage.text, verdict.passage.language, checks
            )

    async def _ask_back(self, verdicts: Sequence[Verdict]) -> None:
        if not verdicts or not self._recipe.checks.ask_back:
            return
        passages = [verdict.passage for verdict in verdicts]
        answers = await self._listed(
            self._answers,
            "answers",
            len(verdicts),
            passages=_numbered("Passage", [passage.text for passage in passages]),
            questions=_numbered("Question", [verdict.question for verdict in verdicts]),
            title=passages[0].location.chapter or passages[0].location.file,
        )
        for index, verdict in enumerate(verdicts):
            verdict.is_complete = answers is not None
            if isinstance(answers, Fault):
                verdict.fault = answers
            elif answers is not None:
                verdict.fault = answer_fault(
                    answers[index], verdict.question, verdict.passage.text, self._recipe.checks
                )

    async def _listed(
        self, prompt: Prompt, name: str, count: int, **values: str
    ) -> list[str] | Fault | None:
        """The texts of a JSON list of that name; a fault if the answer has none, None if there is
        no answer."""
        messages = prompt.messages(count=count, **values)
        fault = Fault("unreadable")
        for attempt in range(_ATTEMPTS):
            request = Request(
                messages,
                self._recipe.sampling.fields(),
                schema=_schema(name, count),
                attempt=attempt,
            )
            entry = await self._asker.answer(request)
            if entry is None:
                return None
            texts = read_list(entry, name, count)
            if not isinstance(texts, Fault):
                return texts
            fault = texts
        return fault


def read_list(entry: Entry, name: str, count: int) -> list[str] | Fault:
    """Strictly: an object with a list of so many texts."""
    text = str(entry["message"]["content"])
    if entry.get("reason") == "length":
        return Fault("cut_off")
    plain = _THOUGHTS.sub("", text).strip()
    fenced = _FENCE.match(plain)
    try:
        answer = foreign_json.decode_object(fenced[1] if fenced else plain, "the answer")
    except Damaged:
        return Fault("unreadable", plain[:80])
    texts = answer.get(name)
    if not isinstance(texts, list) or not all(isinstance(item, str) for item in texts):
        return Fault("unreadable", plain[:80])
    if len(texts) != count:
        return Fault("unreadable", f"{len(texts)} of {count} {name}")
    return texts


def _schema(name: str, count: int) -> dict[str, Any]:
    items = {"type": "array", "items": {"type": "string"}, "minItems": count, "maxItems": count}
    return {
        "type": "object",
        "properties": {name: items},
        "required": [name],
        "additionalProperties": False,
    }


def _numbered(word: str, texts: Sequence[str]) -> str:
    return "\n\n".join(f"{word} {number}:\n{text}" for number, text in enumerate(texts, 1))


def _tidy(question: str) -> str:
    """Without a number or quotation marks around it."""
    question = re.sub(
        r"\A\s*(?:(?:question\s*)?\d{1,2}\s*[.):]\s+|q\s*:\s+)", "", question, flags=re.I
    )
    question = question.strip()
    if len(question) > 2 and question[0] in "\"'\u201c\u201e" and question[-1] in "\"'\u201d\u201c":
        question = question[1:-1].strip()
    return question
