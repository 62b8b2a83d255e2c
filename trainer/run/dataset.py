"""The samples of a run as a table that is mapped into memory, its token ids checked against the
model's vocabulary on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from datasets import Dataset

from jobs.luthier_error import LuthierError
from models import foreign
from models.stored_sample import UNTRAINED
from trainer.distributed import ranks

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_ROWS = 1000  # samples in memory at once


@dataclass(frozen=True)
class Vocabulary:
    """Token ids go from 0 to below `size`: the rows of the embedding, or of the head if it has
    fewer."""

    size: int
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def of(
        cls, model: PeftModel | PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> Vocabulary:
        layers = (model.get_input_embeddings(), model.get_output_embeddings())
        return cls(
            min(int(layer.weight.shape[0]) for layer in layers if layer is not None), tokenizer
        )


class _Side(msgspec.Struct):
    """A rejected answer with its prompt."""

    input_ids: list[int]
    labels: list[int]


class _Line(_Side, kw_only=True):
    """What training needs of a line of the sample files."""

    weights: list[float] | None = None
    rejected: _Side | None = None
    is_good: bool = True
    source: dict[str, Any] = {}


class Column(NamedTuple):
    """A column of the table."""

    name: str
    type: Any
    value: Callable[[_Line], Any]
    lowest: int | None = None
    """Where it holds token ids: the lowest that is one."""


def _ids(name: str, lowest: int, value: Callable[[_Line], list[int]]) -> Column:
    return Column(name, pa.list_(pa.int32()), value, lowest)


def _rejected(line: _Line) -> _Side:
    assert line.rejected is not None
    return line.rejected


PLAIN = (
    _ids("input_ids", 0, lambda line: line.input_ids),
    _ids("labels", UNTRAINED, lambda line: line.labels),
)
WEIGHTED = (
    *PLAIN,
    Column(
        "weights",
        pa.list_(pa.float32()),
        lambda line: line.weights or [1.0] * len(line.labels),
    ),
)
PAIRS = (
    *PLAIN,
    _ids("rejected_input_ids", 0, lambda line: _rejected(line).input_ids),
    _ids("rejected_labels", UNTRAINED, lambda line: _rejected(line).labels),
)
VERDICTS = (*PLAIN, Column("label", pa.bool_(), lambda line: line.is_good))


def dataset(path: Path, vocabulary: Vocabulary, columns: Sequence[Column]) -> Dataset:
    """The samples of a file; their number does not matter. LuthierError for a token that the model
    has no embedding of: on a GPU it would end in a device-side assert that names nothing. One rank
    of a machine writes the table that all of them map."""
    if ranks.local() == 0:
        _write(path, vocabulary, columns)
    ranks.gathered(None)
    return Dataset.from_file(str(path.with_suffix(".arrow"))).with_format("numpy")


def _write(path: Path, vocabulary: Vocabulary, columns: Sequence[Column]) -> None:
    schema = pa.schema([(column.name, column.type) for column in columns])
    with (
        pa.OSFile(str(path.with_suffix(".arrow")), "wb") as file,
        pa.ipc.new_stream(file, schema) as writer,
    ):
        for rows in _chunks(path):
            arrays = [
                pa.array([column.value(row) for row in rows], column.type) for column in columns
            ]
            if not all(
                column.lowest is None or _within(array, vocabulary.size, column.lowest)
                for column, array in zip(columns, arrays, strict=True)
            ):
                raise _unknown_token(rows, vocabulary, columns)
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _within(column: pa.Array, size: int, lowest: int) -> bool:
    limits = pc.min_max(column.flatten())
    return limits["max"].as_py() is None or (
        limits["max"].as_py() < size and limits["min"].as_py() >= lowest
    )


def _unknown_token(
    rows: list[_Line], vocabulary: Vocabulary, columns: Sequence[Column]
) -> LuthierError:
    """Which token of which row it is. A label that is none of the ids of its row is told as a
    label."""
    for row in rows:
        for column in columns:
            if column.lowest is None:
                continue
            kind = "label" if column.lowest == UNTRAINED else "token"
            unknown = next(
                (
                    number
                    for number in column.value(row)
                    if not column.lowest <= number < vocabulary.size
                ),
                None,
            )
            if unknown is not None:
                text = vocabulary.tokenizer.convert_ids_to_tokens(unknown) if unknown >= 0 else None
                name = f"{unknown} ({text})" if text else str(unknown)
                where = f"{row.source.get('file', 'a sample')}, row {row.source.get('row', '?')}"
                return LuthierError(
                    "Unknown token",
                    f"{where}: {kind} {name} is outside the model's vocabulary, whose ids go from"
                    f" 0 to {vocabulary.size - 1}.",
                    "The tokenizer and the weights in this folder do not belong together. Take"
                    " both from the same model, or resize the model's embedding to the tokenizer"
                    " (resize_token_embeddings) and save it.",
                )
    raise AssertionError("every token is known")


def _chunks(path: Path) -> Iterator[list[_Line]]:
    rows: list[_Line] = []
    for line in foreign.Decoder(_Line).lines(path):
        rows.append(line)
        if len(rows) == _ROWS:
            yield rows
            rows = []
    if rows:
        yield rows
