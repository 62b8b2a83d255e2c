"""What a column's name says of its meaning: a judgement of the answer, text that the answer rests
on, a picture or a sound. The tables of names stand here and nowhere else. Light."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from trainer.data.media import MEDIA_COLUMN

Kind = Literal["verdict", "score", "context", "media"]


def word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words in a column's name. A verdict is read from its values; a score says nothing until somebody
# says from which value on it is good.
_VERDICTS = word_set(
    "label labels correct accept accepted approved winner thumb thumbs feedback verdict liked"
    " preferred preference chosen good valid kto desirable judgement judgment helpful safe success"
    " upvoted"
)
AGAINST = word_set(
    "reject rejected bad wrong incorrect invalid harmful toxic flagged disliked unsafe hallucinated"
    " hallucination spam undesirable downvoted unhelpful"
)
_SCORES = word_set(
    "score scores rating ratings reward rewards quality upvotes downvotes votes stars grade grades"
    " rank ranks ranking likes dislikes karma helpfulness correctness coherence harmlessness"
    " honesty truthfulness toxicity"
)
_NO_JUDGEMENT = word_set(
    "id ids model models annotator annotators user users date time timestamp lang language url urls"
    " version type"
)
_CONTEXTS = word_set(
    "context contexts ctx ctxs passage passages document documents doc docs article articles"
    " background reference references retrieved retrieval knowledge evidence evidences paragraph"
    " paragraphs story excerpt snippet snippets chunk chunks facts premise persona personality"
    " scenario transcript"
)
CONTEXT_NAMES = word_set(
    "input inputs history source_text search_results options choices question query instruction"
    " prompt problem hypothesis table schema code"
)
LESS_IS_BETTER = word_set("rank ranks ranking toxicity downvotes dislikes")
_NO_CONTEXT = word_set(
    "id ids url urls uri link links title titles name names len length count num number score type"
    " types lang language date time answer answers hash token tokens start end idx index file"
    " filename path category domain topic source used has is"
)


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
    if MEDIA_COLUMN.fullmatch(folded) and "caption" not in words:
        return "media"
    if not words & _NO_JUDGEMENT:
        if words & _SCORES:
            return "score"
        if words & (_VERDICTS | AGAINST):
            return "verdict"
    if folded in CONTEXT_NAMES or (words & _CONTEXTS and not words & _NO_CONTEXT):
        return "context"
    return None
