"""From sources to conversations: rows are read, each file's format is told, and every row is
settled by the policies. Light, but for what reading some kinds of file needs (pyarrow for Parquet
and zstd)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import Any, NamedTuple

import msgspec

from jobs.luthier_error import LuthierError
from models.conversations import Conversation
from trainer.data.chains import chained
from trainer.data.files import RawRow, read_rows
from trainer.data.formats import Format, Mapping, recognise
from trainer.data.formats_layouts import HINT
from trainer.data.formats_turns import Converted, Message, RowProblem
from trainer.data.ledger import NO_ROWS
from trainer.data.policies import Policies, Rejected, SpecialTexts, settle
from trainer.data.preferences import Judged, PreferenceRows, Sides, compared, judged
from trainer.data.proposals import Proposal, propose
from trainer.data.refused_data import RefusedData
from trainer.objective import Scoring

_SAMPLE = 48  # rows from which a file's format is told
_SAMPLE_BYTES = 32 * 1024 * 1024


class Row(NamedTuple):
    """One row of a file, settled."""

    file: str
    row: int
    messages: list[Message] | None
    """None where it was left out."""
    tools: list[Message] | None
    reasons: tuple[str, ...]
    """Why it was left out, else what was repaired."""
    detail: str = ""
    places: Sequence[int] = ()
    """The messages' numbers in the row; none where they are as here."""
    carrier: int | None = None
    """The row in whose conversation its turns stand, where that is another one."""
    judged: Judged | None = None
    """The same conversation where its answers are scored."""

    @property
    def spoken(self) -> list[Message]:
        """What distinguishes it from others: pairs also differ by what is rejected."""
        messages = self.messages or []
        if self.judged is None or self.judged.rejected is None:
            return messages
        return [*messages, *self.judged.rejected[self.judged.first :]]


