"""Two files of samples that lm-eval wrote (`--log_samples`), one of the base and one of the tuned
model, as a result of pairs. Light.

lm-eval itself asks Luthier's endpoint as any other; it is not a dependency of Luthier's, whose
locked packages it would change.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models import foreign
from models.runs import Run
from workshop.regression.result import Item, Reply, Result, check_bounds

_METRICS = (
    "exact_match",
    "acc",
    "prompt_level_strict_acc",
    "pass@1",
    "pass_at_1",
    "acc_norm",
    "em",
)
"""A sample passes by the first of these that it has."""


class _Sample(msgspec.Struct):
    """A line of such a file. Its metrics are keys of their own."""

    doc_id: int
    doc: dict[str, Any] = {}
    arguments: Any = None
    resps: Any = None
    target: Any = None
    doc_hash: str = ""
    prompt_hash: str = ""
    filter: str = ""


def paired(run: Run, base: Path, tuned: Path, points: dict[str, float]) -> Result:
    """LuthierError where a file cannot be read, or the two were not asked alike."""
    family = _task(base)
    of_base, of_tuned = _samples(base), _samples(tuned)
    shared = [key for key in of_base if key in of_tuned]
    if not shared or len(shared) < max(len(of_base), len(of_tuned)):
        message = (
            f"{base} has {len(of_base)} samples and {tuned} {len(of_tuned)}; {len(shared)} are of"
            " the same documents."
        )
        hint = "Run lm-eval for both models with the same task and limit."
        raise LuthierError("Not the same samples", message, hint)
    for key in shared:
        _check_alike(of_base[key][0], of_tuned[key][0], base, tuned)
    items = [_item(family, of_base[key], of_tuned[key]) for key in shared]
    check_bounds(points, [family])
    return Result(run.id, "base", run.name, items, [], points)


def _task(path: Path) -> str:
    """samples_gsm8k_2026-11-29T12-00-00.jsonl is of gsm8k."""
    name = path.stem.removeprefix("samples_")
    task, _, _ = name.rpartition("_") if "T" in name.rpartition("_")[2] else (name, "", "")
    return task or "lm-eval"


def _samples(path: Path) -> dict[tuple[int, str], tuple[_Sample, bool]]:
    """The samples with whether each passed, by document and filter."""
    by_document = {}
    try:
        for number, row in enumerate(foreign.Decoder(dict[str, Any]).lines(path), start=1):
            where = f"{path}, line {number}"
            sample = foreign.convert(row, _Sample, where)
            by_document[sample.doc_id, sample.filter] = (sample, _passed(row, where))
    except Damaged as error:
        hint = "lm-eval writes such files with --log_samples --output_path FOLDER."
        message = f"{error.where}: {error.reason}."
        raise LuthierError("Not samples of lm-eval", message, hint) from None
    except OSError as error:
        message = f"{path}: {error.strerror}."
        raise LuthierError("File not readable", message, "Check the path.") from None
    return by_document


def _passed(row: dict[str, Any], where: str) -> bool:
    for metric in _METRICS:
        value = row.get(metric)
        if isinstance(value, bool | int | float):
            return value >= 1
    raise Damaged(where, f"it has none of the metrics {', '.join(_METRICS)}")


def _check_alike(base: _Sample, tuned: _Sample, base_path: Path, tuned_path: Path) -> None:
    """The same document under the same prompt: with other examples or another template, the figures
    would compare those."""
    prompts = (base.prompt_hash, tuned.prompt_hash)
    same_prompt = prompts[0] == prompts[1] and base.arguments == tuned.arguments
    if base.doc_hash != tuned.doc_hash or not same_prompt:
        message = (
            f"{base_path.name} and {tuned_path.name} differ in the prompt of document"
            f" {base.doc_id}: another template, or other examples before it."
        )
        hint = "Run lm-eval for both models with the same --apply_chat_template and --num_fewshot."
        raise LuthierError("Not asked alike", message, hint)


def _item(family: str, base: tuple[_Sample, bool], tuned: tuple[_Sample, bool]) -> Item:
    sample = base[0]
    return Item(
        f"{sample.doc_id}" + (f"-{sample.filter}" if sample.filter not in ("", "none") else ""),
        family,
        _prompt(sample),
        f"is {_text(sample.target)}",
        Reply(_text(sample.resps), base[1]),
        Reply(_text(tuned[0].resps), tuned[1]),
    )


def _prompt(sample: _Sample) -> str:
    question = sample.doc.get("question") or sample.doc.get("prompt") or sample.doc.get("query")
    return question if isinstance(question, str) else _text(sample.doc)


def _text(value: Any) -> str:
    """lm-eval nests answers in lists of one."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
