"""The whole way of data: rows are read and settled, duplicates found, conversations rendered,
masked and cut, some held out, and all of it entered in the ledger. Each step streams from one file
to the next, so that memory does not grow with the data. Heavy: for workers.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from jobs import foreign_json
from jobs.files import write_json
from jobs.luthier_error import LuthierError
from models.conversations import Conversation
from models.mask import MaskError, MaskOptions
from models.run_folder import HELDOUT_FILE, LEDGER_FILE, TRAIN_FILE
from models.samples import Sample, Sampler
from models.stored_sample import UNTRAINED
from trainer.data import cache
from trainer.data.duplicates import (
    Fingerprints,
    Hashes,
    Numbers,
    Truths,
    Twins,
    exact_twins,
    near_twins,
    pieces,
)
from trainer.data.files import source_size
from trainer.data.ledger import STATES, Drops, LedgerError, State, Stops, Summary
from trainer.data.lengths import Cutter, Made
from trainer.data.outcomes import Outcome, Part, Read, figures_of
from trainer.data.policies import SpecialTexts
from trainer.data.preferences import Judged
from trainer.data.prompts import Prompts
from trainer.data.reading import Reader, formats_seen
from trainer.data.scoring import PairScorer, Unscored
from trainer.data.settings import DataSettings
from trainer.data.split import Holdout, Mixer
from trainer.data.spool import sample_line, spooled, unspooled
from trainer.data.traits import traits_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from models.preflight import TemplateReport

SUMMARY_FILE = "summary.json"

_BATCH = 512  # conversations sampled at once
_BATCH_CHARACTERS = 4_000_000
_TELL_EVERY = 0.25  # seconds
_LOOKING, _COMPARING = "looking for earlier prepared data", "looking for duplicates"

Batch = list[tuple[Read, Conversation | None]]
# What is done, how much of it, and of how much altogether.
Progress = Callable[[str, int, int], None]


class Cancelled(Exception):
    """The caller no longer wants the data."""


class Refused(LuthierError):
    """A policy says stop, or nothing is left to train on. `prepared` has what there is all the
    same: the ledger accounts for every row."""

    def __init__(self, prepared: Prepared) -> None:
        super().__init__(**prepared.summary["error"])
        self.prepared = prepared


class SampleMaker(Protocol):
    """models.samples.Sampler, or a cheap one of the tests."""

    def samples(self, conversations: Sequence[Conversation]) -> Iterable[Sample | MaskError]: ...


@dataclass(frozen=True)
class Prepared:
    """Where the samples and the ledger lie."""

    train: Path
    heldout: Path
    ledger: Path
    summary: dict[str, Any]
    """The ledger's totals and the figures of the `data` event."""
    cached: bool
    """Whether it had been prepared before."""


