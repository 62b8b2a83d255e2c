"""The weights of a merge, streamed: reading, arithmetic, writing and hashing at once, a few
megabytes of each at a time.

A thread pool takes blocks of half a million values through reading, arithmetic and writing; another
thread takes them in order through the hashes (of the base's file, of the tensor, of the new file);
a third one has the disk begin early with what was written. All of it happens in system calls, torch
and xxhash, which leave Python's lock alone. Memory is that of a fixed number of blocks.
"""

from __future__ import annotations

import json
import math
import os
import queue
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch

from models.hashing import Hasher, text_of
from models.merge.arithmetic import TORCH, Operands, Scratch, compute, operands, spans
from models.merge.plan import MergePlan
from models.merge.receipt import TensorRecord
from models.merge.tensor_recipes import Piece
from models.weights import TensorEntry

# in a block: 1 MB of bfloat16. Writes of 4 MB cost the kernel (6.18, ext4) three times as much a
# byte
_VALUES = 512 << 10
_EARLY = 64 << 20  # bytes written before the disk is told to begin


class Stopped(Exception):
    """The merge was asked to stop."""


@dataclass
class Written:
    """What came of it: hashes of the new files and of the base's, and a record of each tensor."""

    files: dict[str, str] = field(default_factory=dict)
    base_files: dict[str, str] = field(default_factory=dict)
    tensors: list[TensorRecord] = field(default_factory=list)


@dataclass
class _Open:
    """A weight file that is being made. `place` are the offsets of its tensors."""

    name: str
    descriptor: int
    place: dict[str, int]
    base: Hasher
    new: Hasher


@dataclass
class _Block:
    """Some rows of a piece on their way. `source` and `base` are how many bytes were read of each,
    `out` how many were written."""

    file: _Open
    piece: Piece
    made: Operands | None
    first: int
    last: int
    final: bool
    buffers: list[torch.Tensor] = field(default_factory=list)
    base: int = 0
    out: int = 0
    change: float = 0.0
    plain: bool = False


def copies(piece: Piece) -> bool:
    """Whether the bytes of the base's tensor are those of the piece."""
    return (
        piece.made == "copied"
        and not piece.added
        and piece.base is not None
        and piece.dtype == piece.base.dtype
    )


