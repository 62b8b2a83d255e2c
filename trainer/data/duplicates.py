"""Equal and nearly equal conversations, found through files, and which of them are dropped: memory
holds some numbers a conversation, never its text or its sketch.

Nearly equal is a matter of what user and assistant say: the share of common 8-byte pieces of their
text (Jaccard), whatever the capitals and spaces. A sketch of 64 minima (MinHash) finds the
candidates by bands (LSH); the texts themselves then decide.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, TypeAlias

import numpy as np

from trainer.data.exact_digest import exact_digest
from trainer.data.formats_turns import Message

_HASHES = 64
_BANDS = 16
_ROWS = _HASHES // _BANDS
_WINDOW = 8
_CHUNK = 16_384  # sketches in memory at once: 4 MiB
_PAIRS = 4_096  # pairs of them compared at once
# an estimate from 64 hashes is off by some 0.06: three times that is let through to the exact
# comparison
_SLACK = 0.2
_SPOKEN = ("user", "assistant")

_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_LOW = np.uint64(0xFFFFFFFF)
_BINS = np.arange(_HASHES)
_EDGES = np.arange(_HASHES, dtype=np.uint64) << np.uint64(58)

# What they hold: 64 bits signed and unsigned, 32 bits, truths.
Numbers: TypeAlias = "np.ndarray[Any, Any]"
Hashes: TypeAlias = "np.ndarray[Any, Any]"
Sketches: TypeAlias = "np.ndarray[Any, Any]"
Truths: TypeAlias = "np.ndarray[Any, Any]"


@dataclass(frozen=True)
class Twin:
    """What a conversation is dropped for."""

    code: Literal["duplicates", "near_duplicates"]
    """The policy's name."""
    verb: str
    earlier: int
    """The number of the conversation that it repeats."""


class Twins:
    """The conversations that repeat earlier ones, by their numbers, and which of them are
    dropped."""

    def __init__(self, exact: Numbers, near: Numbers, *, drop_equal: bool, drop_near: bool) -> None:
        self.exact = exact
        """For each an earlier one that it equals, or -1."""
        self.near = near
        """For each an earlier one that it nearly equals, or -1."""
        self._drop_equal = drop_equal
        self.dropped: Truths = exact >= 0 if drop_equal else np.zeros(len(exact), bool)
        if drop_near:  # but what repeats only a dropped one stays
            for number in np.flatnonzero(near >= 0):
                self.dropped[number] |= not self.dropped[near[number]]

    def of(self, number: int) -> Twin:
        """Why a conversation that is dropped is."""
        if self._drop_equal and self.exact[number] >= 0:
            return Twin("duplicates", "equals", int(self.exact[number]))
        return Twin("near_duplicates", "nearly equals", int(self.near[number]))


class Fingerprints:
    """Writes the fingerprints of conversations, numbered from 0 in the order in which they come."""

    def __init__(self, folder: Path, *, sketches: bool) -> None:
        self.exact = folder / "exact.bin"
        self.sketches = folder / "sketches.bin" if sketches else None
        self._exact = self.exact.open("wb")
        self._sketches = self.sketches.open("wb") if self.sketches else None

    def add(self, messages: list[Message], tools: list[Message] | None) -> None:
        self._exact.write(exact_digest(messages, tools))
        if self._sketches is not None:
            self._sketches.write(sketch(pieces(messages)).tobytes())

    def __enter__(self) -> Fingerprints:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exact.close()
        if self._sketches is not None:
            self._sketches.close()


def pieces(messages: list[dict[str, Any]]) -> Hashes:
    """Hashes of all 8-byte pieces of what is said, sorted, each once."""
    spoken = "\n".join(message["content"] for message in messages if message["role"] in _SPOKEN)
    data = " ".join(spoken.lower().split()).encode("utf-8", "surrogatepass").ljust(_WINDOW, b" ")
    windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, np.uint8), _WINDOW)
    mixed = np.ascontiguousarray(windows).view(np.uint64).ravel() * _MIX
    mixed ^= mixed >> _SHIFT
    mixed *= _MIX
    hashes: Hashes = np.unique(mixed)
    return hashes


def sketch(hashes: Hashes) -> Sketches:
    """The least hash of each of 64 equal parts of their range; an empty part borrows from the next
    that is not (one-permutation MinHash with rotation, Shrivastava and Li 2014)."""
    begins: Numbers = np.asarray(np.searchsorted(hashes, _EDGES))
    filled: Numbers = np.nonzero(begins < np.append(begins[1:], hashes.size))[0]
    source = filled[np.searchsorted(filled, _BINS) % filled.size]
    distance = ((source - _BINS) % _HASHES).astype(np.uint64)
    mixed: Sketches = ((hashes[begins[source]] ^ (distance * _MIX)) & _LOW).astype(np.uint32)
    return mixed


