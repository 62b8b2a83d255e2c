"""A look at a recipe's data: the job that makes it, and reading what the job left. Light: nothing
here loads a tokenizer.

The job folder's `data/` holds the ledger and the samples as training has them (see
trainer/data/pipeline.py), and beside them `overview.json`, `vocabulary.json` (the text of each
token, so that a reader needs no tokenizer) and `rows.jsonl` (how the first rows read).
"""

from __future__ import annotations

import shutil
import time
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from jobs.files import write_atomic
from jobs.foreign_json import Damaged
from jobs.job import Job, all_jobs, create
from jobs.job import start as start_job
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from jobs.state import Alive, Done
from models import foreign, registry
from models.builtin import BUILTIN
from models.hub_names import HUB
from models.installation import check_libraries
from models.run_folder import RECIPE_FILE, RunFolder
from models.stored_sample import StoredSample
from trainer.data.files import check_source, source_files
from trainer.data.ledger import Entry, Stop
from trainer.data.settings import Source
from trainer.recipe import Recipe, load, to_toml

MODULE = "trainer.data.worker"
OVERVIEW_FILE = "overview.json"
VOCABULARY_FILE = "vocabulary.json"
ROWS_FILE = "rows.jsonl"
PROPOSALS_FILE = "proposals.json"

T = TypeVar("T")


class FoundFormat(msgspec.Struct, frozen=True):
    """How some files were read."""

    files: list[str]
    name: str
    reason: str
    mapping: dict[str, Any] = {}
    """Complete, as the recipe's [format] would have it."""
    unused: list[str] = []
    """Columns that nothing reads."""


class Amount(msgspec.Struct):
    """`lost` tokens are those of text that went into no sample, as far as it came to be
    tokenised."""

    rows: int = 0
    tokens: int = 0
    lost: int = 0


class Problem(msgspec.Struct):
    """One reason code of the ledger."""

    code: str
    state: str
    rows: int = 0
    first: list[dict[str, Any]] = []
    """The first rows that have it, as {"file", "row"}."""
    detail: str = ""
    """What the first one's entry says."""


class Failure(msgspec.Struct, frozen=True):
    """Why the data may not be trained on: a policy says stop, or nothing is left."""

    title: str
    message: str
    hint: str


class Lengths(msgspec.Struct):
    """Samples by length."""

    width: int
    """Tokens of a bin."""
    counts: list[int]
    """`counts[i]` samples have at least `i * width` tokens and less than `(i + 1) * width`."""
    longest: int = 0
    median: int = 0


class TemplateCheck(msgspec.Struct, frozen=True):
    name: str
    status: str
    detail: str


class Summary(msgspec.Struct):
    """What the data comes to."""

    sources: list[str]
    model: str
    context: int
    """train.max_length."""
    formats: list[FoundFormat]
    states: dict[str, Amount]
    """Rows and their samples' tokens by state."""
    problems: list[Problem]
    lengths: Lengths
    train: int
    heldout: int
    trained_tokens: int
    checks: list[TemplateCheck] = []
    leaks: dict[str, int] = {}
    """Held-out conversations that nearly equal one that is trained on."""
    stops: list[Stop] = []
    """The rows at which a policy says stop."""
    others: list[str] = []
    """Files that are left alone."""
    error: Failure | None = None
    """Why the data may not be trained on."""

    @property
    def rows(self) -> int:
        return sum(amount.rows for amount in self.states.values())

    @property
    def tokens(self) -> int:
        return sum(amount.tokens for amount in self.states.values())

    @property
    def lost(self) -> int:
        return sum(amount.lost for amount in self.states.values())


class Example(msgspec.Struct, frozen=True):
    """A row as a proposal reads it: its sample, or why there is none."""

    row: int
    sample: StoredSample | None = None
    problem: str = ""


class StoredProposal(msgspec.Struct, frozen=True):
    """How the rows of a file might be read."""

    file: str
    title: str
    toml: str
    """The recipe's section [format]."""
    mapping: dict[str, Any]
    """The same as values."""
    examples: list[Example] = []


class RowText(msgspec.Struct, frozen=True):
    """How a row reads in its file, cut off if it is long."""

    file: str
    row: int
    text: str


