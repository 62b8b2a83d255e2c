"""A model that judges answers, two at a time and in both orders: models prefer what stands first,
or last.

Only a pair on which both orders agree has a winner (Zheng et al. 2023, arXiv:2306.05685); otherwise
it is a tie.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from jobs.luthier_error import LuthierError
from models.endpoints import address_parts
from serve.client import ChatMessage, Endpoint, Sampling
from serve.comparison.asking import answer_entry
from serve.comparison.items import Item
from serve.comparison.journal import Entry, Journal, key_of
from serve.endpoint_address import hosted_at, own_server_at
from serve.votes.ballots import Comparison, Outcome

Verdict = Literal["A", "B", "tie", ""]

_KEY_VARIABLE = "LUTHIER_JUDGE_KEY"
_KNOWN_KEYS = {"api.openai.com": "OPENAI_API_KEY"}
_VERDICT = re.compile(r"verdict\W{0,6}(A|B|tie)\b", re.IGNORECASE)
_ORDER = """Two assistants have answered the last message of a conversation. \
Judge which answer serves the user better: is it right, does it
do what was asked, is it clear? Length alone is no merit, and neither is the place: \
which assistant stands first was chosen by chance.
{reference}
The conversation:
{conversation}

Answer of assistant A:
<answer>
{first}
</answer>

Answer of assistant B:
<answer>
{second}
</answer>

Say in one or two sentences why, then end with a line that is exactly "Verdict: A", \
"Verdict: B" or "Verdict: tie"."""

# Whoever wrote something else is asked once more, in a shape that servers can hold a model to.
_ONCE_MORE = "Which answer serves the user better? Only the verdict, as JSON: A, B or tie."
_VERDICT_TOKENS = 48
_VERDICT_FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "verdict",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"verdict": {"type": "string", "enum": ["A", "B", "tie"]}},
            "required": ["verdict"],
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True)
class Judge:
    model: str
    endpoint: Endpoint
    most_tokens: int = 1024

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=0.0, top_p=1.0, max_tokens=self.most_tokens)


@dataclass(frozen=True)
class Pair:
    """Two answers to one question: `first` and `second` name the models."""

    item: Item
    first: str
    second: str
    first_text: str
    second_text: str
    first_tokens: int | None = None
    second_tokens: int | None = None


@dataclass
class Judged:
    """`agreed` of `pairs` had the same verdict in both orders; `for_first` of the `decisive` single
    verdicts were for what stood first. `asked_again` counts the single verdicts that came only when
    the judge could say nothing else."""

    comparisons: list[Comparison] = field(default_factory=list)
    pairs: int = 0
    agreed: int = 0
    decisive: int = 0
    for_first: int = 0
    asked_again: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def judge_at(text: str, key_variable: str | None, most_tokens: int = 1024) -> Judge:
    """`MODEL@URL`, or MODEL@NAME of an endpoint in config.toml. The key comes from the environment:
    the variable that is named, else LUTHIER_JUDGE_KEY, else the one known for the host. One of
    Luthier's own servers that run here needs none."""
    model, at, where = text.rpartition("@")
    if not at or not model or not where:
        raise LuthierError(
            "Not a judge",
            f"{text!r} is not MODEL@URL.",
            "For example: gpt-5@https://api.openai.com/v1",
        )
    own_endpoint = None if key_variable else own_server_at(where)
    if own_endpoint is not None:
        return Judge(model, own_endpoint, most_tokens)
    defaults = (_KEY_VARIABLE, _KNOWN_KEYS.get(address_parts(where).hostname or "", ""))
    variables = [name for name in defaults if os.environ.get(name)] if "://" in where else []
    hosted = hosted_at(where, "a judge", [key_variable] if key_variable else variables)
    return Judge(model, hosted.open(), most_tokens)


def judgement_key(judge: Judge, pair: Pair, turned: bool) -> str:
    return key_of(judge.model, judge.endpoint.base_url, judge.most_tokens, _prompt(pair, turned))


def unjudged(judge: Judge, pairs: Sequence[Pair], journal: Journal) -> list[tuple[Pair, bool]]:
    """The pairs and orders without a verdict yet. Equal answers need none."""
    ordered_pairs = [
        (pair, turned)
        for pair in pairs
        if pair.first_text != pair.second_text
        for turned in (False, True)
    ]
    return [
        ordered_pair
        for ordered_pair in ordered_pairs
        if journal.found.get(judgement_key(judge, *ordered_pair), {"error": ""}).get("error")
        is not None
    ]