def similarity(hashes: Hashes, other_hashes: Hashes) -> float:
    common = int(np.intersect1d(hashes, other_hashes, assume_unique=True).size)
    return common / int(hashes.size + other_hashes.size - common)


def exact_twins(path: Path) -> Numbers:
    """For each conversation the number of the first one that equals it, -1 if that is itself."""
    hashes = np.fromfile(path, np.uint64).reshape(-1, 2)
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # a stable sort: equal ones stay in order
    twins: Numbers = np.full(len(hashes), -1, np.int32)
    if len(order):
        repeats_earlier: Truths = np.zeros(len(order), bool)
        repeats_earlier[1:] = (hashes[order[1:]] == hashes[order[:-1]]).all(axis=1)
        begins = np.flatnonzero(~repeats_earlier)
        repeats = np.flatnonzero(repeats_earlier)
        twins[order[repeats]] = order[begins[np.searchsorted(begins, repeats) - 1]]
    return twins


def near_twins(
    path: Path,
    threshold: float,
    text_of: Callable[[int], Hashes],
    excluded: Truths,
    on_progress: Callable[[int, int], None],
) -> Numbers:
    """For each conversation an earlier one that it nearly equals, -1 if there is none. `text_of`
    gives a conversation's pieces; `on_progress` gets how much is done and of how much, and what it
    raises ends the search."""
    count = path.stat().st_size // (4 * _HASHES)
    twins: Numbers = np.full(count, -1, np.int32)
    for band in range(_BANDS):

        def progress(done: int, band: int = band) -> None:
            on_progress(band * count + done, _BANDS * count)

        for earlier, later in _candidates(path, count, band, threshold, progress):
            if (
                twins[later] < 0
                and not excluded[later]
                and not excluded[earlier]
                and similarity(text_of(earlier), text_of(later)) >= threshold
            ):
                twins[later] = earlier
    return twins


def _candidates(
    path: Path, count: int, band: int, threshold: float, on_progress: Callable[[int], None]
) -> Iterator[tuple[int, int]]:
    """Pairs whose sketches agree in a band and, all in all, nearly enough: each with the first of
    its bucket and with its neighbour. Progress is told in conversations: half for reading them,
    half for comparing."""
    keys: Hashes = np.empty(count, np.uint64)
    for begin in range(0, count, _CHUNK):
        on_progress(begin // 2)
        rows: Sketches = _sketches(path, begin, min(_CHUNK, count - begin))[
            :, band * _ROWS : (band + 1) * _ROWS
        ].astype(np.uint64)
        mixed: Hashes = np.zeros(len(rows), np.uint64)
        for column in range(_ROWS):
            mixed = (mixed ^ rows[:, column]) * _MIX
            mixed ^= mixed >> _SHIFT
        keys[begin : begin + len(rows)] = mixed
    order: Numbers = np.argsort(keys, kind="stable").astype(np.int32)
    repeats_earlier: Truths = np.zeros(count, bool)
    repeats_earlier[1:] = keys[order[1:]] == keys[order[:-1]]
    del keys
    places: Numbers = np.flatnonzero(repeats_earlier)
    begins: Numbers = np.flatnonzero(~repeats_earlier)  # of the buckets
    with path.open("rb") as file:
        for begin in range(0, len(places), _PAIRS):
            on_progress((count + count * begin // len(places)) // 2)
            chunk = places[begin : begin + _PAIRS]
            later = order[chunk]
            firsts = order[begins[np.searchsorted(begins, chunk) - 1]]
            for earlier in (firsts, order[chunk - 1]):
                near = _agreement(file, earlier, later) >= threshold - _SLACK
                yield from zip(earlier[near].tolist(), later[near].tolist(), strict=True)


def _agreement(file: IO[bytes], earlier: Numbers, later: Numbers) -> Numbers:
    """The share of equal parts in the sketches of each pair. Read one by one: mapped into memory,
    all pages would soon be in it."""

    def sketches(numbers: Numbers) -> Sketches:
        size = 4 * _HASHES
        read: Sketches = np.frombuffer(
            b"".join(os.pread(file.fileno(), size, size * number) for number in numbers.tolist()),
            np.uint32,
        )
        return read

    equal: Truths = sketches(earlier) == sketches(later)
    share: Numbers = equal.reshape(-1, _HASHES).mean(axis=1)
    return share


def _sketches(path: Path, begin: int, count: int) -> Sketches:
    rows: Sketches = np.fromfile(
        path, np.uint32, count * _HASHES, offset=begin * _HASHES * 4
    ).reshape(-1, _HASHES)
    return rows
