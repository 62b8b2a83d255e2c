"""Task metrics: how near answers come to their references. Heavy: for workers.

BLEU and chrF are sacrebleu's (Post 2018, arXiv:1804.08771), with its signatures; ROUGE is
torchmetrics' (Lin 2004), on words of any script.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from sacrebleu.metrics import BLEU, CHRF
from torchmetrics.functional.text.rouge import rouge_score

from trainer.evaluation.labels import LabelCounts, score_labels
from trainer.evaluation.settings import Metric

# kana and Han, which put no blank between words
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_UNSPACED}]|[^\\W_{_UNSPACED}]+")
_ROUGE = ("rouge1", "rouge2", "rougeL")


@dataclass(frozen=True)
class Scores:
    """`values` by name, in the scales of the field: BLEU and chrF from 0 to 100, the others from 0
    to 1. `signatures` say how sacrebleu counted, `labels` how each label fared."""

    values: dict[str, float]
    signatures: dict[str, str] = field(default_factory=dict)
    labels: dict[str, LabelCounts] = field(default_factory=dict)


def score(metrics: Sequence[Metric], answers: Sequence[str], references: Sequence[str]) -> Scores:
    """The metrics of at least one answer, each against its one reference."""
    values: dict[str, float] = {}
    signatures: dict[str, str] = {}
    labels: dict[str, LabelCounts] = {}
    for metric in metrics:
        match metric:
            case "exact_match":
                pairs = zip(answers, references, strict=True)
                values["exact_match"] = sum(
                    answer.strip() == reference.strip() for answer, reference in pairs
                ) / len(answers)
            case "bleu":
                bleu = BLEU(tokenize=_bleu_tokens(references))
                values["bleu"] = float(bleu.corpus_score(list(answers), [list(references)]).score)
                signatures["bleu"] = str(bleu.get_signature())
            case "chrf":
                chrf = CHRF()
                values["chrf"] = float(chrf.corpus_score(list(answers), [list(references)]).score)
                signatures["chrf"] = str(chrf.get_signature())
            case "rouge":
                values.update(_rouge(answers, references))
            case "label_accuracy":
                scores = score_labels(answers, references)
                values["label_accuracy"], values["label_macro_f1"] = (
                    scores.accuracy,
                    scores.macro_f1,
                )
                labels = scores.labels
    return Scores({name: round(value, 6) for name, value in values.items()}, signatures, labels)


def words(text: str) -> list[str]:
    """For ROUGE. Of English the same as the reference implementation's without stemming; that one
    sees no letter beyond a to z."""
    return _WORD.findall(text)


def _rouge(answers: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Mean F1 over the answers."""
    scores = rouge_score(
        list(answers), list(references), rouge_keys=_ROUGE, normalizer=str.lower, tokenizer=words
    )
    return {name: float(scores[f"{name}_fmeasure"]) for name in _ROUGE}


def _bleu_tokens(references: Sequence[str]) -> str:
    """sacrebleu's tokenizer: its default for text with blanks between words, characters for Chinese
    and Japanese."""
    text = "".join(references)
    letters = sum(character.isalpha() for character in text)
    unspaced = len(re.findall(f"[{_UNSPACED}]", text))
    if unspaced * 2 <= letters:
        return "13a"
    return "char" if re.search("[\u3040-\u30ff]", text) else "zh"
