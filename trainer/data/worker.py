"""The worker that looks at data: `python -P -m trainer.data.worker JOB_DIRECTORY`. What it leaves is read by trainer.data.inspection."""

from __future__ import annotations

import json
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from jobs.files import write_atomic
from jobs.worker import WorkerContext, run_worker
from models.registry import resolve
from trainer.data.files import read_rows
from trainer.data.formats import recognise
from trainer.data.inspection import (
    DATA_FOLDER,
    LEDGER_FILE,
    OVERVIEW_FILE,
    ROWS_FILE,
    UNTRAINED,
    VOCABULARY_FILE,
    Amount,
    FoundFormat,
    Lengths,
    Problem,
    RowText,
    StoredSample,
    Summary,
    TemplateCheck,
    write_index,
)
from trainer.data.ledger import STATES, read_ledger
from trainer.data.pipeline import Cancelled, prepare
from trainer.data.vocabulary import vocabulary_of
from trainer.launch import frozen_recipe
from trainer.recipe import Recipe

_KEPT_ROWS = 2000  # rows whose text is kept for looking at, and as many again that are not kept as they are
_ROW_TEXT = 4000  # characters of each
_FIRST = 5
_BINS = 16
_HEAD = 48
_TELL_SECONDS = 0.25


class Teller:
    """Progress as events: a phase for each thing that is done, `step` in hundredths of it."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._what = ""
        self._told = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        self.check()
        if what != self._what:
            self._what = what
            self._context.phase(what)
        if total and time.monotonic() - self._told >= _TELL_SECONDS:
            self._told = time.monotonic()
            self._context.event("step", step=min(99, 100 * done // total), total=100)

    def check(self) -> None:
        if self._context.stopping.is_set():
            raise Cancelled


def main(context: WorkerContext) -> dict[str, Any] | None:
    """Prepare the recipe's data as training would, and sum up what became of it. None if it was stopped first."""
    recipe, teller = frozen_recipe(context.job), Teller(context)
    context.phase("loading the tokenizer", seconds_left=4)
    from models.preflight import check_template
    from models.template import load_tokenizer

    folder = context.directory / DATA_FOLDER
    folder.mkdir(exist_ok=True)
    directory = resolve(str(context.settings["model_directory"]))
    tokenizer = load_tokenizer(directory)
    report = check_template(tokenizer, directory)
    write_atomic(folder / VOCABULARY_FILE, msgspec.json.encode(vocabulary_of(tokenizer, report.stop_ids)).decode())
    try:
        prepared = prepare(recipe.data_settings, tokenizer, report, folder, teller, context.stopping.is_set)
        checks = [TemplateCheck(check.name, check.status, check.detail) for check in report.checks]
        summary = summarise(folder, recipe, _formats(prepared.summary["formats"], recipe), checks, teller)
        _keep_rows(recipe, folder, teller)
    except Cancelled:
        return None
    write_atomic(folder / OVERVIEW_FILE, msgspec.json.encode(summary).decode())
    return {"rows": summary.rows, "samples": summary.train + summary.heldout, "tokens": summary.tokens}


def summarise(folder: Path, recipe: Recipe, formats: list[FoundFormat], checks: list[TemplateCheck], teller: Teller) -> Summary:
    """Add up the ledger and the samples of a folder, in one pass over each."""
    states: dict[str, Amount] = {state: Amount() for state in STATES}
    problems: dict[tuple[str, str], Problem] = {}
    teller("summing up", 0, 0)
    for entry in read_ledger(folder / LEDGER_FILE):
        teller.check()
        amount = states[entry.state]
        amount.rows += 1
        amount.tokens += entry.tokens
        for code in entry.reasons:
            problem = problems.setdefault((code, entry.state), Problem(code, entry.state))
            problem.rows += 1
            if len(problem.first) < _FIRST:
                problem.first.append({"file": entry.file, "row": entry.row})
    counts: dict[str, int] = {}
    lengths: Counter[int] = Counter()
    trained = 0
    for part in ("train", "heldout"):
        for sample in _samples(folder / f"{part}.jsonl"):
            teller.check()
            counts[part] = counts.get(part, 0) + 1
            lengths[len(sample.input_ids)] += 1
            trained += len(sample.labels) - sample.labels.count(UNTRAINED)
    return Summary(
        sources=[source.path for source in recipe.sources],
        model=recipe.model,
        context=recipe.train.max_length,
        formats=formats,
        states=states,
        problems=sorted(problems.values(), key=lambda problem: -problem.rows),
        lengths=histogram(lengths, recipe.train.max_length),
        train=counts.get("train", 0),
        heldout=counts.get("heldout", 0),
        trained_tokens=trained,
        checks=checks,
    )


def histogram(lengths: Counter[int], context: int) -> Lengths:
    """Bins of a round width: sixteen up to the context size, or up to the longest if all are far shorter."""
    if not lengths:
        return Lengths(max(1, context // _BINS), [])
    longest, total, half = max(lengths), sum(lengths.values()), 0
    width = next(step * 10**power for power in range(9) for step in (1, 2, 5) if step * 10**power * _BINS >= longest)
    counts = [0] * (longest // width + 1)
    median = 0
    for length, number in sorted(lengths.items()):
        counts[length // width] += number
        if half * 2 < total:
            median = length
        half += number
    return Lengths(width, counts, longest, median)


def _samples(path: Path) -> Iterator[StoredSample]:
    """The samples of a file, and beside it an index of its lines."""
    decoder = msgspec.json.Decoder(StoredSample)
    starts, place = array("Q"), 0
    with path.open("rb") as file:
        for line in file:
            starts.append(place)
            place += len(line)
            yield decoder.decode(line)
    write_index(path, starts)


def _keep_rows(recipe: Recipe, folder: Path, teller: Teller) -> None:
    """Write down how the first rows read in their files, and the first of those that were not kept as they are."""
    entries = read_ledger(folder / LEDGER_FILE)
    left = {True: _KEPT_ROWS, False: _KEPT_ROWS}
    with (folder / ROWS_FILE).open("wb") as file:
        for source in recipe.sources:
            for raw, entry in zip(read_rows(source.path, "drop", lambda _: teller.check()), entries, strict=False):
                is_kept = entry.state == "kept"
                left[is_kept] -= 1
                if left[is_kept] >= 0:
                    text = raw.damage if raw.value is None else json.dumps(raw.value, ensure_ascii=False)
                    row = RowText(entry.file, entry.row, (text or "")[:_ROW_TEXT])
                    file.write(msgspec.json.encode(row) + b"\n")


def _formats(seen: list[dict[str, Any]], recipe: Recipe) -> list[FoundFormat]:
    """How the files were read, with the whole mapping for whoever wants to change a part of it."""
    formats = []
    for found in seen:
        head = (row.value for row in read_rows(found["files"][0], "drop") if row.value is not None)
        mapping = recognise(list(islice(head, _HEAD)), recipe.format).mapping
        formats.append(FoundFormat(found["files"], found["format"], found["reason"], msgspec.to_builtins(mapping), found["unused"]))
    return formats


if __name__ == "__main__":
    run_worker(main)
