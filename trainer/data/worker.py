"""The worker that looks at data: `python -P -m trainer.data.worker JOB_DIRECTORY`. What it leaves
is read by trainer.data.inspection."""

from __future__ import annotations

import json
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from jobs.files import write_atomic
from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext, run_worker
from models import events, foreign
from models.builtin_worker import PREPARING
from models.builtin_worker import prepare as prepare_builtin
from models.conversations import Conversation
from models.folder import ModelFolder
from models.registry import is_unprepared_builtin, resolve
from models.run_folder import LEDGER_FILE, RunFolder
from models.stored_sample import UNTRAINED, StoredSample
from trainer.data.files import RawRow, read_rows, source_files, source_size
from trainer.data.guard_rails import Figures, in_words, warnings
from trainer.data.hub import HUB
from trainer.data.inspection import (
    OVERVIEW_FILE,
    PROPOSALS_FILE,
    ROWS_FILE,
    VOCABULARY_FILE,
    Amount,
    Example,
    Failure,
    FoundFormat,
    Lengths,
    Problem,
    RowText,
    StoredProposal,
    Summary,
    TemplateCheck,
    write_index,
)
from trainer.data.ledger import STATES, Stop, read_ledger
from trainer.data.pipeline import Cancelled, Refused, prepare
from trainer.data.reading import proposals
from trainer.data.traits import concerning
from trainer.data.vocabulary import vocabulary_of
from trainer.launch import frozen_recipe
from trainer.plan.limits import samples_beyond_positions
from trainer.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from models.preflight import TemplateReport

# rows whose text is kept for looking at, and as many again that are not kept as they are
_KEPT_ROWS = 2000
_ROW_TEXT = 4000  # characters of each
_FIRST = 5
_BINS = 16
_KEEPING = "keeping rows for the view"
_TELL_SECONDS = 0.25


class Teller:
    """Progress as events: a phase for each thing that is done, `step` in hundredths of it."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._what = ""
        self._told = 0.0

    def __call__(self, phase: str, done: int, total: int) -> None:
        self.check()
        if phase != self._what:
            self._what = phase
            self._context.phase(phase)
        if done and time.monotonic() - self._told >= _TELL_SECONDS:
            self._told = time.monotonic()
            if total:
                share = events.Step(step=min(99, 100 * done // total), total=100)
                events.tell(self._context, share)
            else:
                self._context.phase(f"{phase}, {done / 1e6:,.1f} MB so far")

    def check(self) -> None:
        if self._context.stopping.is_set():
            raise Cancelled


def main(context: WorkerContext) -> dict[str, Any] | None:
    """Prepare the recipe's data as training would, and sum up what became of it. None if it was
    stopped first."""
    recipe, teller = frozen_recipe(context.job), Teller(context)
    model_directory = str(context.settings["model_directory"])
    if is_unprepared_builtin(model_directory) and not prepare_builtin(context, PREPARING):
        return None
    context.phase("loading the tokenizer", seconds_left=4)
    from models.preflight import check_template
    from models.template import load_tokenizer

    folder = RunFolder(context.directory).data
    folder.mkdir(exist_ok=True)
    directory = resolve(model_directory)
    tokenizer = load_tokenizer(directory)
    report = check_template(tokenizer, directory)
    write_atomic(
        folder / VOCABULARY_FILE,
        msgspec.json.encode(vocabulary_of(tokenizer, report.stop_ids)).decode(),
    )
    try:
        error = None
        try:
            prepared = prepare(
                recipe.data_settings, tokenizer, report, folder, teller, context.stopping.is_set
            )
        except Refused as refused:
            prepared, error = refused.prepared, Failure(**refused.to_json())
            _keep_proposals(recipe, folder, tokenizer, report)
        except LuthierError:
            _keep_proposals(recipe, folder, tokenizer, report)
            raise
        summary = summarise(
            folder, recipe, prepared.summary, teller, ModelFolder(directory).context_length
        )
        summary.checks += _checks(report, prepared.summary["traits"])
        summary.checks += _preference_checks(recipe, prepared.summary["preferences"])
        summary.error = error
        _keep_rows(recipe, folder, teller)
    except Cancelled:
        return None
    write_atomic(folder / OVERVIEW_FILE, msgspec.json.encode(summary).decode())
    return {
        "rows": summary.rows,
        "samples": summary.train + summary.heldout,
        "tokens": summary.tokens,
    }


def _keep_proposals(
    recipe: Recipe, folder: Path, tokenizer: PreTrainedTokenizerBase, report: TemplateReport
) -> None:
    """How the rows might be read otherwise, with the samples that the first of them would
    become."""
    from models.mask import MaskError, MaskOptions
    from models.samples import Sampler

    try:
        proposed_file = proposals(
            [source.path for source in recipe.sources], recipe.format, recipe.policy
        )
    except LuthierError:  # the file itself cannot be read: that is the error to show
        return
    if proposed_file is None:
        return
    file, rows, proposed = proposed_file
    sampler = Sampler(tokenizer, report, MaskOptions(recipe.mask.turns))
    kept = []
    for proposal in proposed:
        examples = []
        for index, converted in proposal.examples:
            conversation = Conversation(converted.messages, file, rows[index].row, converted.tools)
            sample = next(iter(sampler.samples([conversation])))
            if isinstance(sample, MaskError):
                examples.append(
                    Example(rows[index].row, problem=f"message {sample.turn}: {sample.reason}")
                )
            else:
                stored = StoredSample(
                    conversation.source,
                    sample.turns,
                    sample.input_ids,
                    sample.labels,
                    sample.weights,
                )
                examples.append(Example(rows[index].row, stored))
        kept.append(
            StoredProposal(
                file, proposal.title, proposal.toml, msgspec.to_builtins(proposal.mapping), examples
            )
        )
    write_atomic(folder / PROPOSALS_FILE, msgspec.json.encode(kept).decode())


def _checks(report: TemplateReport, traits: dict[str, int]) -> list[TemplateCheck]:
    """The template's checks; of its warnings those that concern this data."""
    details = [
        (
            check,
            concerning(check.name, check.detail, traits)
            if check.status == "warn"
            else check.detail,
        )
        for check in report.checks
    ]
    return [
        TemplateCheck(check.name, check.status, detail)
        for check, detail in details
        if detail is not None
    ]