class Vocabulary(msgspec.Struct, frozen=True):
    """The text of each token by number. Those that hold only a part of a character stand in
    `parts`, in hexadecimal."""

    stop_ids: list[int]
    pieces: list[str]
    parts: dict[int, str] = {}

    def raw(self, token: int) -> bytes:
        part = self.parts.get(token)
        if part is not None:
            return bytes.fromhex(part)
        return self.pieces[token].encode() if token < len(self.pieces) else f"<{token}>".encode()


def start(recipe: Recipe) -> Job:
    """Look at a recipe's data in a job of its own. The older looks at the same data that have ended
    go. LuthierError if it is not there."""
    directory = registry.planned_directory(recipe.model)
    sources = [source.path for source in recipe.sources]
    for source in sources:
        check_source(source)
    check_libraries("prepare data")
    for old in inspections():
        if order_of(old).sources == sources and not old.alive():
            shutil.rmtree(old.directory, ignore_errors=True)
    order = Order(sources, recipe.model, str(directory), recipe.train.max_length)
    job = create(
        Spec(
            kind="inspect",
            name=_name_of(sources[0]),
            module=MODULE,
            settings=msgspec.to_builtins(order),
            grace_seconds=10.0,
        )
    )
    try:
        write_atomic(job.directory / RECIPE_FILE, to_toml(recipe))
        start_job(job)
    except BaseException:
        shutil.rmtree(job.directory, ignore_errors=True)
        raise
    return job


def look_at_same(recipe: Recipe) -> Job | None:
    """A look at the recipe's data that shows what the run would make of it: under way or done, with
    the same model and settings, and since when no file has changed."""
    settings = recipe.data_settings
    for job in inspections():
        if not isinstance(job.state(), Alive | Done):
            continue
        try:
            looked_at = load(RunFolder(job.directory).recipe)
        except LuthierError:  # it is damaged
            continue
        if (looked_at.model, looked_at.data_settings) == (recipe.model, settings):
            return job if _changed(settings.sources) <= job.created else None
    return None


def check_as_seen(recipe: Recipe) -> None:
    """LuthierError if a look at this very data has found that nothing may be trained on it."""
    if any(source.path.startswith(HUB) for source in recipe.sources):
        return
    job = look_at_same(recipe)
    if job is None or job.alive():
        return
    failure = Inspection(job).summary.error
    if failure is not None:
        raise LuthierError(failure.title, failure.message, failure.hint)


def _changed(sources: Sequence[Source]) -> float:
    """When the newest file among the sources was written."""
    files = [path for source in sources for path in source_files(source.path).data]
    return max((path.stat().st_mtime for path in files), default=0.0)


def read_proposals(job: Job) -> list[StoredProposal]:
    """How the rows might be read, best first; none where they are read already."""
    path = RunFolder(job.directory).data / PROPOSALS_FILE
    return foreign.read(path, list[StoredProposal]) if path.is_file() else []


def read_vocabulary(job: Job) -> Vocabulary:
    """The tokens' texts, which are there also where the rows could not be read."""
    return _read(RunFolder(job.directory).data / VOCABULARY_FILE, Vocabulary)


class Order(msgspec.Struct, frozen=True):
    """What a look at data was started with."""

    sources: list[str] = []
    """The files, or names of the hub."""
    model: str = BUILTIN
    """Whose tokenizer and template it looks through, by name."""
    model_directory: str = ""
    context: int = 0
    """The longest sample, in tokens."""


def order_of(job: Job) -> Order:
    """LuthierError if the settings of the job are damaged."""
    return foreign.settings_of(job, Order)


def inspections() -> list[Job]:
    """The looks at data that there are, newest first."""
    return all_jobs("inspect")


def _name_of(source: str) -> str:
    """A data file's name without its endings, as a job's name."""
    return Path(source).name.partition(".")[0].strip()[:40] or "data"


