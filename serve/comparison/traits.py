"""What can be seen of an answer without asking a model: small detectors, each of which a person can
check by reading the answer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from serve.comparison.journal import Entry
from serve.comparison.nearness import form

Dimension = Literal["outcome", "refusal", "language", "ending", "length", "format", "voice"]
DIMENSIONS: tuple[Dimension, ...] = (
    "outcome",
    "refusal",
    "language",
    "ending",
    "length",
    "format",
    "voice",
)
FLIPS: tuple[Dimension, ...] = ("outcome", "refusal", "language")
"""A prompt has flipped if one of these has changed: it has another result, not another look."""
NEARER = 10.0  # chrF points
LONGER = 1.5
_REFUSED_WITHIN = 240  # characters: a refusal comes first, if it comes
_REFUSALS = re.compile(
    r"\bI(?:'m| am)(?: really| very| so)? sorry,? (?:but|I)\b"
    r"|\bI (?:can(?:'t|not)|won't|will not|must decline|(?:am|'m) (?:unable|not able)) "
    r"(?:to )?(?:help|assist|provide|answer|do that|comply|fulfil|share|discuss|give|create)"
    r"|\bI (?:must|have to) decline\b|\bas an AI\b"
    r"|\b(?:es )?tut mir leid, (?:aber )?(?:ich|das) kann\b|\bich kann dir? dabei nicht\b"
    r"|\blo siento, (?:pero )?no puedo\b|\bje suis désolée?,? (?:mais )?je ne peux\b"
    r"|\bmi dispiace, (?:ma )?non posso\b|\bdesculpe, (?:mas )?não posso\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
VOICE = {
    "speaks as I": re.compile(r"\b(?:I|I['’]\w+|me|my|mine|myself)\b"),
    "exclaims": re.compile(r"!(?:\s|$|\"|”)"),
    "asks back": re.compile(r"\?\W*$"),
    "hedges": re.compile(
        r"\b(?:perhaps|maybe|might|possibly|probably|it seems|generally|in general)\b",
        re.IGNORECASE,
    ),
    "uses contractions": re.compile(
        r"\b(?:\w+n['’]t|\w+['’](?:re|ll|ve|m)|(?:it|that|there|what|here|let)['’]s)\b",
        re.IGNORECASE,
    ),
    "uses emoji": _EMOJI,
}
DETECTORS: dict[str, str] = {
    "outcome": "Against the reference: the same text or not, and chrF at least"
    f" {NEARER:g} points nearer or farther.",
    "refusal": "One of a list of phrases (“I can't help”, “as an AI”) in the first"
    f" {_REFUSED_WITHIN} characters, in six languages.",
    "language": "py3langid, where it is at least 90 % sure of both answers.",
    "ending": "Ended by a stop token, or cut off at the limit of tokens.",
    "length": f"At least {LONGER:g} times as many words, or as few.",
    "format": "JSON, code, table, list, paragraphs, lines or one line.",
    "voice": f"By patterns: {', '.join(VOICE)}.",
}


@dataclass(frozen=True)
class Traits:
    """What was seen of one answer."""

    words: int
    refuses: bool
    form: str
    language: str
    """Its code; "" where that is not sure."""
    cut_off: bool
    voice: frozenset[str]


def traits(answer: Entry, languages: Mapping[str, str]) -> Traits:
    """`languages` are those of the texts, as far as they are sure."""
    text = str(answer["text"])
    return Traits(
        words=len(words(text)),
        refuses=_REFUSALS.search(text[:_REFUSED_WITHIN].replace("’", "'")) is not None,
        form=form(text),
        language=languages.get(text, ""),
        cut_off=answer.get("reason") == "length",
        voice=frozenset(name for name, pattern in VOICE.items() if pattern.search(text)),
    )


def words(text: str) -> list[str]:
    return [word.replace("’", "'") for word in _WORD.findall(text)]


def changes(before: Traits, after: Traits) -> list[tuple[Dimension, str]]:
    """What the second answer does otherwise, in words."""
    changed: list[tuple[Dimension, str]] = []
    if before.refuses != after.refuses:
        changed.append(("refusal", "refuses now" if after.refuses else "answers now"))
    if before.language and after.language and before.language != after.language:
        changed.append(("language", f"{before.language} → {after.language}"))
    if before.cut_off != after.cut_off:
        changed.append(("ending", "cut off now" if after.cut_off else "ends now"))
    if abs(length_ratio(before, after)) >= math.log(LONGER):
        changed.append(("length", "longer" if after.words > before.words else "shorter"))
    if before.form != after.form:
        changed.append(("format", f"{before.form} → {after.form}"))
    changed += [("voice", f"now {name}") for name in sorted(after.voice - before.voice)]
    changed += [("voice", f"no longer {name}") for name in sorted(before.voice - after.voice)]
    return changed


def length_ratio(before: Traits, after: Traits) -> float:
    """The logarithm of how many times as many words the second one has."""
    return math.log((after.words + 1) / (before.words + 1))


def opposite(change: str) -> str:
    """The change that takes this one back."""
    pairs = {
        "refuses now": "answers now",
        "cut off now": "ends now",
        "longer": "shorter",
        "right now": "wrong now",
        "nearer the reference": "farther from it",
    }
    back = {second: first for first, second in pairs.items()}
    if change in pairs or change in back:
        return pairs.get(change) or back[change]
    if " → " in change:
        before, after = change.split(" → ")
        return f"{after} → {before}"
    if change.startswith("no longer "):
        return f"now {change.removeprefix('no longer ')}"
    return f"no longer {change.removeprefix('now ')}"


def outcome_changes(
    exact: tuple[float, float] | None, near: tuple[float, float] | None
) -> list[tuple[Dimension, str]]:
    """By the reference: base and tuned, whether the text is the same, and chrF."""
    changed: list[tuple[Dimension, str]] = []
    if exact is not None and exact[0] != exact[1]:
        changed.append(("outcome", "right now" if exact[1] > exact[0] else "wrong now"))
    if near is not None and abs(near[1] - near[0]) >= NEARER:
        nearer = near[1] > near[0]
        changed.append(("outcome", "nearer the reference" if nearer else "farther from it"))
    return changed