def _preference_checks(recipe: Recipe, values: dict[str, Any]) -> list[TemplateCheck]:
    """What the preferences come to, and what speaks against training on them."""
    scoring = recipe.objective.scoring
    if scoring == "turns":
        return []
    figures = Figures(**values)
    odd = [TemplateCheck("preferences", "warn", text) for text in warnings(figures, scoring)]
    return [TemplateCheck("preferences", "ok", in_words(figures)), *odd]


def summarise(
    folder: Path,
    recipe: Recipe,
    figures: dict[str, Any],
    teller: Teller,
    positions: int | None = None,
) -> Summary:
    """Add up the ledger and the samples of a folder, in one pass over each. `figures` are those of
    the pipeline's own summary, `positions` the model's."""
    states: dict[str, Amount] = {state: Amount() for state in STATES}
    problems: dict[tuple[str, str], Problem] = {}
    teller("summing up", 0, 0)
    for entry in read_ledger(folder / LEDGER_FILE):
        teller.check()
        amount = states[entry.state]
        amount.rows += 1
        amount.tokens += entry.tokens
        amount.lost += entry.lost
        for code in entry.reasons:
            problem = problems.setdefault(
                (code, entry.state), Problem(code, entry.state, detail=entry.detail)
            )
            problem.rows += 1
            if len(problem.first) < _FIRST:
                problem.first.append({"file": entry.file, "row": entry.row})
    lengths: Counter[int] = Counter()
    trained = 0
    for part in ("train", "heldout"):
        for sample in _samples(folder / f"{part}.jsonl"):
            teller.check()
            for _, side in sample.sides:
                lengths[len(side.input_ids)] += 1
                trained += len(side.labels) - side.labels.count(UNTRAINED)
    sources = [source.path for source in recipe.sources]
    beyond = samples_beyond_positions(positions, lengths)
    return Summary(
        sources=sources,
        model=recipe.model,
        context=recipe.train.max_length,
        formats=[
            FoundFormat(
                file_format["files"],
                file_format["format"],
                file_format["reason"],
                file_format["mapping"],
                file_format["unused"],
            )
            for file_format in figures["formats"]
        ],
        states=states,
        problems=sorted(problems.values(), key=lambda problem: -problem.rows),
        lengths=histogram(lengths, recipe.train.max_length),
        train=figures["train"],
        heldout=figures["heldout"],
        trained_tokens=trained,
        leaks=figures["leaks"],
        stops=msgspec.convert(figures["stops"], list[Stop]),
        checks=[TemplateCheck("length", "warn", beyond)] if beyond else [],
        others=[
            str(path)
            for source in sources
            if not source.startswith(HUB)
            for path in source_files(source).skipped
        ],
    )


def histogram(lengths: Counter[int], context: int) -> Lengths:
    """Bins of a round width: sixteen up to the context size, or up to the longest if all are far
    shorter."""
    if not lengths:
        return Lengths(max(1, context // _BINS), [])
    longest, total, half = max(lengths), sum(lengths.values()), 0
    width = next(
        step * 10**power
        for power in range(9)
        for step in (1, 2, 5)
        if step * 10**power * _BINS >= longest
    )
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
    decoder = foreign.Decoder(StoredSample)
    starts, offset = array("Q"), 0
    with path.open("rb") as file:
        for line in file:
            starts.append(offset)
            offset += len(line)
            yield decoder.decode(line, path)
    write_index(path, starts)


def _keep_rows(recipe: Recipe, folder: Path, teller: Teller) -> None:
    """Write down how the first rows read in their files, and the first of those that were not kept
    as they are."""
    kept, changed = array("q"), array("q")
    for index, entry in enumerate(read_ledger(folder / LEDGER_FILE)):
        places = kept if entry.state == "kept" else changed
        if len(places) < _KEPT_ROWS:
            places.append(index)
    to_keep = {*kept, *changed}
    sources = recipe.data_settings.all_sources
    size, written = sum(source_size(source.path) for source in sources), 0
    teller(_KEEPING, 0, size)
    pairs = zip(
        _all_rows(recipe, lambda read: teller(_KEEPING, read, size)),
        read_ledger(folder / LEDGER_FILE),
        strict=False,
    )
    with (folder / ROWS_FILE).open("wb") as file:
        for index, (raw, entry) in enumerate(pairs):
            if index in to_keep:
                text = (
                    raw.damage if raw.value is None else json.dumps(raw.value, ensure_ascii=False)
                )
                file.write(
                    msgspec.json.encode(RowText(entry.file, entry.row, (text or "")[:_ROW_TEXT]))
                    + b"\n"
                )
                written += 1
            if written == len(to_keep):
                return


def _all_rows(recipe: Recipe, on_progress: Callable[[int], None]) -> Iterator[RawRow]:
    before = 0
    for source in recipe.data_settings.all_sources:
        yield from read_rows(
            source.path,
            lambda read, before=before: on_progress(before + read),  # type: ignore[misc]
            recipe.format.encoding,
        )
        before += source_size(source.path)


if __name__ == "__main__":
    run_worker(main)