class Lines:
    """A file of one JSON object a line, of any size: where its lines begin is known, a line is read
    when it is asked for.

    Beside it may lie where they begin, as `write_index` wrote it, so that the file need not be read
    for that.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._starts = array("Q")
        self._size = path.stat().st_size if path.is_file() else 0
        self._read = 0
        index = _index_path(path)
        if index.is_file():
            self._starts.frombytes(index.read_bytes())
            self._read = self._size

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def whole(self) -> bool:
        return self._read >= self._size

    def scan(self, max_seconds: float = 0.03) -> Iterator[bytes]:
        """The next lines, in bounded time; they are known from then on."""
        if self.whole:
            return
        deadline = time.monotonic() + max_seconds
        with self.path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                self._starts.append(self._read)
                self._read += len(line)
                yield line
                if time.monotonic() > deadline:
                    break

    def line(self, number: int) -> bytes:
        while number >= len(self._starts) and not self.whole:
            for _ in self.scan():
                pass
        with self.path.open("rb") as file:
            file.seek(self._starts[number])
            return file.readline()


def write_index(path: Path, starts: array[int]) -> None:
    """Note down where the lines of a file begin, as array("Q")."""
    with _index_path(path).open("wb") as file:
        starts.tofile(file)


def _index_path(path: Path) -> Path:
    return path.with_suffix(".index")


class Ledger:
    """The ledger's rows. Their states and reasons are kept by number of the combination, so that a
    filter looks at few texts."""

    def __init__(self, path: Path) -> None:
        self._lines = Lines(path)
        self._numbers: dict[tuple[str, tuple[str, ...]], int] = {}
        self._combinations = array("H")
        self._rows = array("Q")
        self._decoder = foreign.Decoder(Entry)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def whole(self) -> bool:
        return self._lines.whole

    def extend(self, max_seconds: float = 0.03) -> bool:
        """Read on, in bounded time. True if there were new rows."""
        before = len(self)
        for line in self._lines.scan(max_seconds):
            entry = self._decoder.decode(line, self._lines.path)
            key = (entry.state, tuple(entry.reasons))
            self._combinations.append(self._numbers.setdefault(key, len(self._numbers)))
            self._rows.append(entry.row)
        return len(self) > before

    def entry(self, index: int) -> Entry:
        return self._decoder.decode(self._lines.line(index), self._lines.path)

    def matching(self, text: str) -> Sequence[int]:
        """The places of the rows whose state and reasons have every word of `text`; a word of
        digits is a row's number."""
        words = text.lower().split()
        if not words:
            return range(len(self))
        numbers = [int(word) for word in words if word.isdecimal()]
        reason_words = [word for word in words if not word.isdecimal()]
        fitting = {
            number
            for (state, reasons), number in self._numbers.items()
            if all(word in f"{state} {' '.join(reasons)}".lower() for word in reason_words)
        }
        rows = zip(self._combinations, self._rows, strict=True)
        return array(
            "Q",
            (
                index
                for index, (number, row) in enumerate(rows)
                if number in fitting and (not numbers or row in numbers)
            ),
        )


class Inspection:
    """What a finished look at data left in its job's folder."""

    def __init__(self, job: Job) -> None:
        folder = RunFolder(job.directory).data
        self.job = job
        self.summary = _read(folder / OVERVIEW_FILE, Summary)
        self.vocabulary = _read(folder / VOCABULARY_FILE, Vocabulary)
        self.ledger = Ledger(RunFolder(job.directory).ledger)
        self._parts = {part: Lines(folder / f"{part}.jsonl") for part in ("train", "heldout")}
        self._rows_path = folder / ROWS_FILE
        self._row_texts: dict[tuple[str, int], str] | None = None

    def sample(self, sample_id: str) -> StoredSample:
        part, _, index = sample_id.partition(":")
        return foreign.decode(
            self._parts[part].line(int(index)), StoredSample, self._parts[part].path
        )

    def samples(self) -> Iterator[tuple[str, StoredSample]]:
        """Every sample with its id: those to train, then the held-out ones."""
        for part, lines in self._parts.items():
            if lines.path.is_file():
                for index, sample in enumerate(foreign.Decoder(StoredSample).lines(lines.path)):
                    yield f"{part}:{index}", sample

    def row_text(self, entry: Entry) -> str | None:
        """How a row reads in its file; None for one that was not kept for looking at."""
        if self._row_texts is None:
            row_texts = (
                foreign.Decoder(RowText).lines(self._rows_path) if self._rows_path.is_file() else []
            )
            self._row_texts = {(row.file, row.row): row.text for row in row_texts}
        return self._row_texts.get((entry.file, entry.row))


def _read(path: Path, kind: type[T]) -> T:
    try:
        return foreign.read(path, kind)
    except FileNotFoundError:
        raise LuthierError(
            "Nothing to show",
            f"{path} does not exist.",
            "Open the data again: `n` in Data, or luthier data check.",
        ) from None
    except Damaged as error:
        raise LuthierError(
            "Not readable",
            error.message,
            "Open the data again: `n` in Data, or luthier data check.",
        ) from None
