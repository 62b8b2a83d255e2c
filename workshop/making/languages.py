"""The language of a text, by py3langid's model."""

from __future__ import annotations

from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

_SURE = 0.9
_EXCERPT = 20_000  # characters that a document's language is told by


@cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def language_of(text: str) -> str:
    """Its code, as "en"."""
    middle = max(0, len(text) // 2 - _EXCERPT // 2)
    return str(_identifier().classify(text[middle : middle + _EXCERPT])[0])


def other_language(text: str, language: str) -> str:
    """The language of a short text if it surely is another one; empty otherwise."""
    code, probability = _identifier().classify(text)
    return str(code) if code != language and probability >= _SURE else ""


def sure_language(text: str) -> str:
    """The language of a text, if that is sure; empty otherwise, as for a word or a number."""
    code, probability = _identifier().classify(text[:_EXCERPT])
    return str(code) if probability >= _SURE else ""