def header(pieces: list[Piece]) -> tuple[bytes, dict[str, int], int]:
    """A safetensors header for these pieces in their order, the place of each in the file, and the
    file's size."""
    tensors: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for piece in pieces:
        if not piece.dropped:
            tensors[piece.name] = {
                "dtype": piece.dtype,
                "shape": list(piece.shape),
                "data_offsets": [offset, offset + piece.size],
            }
            offset += piece.size
    text = json.dumps(tensors, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    offset_of, position = {}, start
    for piece in pieces:
        if not piece.dropped:
            offset_of[piece.name] = position
            position += piece.size
    return struct.pack("<Q", len(text)) + text, offset_of, position


class Stream:
    """Writes the weight files of a plan into a folder. `progress` hears of bytes done; `stopping`
    is asked before each block."""

    def __init__(
        self,
        plan: MergePlan,
        folder: Path,
        device: str,
        progress: Callable[[int], None],
        stopping: Callable[[], bool],
        workers: int | None = None,
    ) -> None:
        self._plan, self._folder, self._device = plan, folder, torch.device(device)
        self._progress, self._stopping = progress, stopping
        self._workers = workers or min(4, len(os.sched_getaffinity(0)))
        self._written = Written()
        self._descriptors: dict[Path, int] = {}
        self._opening = threading.Lock()
        self._local = threading.local()
        self._free: queue.SimpleQueue[list[torch.Tensor]] = queue.SimpleQueue()
        self._ordered: queue.SimpleQueue[tuple[_Block, Future[None]] | _Open | None] = (
            queue.SimpleQueue()
        )
        self._flushes: queue.SimpleQueue[tuple[int, bool] | None] = queue.SimpleQueue()
        self._failure: BaseException | None = None

    def run(self) -> Written:
        """Write all files and have them on the disk. Stopped, or the first error of any thread."""
        for _ in range(self._workers + 4):
            self._free.put([])
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the pool's threads are the parallelism
        try:
            with ExitStack() as stack, ThreadPoolExecutor(self._workers) as pool:
                stack.callback(self._close)
                flusher = threading.Thread(target=self._guard(self._flush))
                hashing = threading.Thread(target=self._guard(self._hash))
                flusher.start()
                hashing.start()
                try:
                    for name, pieces in self._plan.files.items():
                        if self._failure is None:
                            self._feed(stack, pool, name, pieces)
                finally:
                    self._ordered.put(None)
                    hashing.join()
                    self._flushes.put(None)
                    flusher.join()
        finally:
            torch.set_num_threads(threads)
        if self._failure is not None:
            raise self._failure
        return self._written

    def _feed(
        self, stack: ExitStack, pool: ThreadPoolExecutor, name: str, pieces: list[Piece]
    ) -> None:
        """Send a file's pieces on their way, block by block, as buffers become free."""
        text, offset_of, size = header(pieces)
        descriptor = os.open(
            self._folder / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644
        )
        stack.callback(os.close, descriptor)
        os.posix_fallocate(descriptor, 0, size)
        os.pwrite(descriptor, text, 0)
        file = _Open(name, descriptor, offset_of, Hasher(), Hasher(text))
        source = self._plan.base / name
        first = min(
            (piece.base.offset for piece in pieces if piece.base is not None and not piece.added),
            default=0,
        )
        file.base.update(os.pread(self._descriptor(source), first, 0))
        for piece in pieces:
            operands_of_piece = (
                None if copies(piece) or piece.dropped else operands(piece, self._device)
            )
            for block in _blocks(file, piece, operands_of_piece):
                block.buffers = self._free.get()
                if self._failure is not None:
                    return
                if self._stopping():
                    raise Stopped
                self._ordered.put((block, pool.submit(self._work, block)))
        self._ordered.put(file)

    def _work(self, block: _Block) -> None:
        """Read, compute, write: in a thread of the pool."""
        piece = block.piece
        base = piece.base
        rows = None
        if base is not None:
            block.base, rows = self._read(block, 0, base)
        if piece.dropped:
            return
        if block.plain:
            block.out = block.base
        else:
            source = (
                rows
                if piece.make.source is base and rows is not None
                else self._read(block, 1, piece.make.source)[1]
            )
            assert block.made is not None
            scratch = getattr(self._local, "scratch", None)
            if scratch is None:
                scratch = self._local.scratch = Scratch(self._device)
            width = _width(piece.shape)
            count = min(block.last, _rows(piece.shape)) - block.first
            if count <= 0:
                return
            dtype = TORCH[piece.dtype]
            block.out = count * width * dtype.itemsize
            out = _buffer(block, 2, block.out).view(dtype).view(count, width)
            block.change = compute(piece, block.made, block.first, source, rows, out, scratch)
        offset = block.file.place[piece.name] + block.first * _row_bytes(piece, block)
        _write_all(
            block.file.descriptor, _buffer(block, 0 if block.plain else 2, block.out), offset
        )

    def _read(self, block: _Block, which: int, entry: TensorEntry) -> tuple[int, torch.Tensor]:
        """The block's rows of a tensor, as many as it has: their bytes, and their values (bytes,
        for a plain copy)."""
        if block.plain or entry.dtype not in TORCH:
            width, item, rows = 1, 1, entry.size
        else:
            width, item, rows = _width(entry.shape), TORCH[entry.dtype].itemsize, _rows(entry.shape)
        count = max(0, min(block.last, rows) - block.first)
        size = count * width * item
        data = _buffer(block, which, size)
        _read_all(
            self._descriptor(entry.file), data, entry.offset + block.first * width * item, entry
        )
        return size, data if item == 1 else data.view(TORCH[entry.dtype]).view(count, width)

    def _descriptor(self, path: Path) -> int:
        with self._opening:
            if path not in self._descriptors:
                self._descriptors[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            return self._descriptors[path]

    def _close(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)

    def _hash(self) -> None:
        """Take the blocks in order: hash them, give their buffers back, tell of progress. In a
        thread of its own."""
        tensor, change, done, early = Hasher(), 0.0, 0, 0
        while (item := self._ordered.get()) is not None:
            if isinstance(item, _Open):
                self._written.files[item.name] = text_of(item.new)
                self._written.base_files[item.name] = text_of(item.base)
                self._flushes.put((item.descriptor, True))
                continue
            block, future = item
            try:
                future.result()
            except BaseException:
                self._release(block)
                raise
            piece = block.piece
            if not piece.added:
                block.file.base.update(
                    memoryview(block.buffers[0].numpy())[: block.base] if block.base else b""
                )
            if block.out:
                out = memoryview(block.buffers[0 if block.plain else 2].numpy())[: block.out]
                tensor.update(out)
                block.file.new.update(out)
            change = max(change, block.change)
            done, early = done + block.out, early + block.out
            if early >= _EARLY and self._flushes.empty():
                self._flushes.put((block.file.descriptor, False))
                early = 0
            if block.final:
                if not piece.dropped:
                    self._written.tensors.append(_record(block, tensor, change))
                tensor, change = Hasher(), 0.0
            self._release(block)
            self._progress(done)

    def _release(self, block: _Block) -> None:
        self._free.put(block.buffers)
        block.buffers = []

    def _flush(self) -> None:
        """Have the disk take what was written, while the rest is made. In a thread of its own."""
        while (item := self._flushes.get()) is not None:
            descriptor, with_metadata = item
            (os.fsync if with_metadata else os.fdatasync)(descriptor)

    def _guard(self, target: Callable[[], None]) -> Callable[[], None]:
        """A thread that fails says so, and lets the others end."""

        def run() -> None:
            try:
                target()
            except BaseException as error:  # noqa: BLE001 - raised again by run(), in the thread that waits
                self._failure = self._failure or error
                self._drain()

        return run

    def _drain(self) -> None:
        """After a failure: give the feeding thread buffers, so that it looks up and ends."""
        for _ in range(self._workers + 4):
            self._free.put([])


def _blocks(file: _Open, piece: Piece, operands: Operands | None) -> Iterator[_Block]:
    plain = operands is None
    if plain:
        assert piece.base is not None
        rows, most = piece.base.size, _VALUES * 2
    else:
        base_rows = 0 if piece.base is None or piece.added else _rows(piece.base.shape)
        rows, most = max(base_rows, _rows(piece.shape)), _VALUES // max(1, _width(piece.shape))
    parts = list(spans(rows, most))
    for first, last in parts:
        yield _Block(file, piece, operands, first, last, final=last == rows, plain=plain)


def _rows(shape: tuple[int, ...]) -> int:
    return math.prod(shape) // max(1, _width(shape))


def _width(shape: tuple[int, ...]) -> int:
    """Values in a row: a matrix is taken by rows, a vector value by value."""
    return shape[-1] if len(shape) > 1 else 1


def _row_bytes(piece: Piece, block: _Block) -> int:
    return 1 if block.plain else _width(piece.shape) * TORCH[piece.dtype].itemsize


def _buffer(block: _Block, which: int, size: int) -> torch.Tensor:
    """Bytes of one of the block's three buffers: base, source, result. They grow to what is asked
    of them and are used again."""
    while len(block.buffers) <= which:
        block.buffers.append(torch.empty(0, dtype=torch.uint8))
    if block.buffers[which].numel() < size:
        block.buffers[which] = torch.empty(size, dtype=torch.uint8)
    return block.buffers[which][:size]


def _read_all(descriptor: int, data: torch.Tensor, offset: int, entry: TensorEntry) -> None:
    view = memoryview(data.numpy())
    done = 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if count == 0:
            raise OSError(5, f"{entry.name} ends too early", str(entry.file))
        done += count


def _write_all(descriptor: int, data: torch.Tensor, offset: int) -> None:
    view = memoryview(data.numpy())
    done = 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], offset + done)


def _record(block: _Block, tensor: Hasher, change: float) -> TensorRecord:
    piece = block.piece
    has_base = piece.base is not None and piece.shape == piece.base.shape
    return TensorRecord(
        piece.name,
        block.file.name,
        piece.dtype,
        list(piece.shape),
        piece.made,
        text_of(tensor),
        change if has_base else None,
    )
