"""How near each answer comes to its reference: `python -P -m serve.comparison.metrics`, JSON in,
JSON out. Heavy: sacrebleu loads numpy.

chrF of each answer is sacrebleu's (Popović 2015, doi:10.18653/v1/W15-3049), from 0 to 100.
"""

from __future__ import annotations

import json
import sys

from sacrebleu.metrics.chrf import CHRF

from jobs import foreign_json


def main() -> None:
    asked = foreign_json.decode_object(sys.stdin.read(), "standard input", lenient=True)
    metric = CHRF()
    scores = {
        model: [
            float(metric.sentence_score(answer, [reference]).score)
            for answer, reference in zip(answers, asked["references"], strict=True)
        ]
        for model, answers in asked["answers"].items()
    }
    json.dump({"scores": scores, "signature": str(metric.get_signature())}, sys.stdout)


if __name__ == "__main__":
    main()