async def ask_judge(
    judge: Judge,
    ordered_pairs: Sequence[tuple[Pair, bool]],
    journal: Journal,
    on_verdict: Callable[[Entry], None],
    at_once: int,
) -> None:
    """Ask for each verdict, and write it down."""
    places = asyncio.Semaphore(at_once)

    async def ask_one(pair: Pair, turned: bool) -> None:
        async with places:
            entry = await _judged(judge, _prompt(pair, turned))
        on_verdict(
            journal.add(
                judgement_key(judge, pair, turned), judge=judge.model, turned=turned, **entry
            )
        )

    async with asyncio.TaskGroup() as group:
        for pair, turned in ordered_pairs:
            group.create_task(ask_one(pair, turned))


async def _judged(judge: Judge, prompt: str) -> Entry:
    """The judge's words with their verdict. `asked_again` says that it was told only when nothing
    else could be said."""
    question: ChatMessage = {"role": "user", "content": prompt}
    answer = await answer_entry(judge.endpoint, judge.model, [question], judge.sampling)
    verdict = verdict_in(answer["text"])
    if verdict or answer["error"] is not None:
        return {**answer, "verdict": verdict, "asked_again": False}
    conversation: list[ChatMessage] = [
        question,
        {"role": "assistant", "content": answer["text"]},
        {"role": "user", "content": _ONCE_MORE},
    ]
    sampling = replace(judge.sampling, max_tokens=_VERDICT_TOKENS)
    again = await answer_entry(judge.endpoint, judge.model, conversation, sampling, _VERDICT_FORMAT)
    return {**answer, "verdict": verdict_in(again["text"]), "asked_again": True}


def verdict_in(text: str) -> Verdict:
    """The last verdict of a text; empty if there is none."""
    verdicts = _VERDICT.findall(text)
    if not verdicts:
        return ""
    last = verdicts[-1].upper()
    if last == "TIE":
        return "tie"
    return "A" if last == "A" else "B"


def outcomes(judge: Judge, pairs: Sequence[Pair], journal: Journal) -> Judged:
    """What the verdicts say, as votes."""
    judged = Judged()
    for number, pair in enumerate(pairs):
        if pair.first_text == pair.second_text:
            judged.comparisons.append(_comparison(pair, number, "tie"))
            judged.left_out["both gave the same answer: a tie, without asking the judge"] += 1
            continue
        entries = [
            journal.found.get(judgement_key(judge, pair, turned)) for turned in (False, True)
        ]
        verdicts = [
            str(entry["verdict"]) if entry is not None and entry.get("error") is None else ""
            for entry in entries
        ]
        if "" in verdicts:
            judged.left_out["no verdict in one of the orders"] += 1
            continue
        judged.pairs += 1
        judged.decisive += sum(verdict != "tie" for verdict in verdicts)
        judged.for_first += verdicts.count("A")
        judged.asked_again += sum(bool((entry or {}).get("asked_again")) for entry in entries)
        straight: dict[str, Outcome] = {"A": "first", "B": "second", "tie": "tie"}
        turned: dict[str, Outcome] = {"A": "second", "B": "first", "tie": "tie"}
        both = straight[verdicts[0]], turned[verdicts[1]]
        judged.agreed += both[0] == both[1]
        judged.comparisons.append(
            _comparison(pair, number, both[0] if both[0] == both[1] else "tie")
        )
    return judged


def _comparison(pair: Pair, number: int, outcome: Outcome) -> Comparison:
    return Comparison(
        vote=str(number),
        chat="",
        turn=str(number),
        first=pair.first,
        second=pair.second,
        outcome=outcome,
        first_length=len(pair.first_text),
        second_length=len(pair.second_text),
        first_tokens=pair.first_tokens,
        second_tokens=pair.second_tokens,
        blind=True,
        created=0.0,
    )


def _prompt(pair: Pair, turned: bool) -> str:
    """No model is named."""
    first, second = (
        (pair.second_text, pair.first_text) if turned else (pair.first_text, pair.second_text)
    )
    conversation = "\n\n".join(
        f"[{message['role']}]\n{message.get('content') or ''}" for message in pair.item.messages
    )
    answer = pair.item.reference
    reference = (
        ""
        if answer is None
        else (
            "\nAn answer that is known to be good, written by a"
            f" person:\n<reference>\n{answer}\n</reference>\n"
        )
    )
    return _ORDER.format(reference=reference, conversation=conversation, first=first, second=second)