def prepare(
    settings: DataSettings,
    tokenizer: PreTrainedTokenizerBase,
    report: TemplateReport,
    folder: Path,
    on_progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Prepared:
    """Prepare the data into `folder`, or take it from the cache. Raises Refused where a policy says
    stop, Cancelled on request."""
    tell = _Teller(on_progress or (lambda phase, done, total: None), cancelled or (lambda: False))
    if report.failed:
        failed = "; ".join(f"{check.name}: {check.detail}" for check in report.failed)
        raise LuthierError(
            "The chat template fails its checks",
            failed,
            "Choose another model, or repair its chat template.",
        )
    template = [
        json.dumps(tokenizer.chat_template, sort_keys=True, default=str),
        tokenizer.backend_tokenizer.to_str(),
        json.dumps(tokenizer.special_tokens_map, sort_keys=True, default=str),
        repr((report.strategy, report.stop_ids, report.facts, report.parts, report.embedding_size)),
    ]
    sources = [source.path for source in settings.all_sources]
    size, stamp = sum(map(source_size, sources)), cache.stamp(sources)
    tell(_LOOKING, 0, size)
    name = cache.key(sources, settings, template, lambda read: tell(_LOOKING, read, size))
    cached = cache.find(name)
    if cached is not None:
        cache.deliver(cached, folder)
        return read_prepared(folder, cached=True)
    sampler = Sampler(tokenizer, report, MaskOptions(settings.mask.turns))
    with cache.building(name, folder) as building:
        special, no_system = SpecialTexts(report.facts.special_texts), report.facts.no_system
        Pipeline(settings, sampler, special, tell, no_system).run(building)
        if cache.stamp(sources) != stamp:
            raise LuthierError(
                "The data has changed in the meantime",
                "Another program wrote to it while Luthier was reading it.",
                "Start again once it is complete.",
            )
        if name is not None:
            cache.deliver(building, folder)
    return read_prepared(folder, cached=False)


def read_prepared(folder: Path, *, cached: bool) -> Prepared:
    """What a preparation left. Raises Refused if it may not be trained on."""
    summary = foreign_json.read_object(folder / SUMMARY_FILE)
    prepared = Prepared(
        folder / TRAIN_FILE, folder / HELDOUT_FILE, folder / LEDGER_FILE, summary, cached
    )
    if "error" in summary:
        raise Refused(prepared)
    return prepared


class _Teller:
    """Reports progress, not too often, and asks whether to continue. A total of 0 is unknown."""

    def __init__(self, on_progress: Progress, cancelled: Callable[[], bool]) -> None:
        self._on_progress, self._cancelled = on_progress, cancelled
        self._told = 0.0

    def __call__(self, phase: str, done: int, total: int) -> None:
        if self._cancelled():
            raise Cancelled
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY or done == 0:
            self._told = now
            self._on_progress(phase, done, total)


class Pipeline:
    """One preparation. `run` leaves the four files in a folder, also where a policy says stop:
    read_prepared then raises it. What `tell` raises ends it."""

    def __init__(
        self,
        settings: DataSettings,
        sampler: SampleMaker,
        special: SpecialTexts,
        tell: Progress,
        no_system: str = "",
    ) -> None:
        self._settings = settings
        self._policy = settings.policy
        self._sampler = sampler
        self._reader = Reader(
            settings.format, settings.policy, special, no_system, settings.scoring
        )
        self._scorer = PairScorer(self._made, settings.max_length)
        self._tell = tell
        self._unproved: MaskError | None = None
        self._traits: Counter[str] = Counter()
        splits_long, last_only = self._policy.too_long == "split", settings.mask.turns == "last"
        self._cutter = Cutter(
            self._made,
            settings.max_length,
            self._policy.max_messages,
            last_only=last_only,
            splits_long=splits_long,
        )
        # Of each conversation: where its messages begin, and which row of which file it is.
        self._places, self._rows, self._file_of = array("q"), array("q"), array("q")
        self._files: list[str] = []
        self._prompts = Prompts()
        self._is_chained = False
        self._first_of_heldout_files = 0

    def run(self, folder: Path) -> None:
        work = folder / "work"
        work.mkdir()
        holding_out = not self._settings.heldout.is_off
        sketched = self._policy.near_duplicates != "keep" or holding_out
        self._read(work, sketched=sketched)
        twins = self._twins(work, sketched=sketched)
        alive = self._sample(work, twins)
        linked: Truths = np.zeros(len(self._places), bool)
        survives: Truths = np.zeros(len(self._places), bool)
        survives[np.frombuffer(alive, np.int64)] = True
        for earlier in (twins.exact, twins.near):
            both = np.flatnonzero((earlier >= 0) & survives & survives[earlier])
            linked[both] = linked[earlier[both]] = True

        def has_twin(number: int) -> bool:
            return bool(linked[number])

        heldout = self._settings.heldout
        if heldout.files:
            kept_out = [number for number in alive if number >= self._first_of_heldout_files]
            asked = self._prompts.shared(alive, self._first_of_heldout_files)
            leaks = sum(has_twin(number) or number in asked for number in kept_out)
            holdout = Holdout(frozenset(kept_out), moved=0, reported=leaks)
        else:
            holdout = self._prompts.holdout(alive, heldout, self._settings.seed, has_twin)
        self._write(work, folder, holdout)
        shutil.rmtree(work)

    def _read(self, work: Path, *, sketched: bool) -> None:
        """Rows to `rows`, their messages to `messages`, their fingerprints beside them."""
        encode = msgspec.json.Encoder().encode
        sizes = [source_size(source.path) for source in self._settings.all_sources]
        # of the hub's data sets nobody knows the size
        before, total = 0, sum(sizes) if all(sizes) else 0
        with (
            (work / "rows").open("wb") as rows,
            (work / "messages").open("wb") as spool,
            Fingerprints(work, sketches=sketched) as prints,
        ):
            offset = ordinal = 0
            for number, source in enumerate(self._settings.all_sources):

                def progress(done: int, before: int = before) -> None:
                    self._tell("reading", before + done, total)

                progress(0)
                if number == len(self._settings.sources):
                    self._first_of_heldout_files = len(self._places)
                for row in self._reader.rows(source.path, progress):
                    read = Read(
                        number,
                        row.file,
                        row.row,
                        -1,
                        offset,
                        list(row.reasons),
                        row.detail,
                        list(row.places),
                    )
                    if row.carrier is not None:
                        read.carrier = ordinal - row.row + row.carrier
                        self._is_chained = True
                    ordinal += 1
                    if row.messages is not None:
                        self._traits.update(traits_of(row.messages, row.tools))
                        read.conversation = len(self._places)
                        self._remember(offset, row.file, row.row)
                        prints.add(row.spoken, row.tools)
                        self._prompts.add(row)
                        offset += spool.write(spooled(row))
                    rows.write(encode(read) + b"\n")
                before += sizes[number]

    def _remember(self, offset: int, file: str, row: int) -> None:
        if not self._files or self._files[-1] != file:
            self._files.append(file)
        self._places.append(offset)
        self._rows.append(row)
        self._file_of.append(len(self._files) - 1)

    def _twins(self, work: Path, *, sketched: bool) -> Twins:
        self._tell(_COMPARING, 0, 1)
        exact = exact_twins(work / "exact.bin")
        near: Numbers = np.full(len(exact), -1, np.int32)
        if sketched and len(exact):
            with (work / "messages").open("rb") as spool:

                def text_of(number: int) -> Hashes:
                    spool.seek(self._places[number])
                    return pieces(json.loads(spool.readline())[0])

                def tell(done: int, pairs: int) -> None:
                    self._tell(_COMPARING, done, pairs)

                near = near_twins(
                    work / "sketches.bin", self._policy.near_similarity, text_of, exact >= 0, tell
                )
        return Twins(
            exact,
            near,
            drop_equal=self._policy.duplicates != "keep",
            drop_near=self._policy.near_duplicates != "keep",
        )

    def _sample(self, work: Path, twins: Twins) -> array[int]:
        """Samples to `samples`, what became of each row to `outcomes`; the numbers of the
        conversations that have samples."""
        encode = msgspec.json.Encoder().encode
        alive = array("q")
        size = (work / "messages").stat().st_size
        with (work / "samples").open("wb") as samples, (work / "outcomes").open("wb") as outcomes:
            for batch in _batches(self._conversations(work, twins)):
                self._tell("rendering and masking", batch[0][0].offset, size)
                scored = self._settings.scoring != "turns"
                for outcome, lines in (self._judged if scored else self._trained)(batch):
                    if outcome.sizes:
                        alive.append(outcome.read.conversation)
                    samples.writelines(lines)
                    outcomes.write(encode(outcome) + b"\n")
        return alive

    def _trained(self, batch: Batch) -> Iterator[tuple[Outcome, list[bytes]]]:
        """What becomes of conversations whose turns are trained."""
        fits = self._policy.max_messages
        answers = iter(
            self._made(
                [
                    conversation
                    for _, conversation in batch
                    if conversation is not None and len(conversation.messages) <= fits
                ]
            )
        )
        for read, conversation in batch:
            if conversation is None:
                yield Outcome(read), []
                continue
            uncut = next(answers) if len(conversation.messages) <= fits else None
            yield self._outcome(read, conversation, uncut)

    def _judged(self, batch: Batch) -> Iterator[tuple[Outcome, list[bytes]]]:
        """What becomes of conversations whose last answers are scored."""
        conversations = [
            conversation for _, conversation in batch if isinstance(conversation, Judged)
        ]
        scored = iter(self._scorer.scored(conversations))
        for read, conversation in batch:
            if conversation is None:
                yield Outcome(read), []
                continue
            sides = next(scored)
            if isinstance(sides, MaskError):
                yield self._unmasked(read, sides, sides.turn), []
            elif isinstance(sides, Unscored):
                read.reasons.append(sides.code)
                read.note(sides.detail)
                yield Outcome(read, lost=sides.lost), []
            else:
                lines = [sample_line(*line) for line in sides.lines(self._settings.scoring)]
                yield self._sampled(read, "kept", lines, sides.samples)

    def _conversations(
        self, work: Path, twins: Twins
    ) -> Iterator[tuple[Read, Conversation | None]]:
        decode = msgspec.json.Decoder(Read).decode
        with (work / "rows").open("rb") as rows, (work / "messages").open("rb") as spool:
            for line in rows:
                read = decode(line)
                if read.conversation < 0:
                    yield read, None
                    continue
                conversation = unspooled(spool.readline(), read.file, read.row)
                if twins.dropped[read.conversation]:
                    twin = twins.of(read.conversation)
                    read.reasons.append(twin.code)
                    file = self._files[self._file_of[twin.earlier]]
                    read.detail = f"it {twin.verb} row {self._rows[twin.earlier]} of {file}"
                    yield read, None
                else:
                    yield read, conversation

    def _made(self, conversations: Sequence[Conversation]) -> list[Made]:
        """The samples of each conversation, or its error."""
        answers: list[Made] = []
        number = -1
        for answer in self._sampler.samples(conversations):
            if isinstance(answer, MaskError):
                answers.append(answer)
                number += 1
                continue
            if number < 0 or answer.conversation is not conversations[number]:
                answers.append([])
                number += 1
            of_conversation = answers[number]
            assert not isinstance(of_conversation, MaskError)
            of_conversation.append(answer)
        if len(answers) != len(conversations):
            raise LedgerError(f"{len(conversations)} conversations gave {len(answers)} answers")
        return answers

    def _outcome(
        self, read: Read, conversation: Conversation, uncut: Made | None
    ) -> tuple[Outcome, list[bytes]]:
        """What becomes of a conversation and the lines of its samples. `uncut` is None where it has
        too many messages to be rendered."""
        if isinstance(uncut, MaskError):
            return self._unmasked(read, uncut, uncut.turn), []
        lengths = [len(sample.input_ids) for sample in uncut or ()]
        if uncut is not None and max(lengths) <= self._settings.max_length:
            return self._sampled(
                read, "kept", [sample_line(sample, conversation) for sample in uncut], uncut
            )
        code = "many_turns" if uncut is None else "too_long"
        read.reasons.append(code)
        read.note(
            f"{len(conversation.messages)} messages" if uncut is None else f"{max(lengths)} tokens"
        )
        if getattr(self._policy, code) != "split":
            return Outcome(read, lost=sum(lengths)), []
        cut = self._cutter.cut(conversation, max(lengths, default=0))
        if cut.error is not None:
            return self._unmasked(read, cut.error, cut.turn), []
        read.reasons += [reason for reason in cut.reasons if reason not in read.reasons]
        if not cut.parts or (self._policy.too_long == "stop" and "too_long" in cut.reasons):
            return Outcome(
                read, lost=cut.lost + sum(len(sample.input_ids) for sample in cut.samples)
            ), []
        lines = [
            sample_line(sample, part.conversation, {"part": number, "first_message": part.first})
            for number, part in enumerate(cut.parts)
            for sample in part.samples
        ]
        outcome, lines = self._sampled(read, "split", lines, cut.samples)
        outcome.lost += cut.lost
        return outcome, lines

    def _sampled(
        self, read: Read, state: State, lines: list[bytes], samples: list[Sample]
    ) -> tuple[Outcome, list[bytes]]:
        """Samples as the row's outcome, unless they lack reasoning that the policy does not let
        go."""
        trained = sum(len(sample.labels) - sample.labels.count(UNTRAINED) for sample in samples)
        lengths, left_out = (
            [len(sample.input_ids) for sample in samples],
            sum(sample.left_out for sample in samples),
        )
        if left_out:
            read.reasons.append("reasoning")
            read.note(f"the template leaves out {left_out} tokens of reasoning")
            if self._policy.reasoning != "repair":
                return Outcome(read, lost=sum(lengths) + left_out), []
        state = "repaired" if read.reasons and state == "kept" else state
        return Outcome(
            read, state, [len(line) for line in lines], lengths, trained, left_out
        ), lines

    def _unmasked(self, read: Read, error: MaskError, turn: int) -> Outcome:
        self._unproved = self._unproved or error
        read.reasons += ["mask", error.code]
        number = read.places[turn] if turn < len(read.places) else turn
        read.note(f"{f'message {number}' if number >= 0 else 'the system prompt'}: {error.reason}")
        return Outcome(read)

    def _decided(self, work: Path, holdout: Holdout) -> Iterator[tuple[Outcome, bool, int]]:
        """Each row with whether it is held out, and how often its samples are seen in an epoch."""
        decode = msgspec.json.Decoder(Outcome).decode
        mixers = [
            Mixer(source.weight, self._settings.seed) for source in self._settings.all_sources
        ]
        with (work / "outcomes").open("rb") as outcomes:
            for line in outcomes:
                outcome = decode(line)
                is_heldout = bool(outcome.sizes) and outcome.read.conversation in holdout.heldout
                copies = (
                    mixers[outcome.read.source].copies()
                    if outcome.sizes and not is_heldout
                    else int(is_heldout)
                )
                yield outcome, is_heldout, copies

    def _states(self, work: Path, holdout: Holdout) -> bytearray:
        """The state in which each row ends, by its place in STATES: rows that stand in another's
        conversation share its state."""
        return bytearray(
            STATES.index("dropped" if outcome.sizes and not copies else outcome.state)
            for outcome, _, copies in self._decided(work, holdout)
        )

    def _write(self, work: Path, folder: Path, holdout: Holdout) -> None:
        """The samples into their files and the entries into the ledger, in the order of the rows;
        the totals must agree."""
        encode = msgspec.json.Encoder().encode
        states = self._states(work, holdout) if self._is_chained else b""
        summary, stops, drops = Summary(), Stops(self._policy), Drops()
        parts = {TRAIN_FILE: Part("train"), HELDOUT_FILE: Part("heldout")}
        size, read_so_far, rows = (work / "samples").stat().st_size, 0, 0
        with (
            (work / "samples").open("rb") as samples,
            (folder / TRAIN_FILE).open("wb") as train,
            (folder / HELDOUT_FILE).open("wb") as heldout,
            (folder / LEDGER_FILE).open("wb") as ledger,
        ):
            for outcome, is_heldout, copies in self._decided(work, holdout):
                self._tell("writing the samples", read_so_far, size)
                if outcome.read.carrier >= 0:
                    outcome.state = STATES[states[outcome.read.carrier]]
                lines = [samples.read(of_sample) for of_sample in outcome.sizes]
                read_so_far += sum(outcome.sizes)
                part, file = (HELDOUT_FILE, heldout) if is_heldout else (TRAIN_FILE, train)
                entry = parts[part].take(outcome, lines, file, copies)
                ledger.write(encode(entry) + b"\n")
                summary.add(entry)
                stops.add(entry.file, entry.row, entry.reasons, entry.detail)
                if entry.state == "dropped":
                    drops.add(entry.reasons, entry.detail)
                rows += 1
            written = sum(part.tokens for part in parts.values())
            if (summary.total_rows, summary.total_tokens, read_so_far) != (rows, written, size):
                raise LedgerError(
                    f"{rows} rows and {written} tokens, but the ledger has {summary.to_json()}"
                )
            for file in (train, heldout, ledger):
                file.flush()
                os.fsync(file.fileno())
        train_part, heldout_part = parts.values()
        error = stops.error(self._unproved, total_rows=summary.total_rows) or (
            None if train_part.samples else drops.nothing_left()
        )
        figures = {
            **figures_of(train_part, heldout_part),
            "leaks": {"moved": holdout.moved, "reported": holdout.reported},
            "formats": formats_seen(self._reader.formats),
            "traits": dict(self._traits),
            "ledger": summary.to_json(),
            "stops": msgspec.to_builtins(list(stops)),
            "preferences": (
                {} if self._settings.scoring == "turns" else self._scorer.figures.to_json()
            ),
            **({} if error is None else {"error": error.to_json()}),
        }
        write_json(folder / SUMMARY_FILE, figures)


def _batches(read: Iterator[tuple[Read, Conversation | None]]) -> Iterator[Batch]:
    """Batches that are neither long nor heavy."""
    batch: Batch = []
    size = 0
    for item in read:
        batch.append(item)
        size += (
            0 if item[1] is None else sum(len(message["content"]) for message in item[1].messages)
        )
        if len(batch) >= _BATCH or size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