class Reader:
    """Reads sources one after the other. `formats` are those of the files seen so far, by file;
    `no_system` is as settle has it."""

    def __init__(
        self,
        mapping: Mapping,
        policies: Policies,
        special: SpecialTexts,
        no_system: str = "",
        scoring: Scoring = "turns",
    ) -> None:
        self.formats: dict[str, Format] = {}
        self._scoring = scoring
        self._preferences: dict[str, PreferenceRows] = {}
        self._mapping = mapping
        self._policies = policies
        self._special = special
        # Rows that follow each other are read to the end before the first is given, unless `enough`
        # says so: then the source `is_cut`.
        self.enough: Callable[[], bool] = lambda: False
        self.is_cut = False
        self._no_system = no_system

    def rows(self, source: str, on_progress: Callable[[int], None] | None = None) -> Iterator[Row]:
        """Every row of a source, in order. One at which a policy says stop is left out too:
        ledger.Stops counts those."""
        self.is_cut = False
        for file, rows in groupby(
            read_rows(source, on_progress, self._mapping.encoding), key=lambda row: row.file
        ):
            yield from self._of_file(file, rows)
            if self.is_cut:
                return

    def samples_of(self, row: Row) -> int:
        """How many samples a row makes, unless it is cut: a pair is two answers where verdicts are
        scored."""
        is_pair = row.judged is not None and row.judged.rejected is not None
        return 2 if is_pair and self._scoring == "verdicts" else 1

    def _of_file(self, file: str, rows: Iterator[RawRow]) -> Iterator[Row]:
        first = _first(rows)
        values = [row.value for row in first if row.value is not None]
        if values:
            try:
                self.formats[file] = recognise(values, self._mapping)
            except LuthierError as error:
                proposed = propose(values, self._mapping, self._policies)
                # another hint has the remedy
                hinted = proposed[:1] if error.hint == HINT else []
                hints = [f"{best.title}:\n{best.toml}" for best in hinted]
                raise RefusedData(
                    error.title,
                    f"{file}: {error.message}",
                    "\n".join((*hints, error.hint)),
                    [proposal.change_from(self._mapping) for proposal in proposed],
                ) from None
        if values and self._scoring != "turns":
            self.formats[file] = compared(self.formats[file])
            self._preferences[file] = PreferenceRows(self.formats[file], self._scoring, file)
        if values and self.formats[file].is_chained:
            yield from self._chained(file, chain(first, rows))
            return
        for row in first:
            yield self._settled(row)
        first.clear()
        for row in rows:
            yield self._settled(row)

    def _settled(self, row: RawRow) -> Row:
        if row.value is None:
            codes = ("damage", NO_ROWS) if row.stands_for_file else ("damage",)
            return Row(row.file, row.row, None, None, codes, row.damage or "")
        try:
            if self._scoring == "turns":
                converted = self.formats[row.file].convert(row.value)
            else:
                return self._judged(row, self._preferences[row.file].read(row.value))
        except RowProblem as problem:
            codes = (problem.code,) if problem.code == "rejected" else ("unreadable", problem.code)
            return Row(row.file, row.row, None, None, codes, problem.detail)
        return self._by_policy(row.file, row.row, converted)

    def _judged(self, row: RawRow, sides: Sides) -> Row:
        """Both sides by the policies. RowProblem if they do not compare."""
        better = self._by_policy(row.file, row.row, sides.better)
        if better.messages is None:
            return better
        rejected, reasons = None, better.reasons
        if sides.worse is not None:
            worse = self._by_policy(row.file, row.row, sides.worse)
            if worse.messages is None:
                return worse._replace(detail=f"the rejected side: {worse.detail}")
            rejected = worse.messages
            reasons = tuple(dict.fromkeys((*reasons, *worse.reasons)))
        conversation = Conversation(better.messages, row.file, row.row, better.tools)
        scored = judged(conversation, rejected, sides.is_good)
        return better._replace(messages=scored.messages, reasons=reasons, judged=scored)

    def _by_policy(self, file: str, row: int, converted: Converted) -> Row:
        try:
            settled = settle(converted, self._policies, self._special, self._no_system)
        except Rejected as rejected:
            return Row(file, row, None, None, (rejected.code,), rejected.detail)
        reasons = (*converted.repairs, *settled.repairs)
        return Row(
            file,
            row,
            settled.messages,
            converted.tools,
            reasons,
            "; ".join(settled.repairs.values()),
            settled.places,
        )

    def _chained(self, file: str, rows: Iterator[RawRow]) -> Iterator[Row]:
        def enough() -> bool:
            self.is_cut = self.enough()
            return self.is_cut

        for link in chained(rows, self.formats[file], enough):
            if link.converted is not None:
                yield self._by_policy(file, link.row, link.converted)
            elif link.carrier is not None:
                yield Row(
                    file, link.row, None, None, ("chained",), link.detail, carrier=link.carrier
                )
            else:
                yield Row(
                    file,
                    link.row,
                    None,
                    None,
                    ("unreadable", link.code) if link.code else ("damage",),
                    link.detail,
                )


def _first(rows: Iterator[RawRow]) -> list[RawRow]:
    """The rows by which the format is recognised; more if the first are damaged."""
    first: list[RawRow] = []
    undamaged = size = 0
    for row in rows:
        first.append(row)
        undamaged += row.value is not None
        size += row.size
        if undamaged >= _SAMPLE or size > _SAMPLE_BYTES:
            break
    return first


def proposals(
    sources: Iterable[str], mapping: Mapping, policies: Policies
) -> tuple[str, list[RawRow], list[Proposal]] | None:
    """How the first file that needs it might be read, with its first rows; None if none does, or
    nothing would read it."""
    for source in sources:
        for file, rows in groupby(
            read_rows(source, encoding=mapping.encoding), key=lambda row: row.file
        ):
            first = [row for row in _first(rows) if row.value is not None]
            if proposed := propose(
                [row.value for row in first if row.value is not None], mapping, policies
            ):
                return file, first, proposed
    return None


def formats_seen(formats: dict[str, Format]) -> list[dict[str, Any]]:
    """The files' formats for people: those of one kind and reason once, with the whole mapping of
    the first."""
    files_of: dict[tuple[str, str, Sequence[str]], list[str]] = {}
    for file, row_format in formats.items():
        files_of.setdefault((row_format.name, row_format.reason, row_format.unused), []).append(
            file
        )
    return [
        {
            "files": files,
            "format": name,
            "reason": reason,
            "unused": list(unused),
            "mapping": msgspec.to_builtins(formats[files[0]].mapping),
        }
        for (name, reason, unused), files in files_of.items()
    ]
