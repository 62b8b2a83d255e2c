"""The samples of a run as a table that is mapped into memory, its token ids checked against the
model's vocabulary on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


class _Line(msgspec.Struct):
    """What training needs of a line of the sample files."""

    input_ids: list[int]
    labels: list[int]
    weights: list[float] | None = None
    source: dict[str, Any] = {}


def dataset(path: Path, vocabulary: Vocabulary, *, weighted: bool) -> Dataset:
    """The samples of a file; their number does not matter. LuthierError for a token that the model
    has no embedding of: on a GPU it would end in a device-side assert that names nothing. One rank
    of a machine writes the table that all of them map."""
    if ranks.local() == 0:
        _write(path, vocabulary, weighted=weighted)
    ranks.gathered(None)
    return Dataset.from_file(str(path.with_suffix(".arrow"))).with_format("numpy")


def _write(path: Path, vocabulary: Vocabulary, *, weighted: bool) -> None:
    columns = [("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))]
    schema = pa.schema([*columns, ("weights", pa.list_(pa.float32()))] if weighted else columns)
    with (
        pa.OSFile(str(path.with_suffix(".arrow")), "wb") as file,
        pa.ipc.new_stream(file, schema) as writer,
    ):
        for rows in _chunks(path):
            values: list[Any] = [[row.input_ids for row in rows], [row.labels for row in rows]]
            if weighted:
                values.append([row.weights or [1.0] * len(row.labels) for row in rows])
            arrays = [
                pa.array(value, field.type) for value, field in zip(values, schema, strict=True)
            ]
            if not (
                _within(arrays[0], vocabulary.size, 0)
                and _within(arrays[1], vocabulary.size, UNTRAINED)
            ):
                raise _unknown_token(rows, vocabulary)
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _within(column: pa.Array, size: int, lowest: int) -> bool:
    limits = pc.min_max(column.flatten())
    return limits["max"].as_py() is None or (
        limits["max"].as_py() < size and limits["min"].as_py() >= lowest
    )


def _unknown_token(rows: list[_Line], vocabulary: Vocabulary) -> LuthierError:
    """Which token of which row it is. A label that is none of the ids of its row is told as a
    label."""
    for row in rows:
        for kind, ids, lowest in (("token", row.input_ids, 0), ("label", row.labels, UNTRAINED)):
            unknown = next(
                (number for number in ids if not lowest <= number < vocabulary.size), None
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
