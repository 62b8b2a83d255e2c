"""A first look at the data, for the plan: formats, counts and what the policies will meet, from the
first rows of each source. Light, but for what reading some kinds of file needs. What only a
tokenizer can tell (lengths, control tokens, the mask) is left to the run."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain, islice, takewhile
from typing import Any

import msgspec

from trainer.data.exact_digest import exact_digest
from trainer.data.files import RawRow, check_source, read_rows, source_size
from trainer.data.guard_rails import Figures
from trainer.data.hub import HUB
from trainer.data.ledger import Drops, Stops
from trainer.data.policies import SpecialTexts
from trainer.data.preferences import Judged
from trainer.data.reading import Reader, Row, formats_seen, proposals
from trainer.data.refused_data import ProposedChange
from trainer.data.settings import DataSettings, Source

_SECONDS = 2.0  # for all sources; what lies beyond is estimated from the bytes
_FIRST_SECONDS = 0.5  # for the first conversations
# Bytes a token: English chat has 4.0 to 4.6 with the vocabularies in use, other scripts and code
# 2.5 to 3.5.
_TOKEN_BYTES = 3.5
_MESSAGE_TOKENS = 5  # what a template puts around a message


@dataclass(frozen=True)
class Outlook:
    """What a short look at the data says of all of it."""

    rows: int
    conversations: int
    """An estimate if `exact` is False; 0 if nothing can be known beforehand."""
    seen_each_epoch: int
    """Likewise; it minds the sources' weights."""
    exact: bool
    formats: list[dict[str, Any]]
    met: dict[str, int]
    """The rows read, by reason: what was repaired, and why others were dropped."""
    tokens: list[int]
    """Those of the conversations read, estimated from their text; of a pair, of its longer side."""
    preferences: Figures = field(default_factory=Figures)
    """Of what was read."""


def look(settings: DataSettings) -> Outlook:
    """Read for two seconds at most. LuthierError if a policy stops the run at a row that was read,
    or if nothing is left to train on."""
    reader = Reader(settings.format, settings.policy, SpecialTexts(), scoring=settings.scoring)
    met: Counter[str] = Counter()
    stops, drops = Stops(settings.policy), Drops()
    rows = conversations = seen_once = 0.0
    tokens: list[int] = []
    exact = True
    preferences = Figures(unit="characters")
    hashes: set[bytes] | None = set() if settings.policy.duplicates != "keep" else None
    deadline = time.monotonic() + _SECONDS
    for number, source in enumerate(settings.sources):
        share = (deadline - time.monotonic()) / (len(settings.sources) - number)
        source_look = _Look(source, share, reader, met, hashes, stops, drops, preferences)
        rows, conversations, seen_once = (
            rows + source_look.rows,
            conversations + source_look.conversations,
            seen_once + source_look.conversations * source.weight,
        )
        tokens += source_look.tokens
        exact = exact and source_look.exact
    meanings = _meanings(settings) if any(stop.policy == "unread" for stop in stops) else []
    if error := stops.error(total_rows=round(rows) if exact else 0, proposals=meanings):
        raise error
    if exact and not conversations:
        raise drops.nothing_left()
    return Outlook(
        round(rows),
        round(conversations),
        round(seen_once),
        exact,
        formats_seen(reader.formats),
        dict(met),
        tokens,
        preferences,
    )


def _meanings(settings: DataSettings) -> list[ProposedChange]:
    """What the columns may mean that Luthier does not read."""
    paths = [source.path for source in settings.sources]
    proposed_file = proposals(paths, settings.format, settings.policy)
    if proposed_file is None:
        return []
    return [proposal.change_from(settings.format) for proposal in proposed_file[2]]


def look_at_heldout(settings: DataSettings) -> int:
    """The conversations of the files that are held out whole, an estimate where they are long; 0
    without such files. LuthierError where they cannot be held out."""
    if not settings.heldout.files:
        return 0
    sources = [Source(path) for path in settings.heldout.files]
    return look(msgspec.structs.replace(settings, sources=sources)).conversations


