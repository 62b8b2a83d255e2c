"""Task metrics: known values, scales, and scripts without blanks between words."""

from __future__ import annotations

import random

import pytest

from trainer.evaluation.metrics import score, words
from trainer.evaluation.settings import VALUES, Metric

pytestmark = pytest.mark.real  # torchmetrics loads torch and transformers

ALL: list[Metric] = [*VALUES]
REFERENCES = ["the cat sat on the mat", "a quick brown fox jumps over it", "ahoy there"]


def test_equal_answers_score_full_and_strangers_nothing() -> None:
    best = score(ALL, [f" {text}\n" for text in REFERENCES], REFERENCES).values
    assert best == {
        "exact_match": 1.0,
        "bleu": pytest.approx(100.0),
        "chrf": pytest.approx(100.0),
        "rouge1": 1.0,
        "rouge2": 1.0,
        "rougeL": 1.0,
        "label_accuracy": 1.0,
        "label_macro_f1": 1.0,
    }
    worst = score(ALL, ["", "ззз", "ж"], REFERENCES).values
    assert {name: value for name, value in worst.items() if value > 0} == {}
    assert set(worst) == {value for values in VALUES.values() for value in values}


def test_rouge_is_the_textbooks() -> None:
    """Lin 2004's own example: police killed the gunman / the gunman kill police, against police
    kill the gunman."""
    found = score(
        ["rouge"],
        ["police kill the gunman", "the gunman kill police"],
        ["police killed the gunman"] * 2,
    ).values
    assert found["rouge1"] == pytest.approx(0.75)
    assert found["rouge2"] == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert found["rougeL"] == pytest.approx((0.75 + 0.5) / 2)


def test_bleu_and_chrf_are_sacrebleus_and_say_how_they_count() -> None:
    found = score(["bleu", "chrf"], ["the cat sat on a mat", *REFERENCES[1:]], REFERENCES)
    assert found.signatures["bleu"].startswith(
        "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2."
    )
    assert found.signatures["chrf"].startswith(
        "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2."
    )
    assert 60 < found.values["bleu"] < 100
    assert 60 < found.values["chrf"] < 100


def test_the_order_of_the_pairs_does_not_matter() -> None:
    answers = ["the dog sat on the mat", "a quick fox jumps", "ahoy"]
    pairs = list(zip(answers, REFERENCES, strict=True))
    once = score(ALL, answers, REFERENCES).values
    random.Random(3).shuffle(pairs)
    assert score(ALL, [a for a, _ in pairs], [b for _, b in pairs]).values == pytest.approx(once)


def test_scripts_of_all_kinds_count() -> None:
    assert words("Naïve, don't_stop: 3.5") == ["Naïve", "don", "t", "stop", "3", "5"]
    assert words("我是 Tom。カナ") == ["我", "是", "Tom", "カ", "ナ"]
    chinese = score(["bleu", "rouge"], ["今天天气很好我们去公园"], ["今天天气很好我们去学校"])
    assert chinese.values["bleu"] > 50
    assert chinese.values["rouge1"] == pytest.approx(9 / 11)
    assert "tok:zh" in chinese.signatures["bleu"]
    assert "tok:char" in score(["bleu"], ["今日はいい天気"], ["今日はいい天気"]).signatures["bleu"]
    assert score(["rouge"], ["доброе утро"], ["Доброе утро всем"]).values[
        "rouge1"
    ] == pytest.approx(0.8)


def test_labels_are_counted_each() -> None:
    found = score(["label_accuracy"], ["Yes", "no", "no"], ["yes", "yes", "no"])
    assert found.values == {
        "label_accuracy": pytest.approx(2 / 3, abs=1e-6),
        "label_macro_f1": pytest.approx(2 / 3, abs=1e-6),
    }
    assert found.labels["yes"]._asdict() == {"references": 2, "answers": 1, "right": 1}
