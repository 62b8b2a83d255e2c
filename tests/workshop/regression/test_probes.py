"""The probes: Luthier's own, and files of others."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from jobs.job import Job
from jobs.luthier_error import LuthierError
from models.regression_guard import FAMILIES
from models.runs import Run
from workshop.regression.lm_eval import paired
from workshop.regression.probes import luthiers_probes, passages, read_probes
from workshop.regression.scorers import passes


def written(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_luthiers_probes_are_whole() -> None:
    probes = luthiers_probes()
    counts = Counter(probe.family for probe in probes)
    assert [*counts] == [*FAMILIES]
    assert min(counts.values()) >= 15  # fewer could hardly ever be significant
    assert len({probe.id for probe in probes}) == len(probes)
    assert len({probe.prompt for probe in probes}) == len(probes)
    assert len(passages()) >= 10


def test_own_probes(tmp_path: Path) -> None:
    row = {"id": "a", "family": "house", "prompt": "Hi", "expect": {"any_of": ["hello"]}}
    path = written(tmp_path / "own.jsonl", row, {**row, "id": "b"})
    assert [probe.id for probe in read_probes(path)[0]] == ["a", "b"]
    assert len(read_probes(path, 1)[0]) == 1


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"id": "a", "family": "f", "prompt": "Hi", "expect": {"nummer": 5}}, "line 1.*nummer"),
        ({"id": "a", "family": "F!", "prompt": "Hi", "expect": {}}, "line 1.*family"),
        ({"id": "a", "family": "all", "prompt": "Hi", "expect": {}}, "family all"),
        ({"prompt": "Hi"}, "line 1"),
    ],
)
def test_what_is_no_probe_is_refused(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    with pytest.raises(LuthierError, match=words):
        read_probes(written(tmp_path / "own.jsonl", row))


def test_two_of_one_id_and_files_that_are_none_are_refused(tmp_path: Path) -> None:
    row = {"id": "a", "family": "f", "prompt": "Hi", "expect": {}}
    with pytest.raises(LuthierError, match="two probes with the id a"):
        read_probes(written(tmp_path / "own.jsonl", row, row))
    (tmp_path / "no.jsonl").write_text("hello\n")
    with pytest.raises(LuthierError, match="line 1"):
        read_probes(tmp_path / "no.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(LuthierError, match="no probes"):
        read_probes(tmp_path / "empty.jsonl")
    with pytest.raises(LuthierError, match="No such file"):
        read_probes(tmp_path / "nowhere.jsonl")


def test_public_benchmarks(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": "How many?", "answer": "3 and 4 make 7.\n#### 1,007"},
        {"question_id": 9, "question": "Which?", "options": ["x", "y"], "answer": "B"},
        {
            "key": 1000,
            "prompt": "Write 3 bullets without commas.",
            "instruction_id_list": [
                "punctuation:no_comma",
                "detectable_format:number_bullet_lists",
                "detectable_format:number_highlighted_sections",
            ],
            "kwargs": [{}, {"num_bullets": 2}, {"num_highlights": 2}],
        },
        {
            "key": 1001,
            "prompt": "...",
            "instruction_id_list": ["change_case:capital_word_frequency"],
            "kwargs": [{"capital_frequency": 3, "capital_relation": "at least"}],
        },
    ]
    (gsm8k, mmlu, ifeval), skipped = read_probes(written(tmp_path / "tasks.jsonl", *rows))
    assert (gsm8k.family, mmlu.family, ifeval.family, skipped) == ("gsm8k", "mmlu-pro", "ifeval", 1)
    assert passes(gsm8k.expect, "So it is 1007.", ended=True)
    assert passes(mmlu.expect, "Hm. The answer is B.", ended=True)
    assert "B. y" in mmlu.prompt
    assert passes(ifeval.expect, "* *one* a\n* *two* b", ended=True)
    assert not passes(ifeval.expect, "* *one* a\n* *two* b, c", ended=True)


def samples(path: Path, *passed: bool, prompt_hash: str = "p") -> Path:
    rows = [
        {
            "doc_id": number,
            "doc": {"question": f"q{number}"},
            "target": "5",
            "arguments": [["q", {"until": []}]],
            "resps": [["5" if good else "6"]],
            "filter": "strict-match",
            "doc_hash": f"d{number}",
            "prompt_hash": prompt_hash,
            "exact_match": float(good),
        }
        for number, good in enumerate(passed)
    ]
    return written(path, *rows)


def test_samples_of_lm_eval_are_paired(tmp_path: Path) -> None:
    run = Run(Job(tmp_path / "20261129-1259-mine-86e5"))
    run.job.directory.mkdir()
    spec = {"kind": "run", "name": "mine", "module": "trainer.worker"}
    (run.job.directory / "spec.json").write_text(json.dumps(spec))
    base = samples(tmp_path / "samples_gsm8k_2026-11-29T12-00-00.1.jsonl", True, True, False)
    tuned = samples(tmp_path / "tuned.jsonl", True, False, True)
    pairs = paired(run, base, tuned, {"gsm8k": 3.0})
    assert [item.outcome for item in pairs.items] == ["unchanged", "lost", "won"]
    assert {item.family for item in pairs.items} == {"gsm8k"}
    assert (pairs.items[1].base.text, pairs.items[1].tuned.text) == ("5", "6")
    other = samples(tmp_path / "other.jsonl", True, False, True, prompt_hash="q")
    with pytest.raises(LuthierError, match="differ in the prompt of document 0"):
        paired(run, base, other, {})
    with pytest.raises(LuthierError, match="2 are of"):
        paired(run, base, samples(tmp_path / "short.jsonl", True, False), {})
    with pytest.raises(LuthierError, match="none of the metrics"):
        paired(run, written(tmp_path / "odd.jsonl", {"doc_id": 1}), tuned, {})
    with pytest.raises(LuthierError, match="No such file"):
        paired(run, base, tmp_path / "nowhere.jsonl", {})
