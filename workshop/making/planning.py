"""Writes what a making would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from jobs.files import write_json
from jobs.luthier_error import LuthierError
from workshop.asking.budget import NOTHING, most_tokens
from workshop.making.conversations import Conversations, sections, usable
from workshop.making.documents.document import Document
from workshop.making.order import Order
from workshop.making.passages import Passage
from workshop.making.preview import PLAN_FILE, DocumentPlan, PassagePlan, Plan, SpeakerPlan
from workshop.making.speakers import roles_of, speakers_of

_EXAMPLES = 3


def write_plan(
    folder: Path,
    order: Order,
    documents: list[Document],
    passages: Sequence[Passage],
    languages: Mapping[str, str],
) -> None:
    recipe = order.making.recipe
    counts = Counter(passage.location.file for passage in passages)
    is_dialogue = recipe.method == "dialogue"
    kept = list(passages) if is_dialogue else usable(passages, recipe, Conversations())
    roles: dict[str, str] = {}
    unclear = ""
    if is_dialogue:
        try:
            roles = dict(roles_of(documents, order.roles))
        except LuthierError as error:
            title = error.title if error.title.endswith("?") else f"{error.title}."
            unclear = f"{title} {error.message} {error.hint}"
    plan = Plan(
        [
            DocumentPlan(
                document.file,
                document.kind,
                sum(len(block.text) for block in document.blocks),
                counts[document.file],
                languages[document.file],
                dict(+document.left_out),
            )
            for document in documents
        ],
        [
            SpeakerPlan(each.name, roles.get(each.name, ""), each.turns, each.words, each.first)
            for each in speakers_of(documents)
        ],
        unclear,
        [PassagePlan(passage.location, passage.text) for passage in kept[:_EXAMPLES]],
        len(passages),
        len(kept),
        *_requests(order, kept),
    )
    write_json(folder / PLAN_FILE, msgspec.to_builtins(plan))


def _requests(order: Order, passages: Sequence[Passage]) -> tuple[int, int, float]:
    """How many there are if each is answered at once, the most tokens that they take, and what
    these cost."""
    making, terms = order.making, order.terms
    if terms is None or making.questions is None or making.answers is None:
        return 0, 0, 0.0
    recipe = making.recipe
    tokens, count = NOTHING, 0
    length = recipe.sampling.max_tokens
    for section in sections(passages, recipe):
        texts = "\n\n".join(passage.text for passage in section)
        values = {"passages": texts, "previous": section[0].previous, "title": "", "count": 1}
        asked_alone = recipe.method == "qa"
        messages = making.questions.messages(**values)
        per_section = len(section) if asked_alone else 1
        prompt = most_tokens(messages, [], length)
        for _ in range(per_section):
            tokens, count = tokens.plus(prompt), count + 1
        if recipe.checks.ask_back:
            back = making.answers.messages(passages=texts, questions="", title="", count=1)
            tokens, count = tokens.plus(most_tokens(back, [], length)), count + 1
    return count, tokens.total, round(terms.ceiling.cost_of(tokens), 4)
