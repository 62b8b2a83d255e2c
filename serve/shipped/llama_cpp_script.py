"""What llama.cpp says of a GGUF file: `PYTHON -I llama_cpp_script.py QUESTION ANSWER`.

It runs in an interpreter that has llama-cpp-python and not Luthier, so it imports nothing of
Luthier's. The question and the answer are those of serve/shipped/measured.py.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

_BATCH = 512


def main(question_path: str, answer_path: str) -> None:
    import llama_cpp

    question = json.loads(Path(question_path).read_text(encoding="utf-8"))
    engine = f"llama.cpp (llama-cpp-python {llama_cpp.__version__})"
    try:
        answer = {"engine": engine, **_answer(question, llama_cpp)}
    except (ValueError, RuntimeError) as error:
        scores = {"type": "broken", "reason": str(error)[:300]}
        answer = {"engine": engine, "scores": scores}
    Path(answer_path).write_text(json.dumps(answer), encoding="utf-8")


def _answer(question: dict[str, Any], llama_cpp: Any) -> dict[str, Any]:
    longest = max(len(sample["input_ids"]) for sample in question["samples"])
    model = llama_cpp.Llama(
        question["path"],
        n_ctx=longest + 8,
        n_batch=_BATCH,
        n_threads=len(os.sched_getaffinity(0)),
        n_gpu_layers=-1 if question["device"] == "cuda" else 0,
        logits_all=True,
        verbose=False,
    )
    vocabulary = llama_cpp.llama_model_get_vocab(model.model)
    prompts = [
        model.tokenize(text.encode(), add_bos=False, special=True) for text in question["texts"]
    ]
    ends = [token for token in question["stops"] if llama_cpp.llama_vocab_is_eog(vocabulary, token)]
    log_probabilities, first = [], []
    began = time.monotonic()
    for sample in question["samples"]:
        model.reset()
        model.eval(sample["input_ids"])
        for position in _scored(sample):
            logits = model.scores[position - 1].astype("float64")
            highest = logits.max()
            total = highest + _log_sum(logits - highest)
            log_probabilities.append(float(logits[sample["input_ids"][position]] - total))
            first.append(int(logits.argmax()))
    return {
        "scores": {"type": "scores", "log_probabilities": log_probabilities, "first": first},
        "seconds": time.monotonic() - began,
        "prompts": prompts,
        "ends": ends,
    }


def _log_sum(values: Any) -> float:
    import numpy

    return float(numpy.log(numpy.exp(values).sum()))


def _scored(sample: dict[str, Any]) -> list[int]:
    """The positions that are scored, as serve.certificate.turns.Sample has it."""
    if sample["whole"]:
        return list(range(1, len(sample["input_ids"])))
    return [position for turn in sample["turns"] for position in range(turn["start"], turn["end"])]


if __name__ == "__main__":
    main(*sys.argv[1:])