def first_raw_rows(settings: DataSettings, most: int) -> list[RawRow]:
    """As the files have them; none of a data set of the hub. LuthierError where a file cannot be
    read at all."""
    rows = (
        read_rows(source.path, encoding=settings.format.encoding)
        for source in settings.sources
        if not source.path.startswith(HUB)
    )
    return list(islice(chain.from_iterable(rows), most))


def first_conversations(settings: DataSettings, most: int) -> list[Row]:
    """The first rows that become conversations, as many as are read in half a second; none of a
    data set of the hub. LuthierError where nothing can be read."""
    reader = Reader(settings.format, settings.policy, SpecialTexts(), scoring=settings.scoring)
    deadline = time.monotonic() + _FIRST_SECONDS
    # rows that follow each other are read before the first of them is given
    reader.enough = lambda: time.monotonic() > deadline - _FIRST_SECONDS / 2
    files = [source.path for source in settings.sources if not source.path.startswith(HUB)]
    rows = takewhile(
        lambda row: time.monotonic() < deadline, chain.from_iterable(map(reader.rows, files))
    )
    return list(islice((row for row in rows if row.messages is not None), most))


class _Look:
    """What the first rows of a source come to, extrapolated to all of it. A data set of the hub is
    not read, only its name."""

    def __init__(
        self,
        source: Source,
        seconds: float,
        reader: Reader,
        met: Counter[str],
        hashes: set[bytes] | None,
        stops: Stops,
        drops: Drops,
        preferences: Figures,
    ) -> None:
        self.rows = self.conversations = 0.0
        self.tokens: list[int] = []
        self.exact = not source.path.startswith(HUB)
        if not self.exact:
            check_source(source.path)
            return
        self._until = time.monotonic() + max(seconds, 0.2)
        self._read = self._done = 0
        self._over = False
        reader.enough = self._enough
        for row in reader.rows(source.path, self._progress):
            if self._over:
                break
            self.rows += 1
            met.update(row.reasons)
            stops.add(row.file, row.row, row.reasons, row.detail)
            preferences.equal += row.reasons == ("rejected",)
            if row.messages is None:
                drops.add(row.reasons, row.detail)
                continue
            if hashes is not None:
                digest = exact_digest(row.spoken, row.tools)
                if digest in hashes:
                    met["duplicates"] += 1
                    stops.add(
                        row.file, row.row, ["duplicates"], "it equals an earlier conversation"
                    )
                    continue
                hashes.add(digest)
            self.conversations += reader.samples_of(row)
            self.tokens.append(_tokens(row.messages))
            if row.judged is not None:
                self._look_at(row.judged, preferences)
        self.exact = not (self._over or reader.is_cut)
        if not self.exact:
            factor = max(1.0, source_size(source.path) / self._done)
            self.rows, self.conversations = self.rows * factor, self.conversations * factor

    def _look_at(self, judged: Judged, preferences: Figures) -> None:
        if judged.rejected is None:
            preferences.add_verdict(is_good=judged.is_good)
            return
        self.tokens[-1] = max(self.tokens[-1], _tokens(judged.rejected))
        better, worse = (
            sum(len(message["content"]) for message in side[judged.first :])
            for side in (judged.messages, judged.rejected)
        )
        preferences.add_pair(better, worse)

    def _enough(self) -> bool:
        """Whether to stop reading rows that follow each other, which are all read before the first
        is given."""
        return self._done > 0 and time.monotonic() > self._until

    def _progress(self, read: int) -> None:
        """Files are read in blocks: when the next one is, the rows so far are those of the blocks
        before."""
        self._done, self._read = self._read, read
        self._over = self._done > 0 and self.rows > 0 and time.monotonic() > self._until


def _tokens(messages: list[dict[str, Any]]) -> int:
    text = sum(
        len(str(message.get("content", "")).encode("utf-8", "replace")) for message in messages
    )
    return round(text / _TOKEN_BYTES) + _MESSAGE_TOKENS * len(messages)
