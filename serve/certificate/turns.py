"""Which held-out turns are measured: few enough for two CPU cores, of every sort that the data
has."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from jobs.luthier_error import LuthierError
from models import foreign
from models.run_folder import HELDOUT_FILE, TRAIN_FILE
from models.stored_sample import UNTRAINED, StoredConversation

MOST_TURNS = 40
MOST_TOKENS = 8_000
_MOST_LINES = 2_000  # looked at; a file of held-out conversations has at most 200


@dataclass(frozen=True)
class Turn:
    """A trained turn: its tokens are `input_ids[start:end]` of its sample, it is message number
    `message`."""

    start: int
    end: int
    message: int


@dataclass(frozen=True)
class Sample:
    """A sample as training saw it. `whole`: every token was trained, so that no turn has edges of
    its own (`turns` is empty then)."""

    input_ids: list[int]
    messages: list[dict[str, Any]]
    turns: list[Turn]
    whole: bool
    tools: list[dict[str, Any]] | None = None

    @property
    def scored(self) -> list[int]:
        """The positions whose tokens are scored: the trained ones. The first token of a text has
        nothing before it to be told from."""
        if self.whole:
            return list(range(1, len(self.input_ids)))
        return [position for turn in self.turns for position in range(turn.start, turn.end)]

    @property
    def sort(self) -> str:
        """What a chat template may treat in a way of its own."""
        roles = {message["role"] for message in self.messages}
        tools = "tools" if self.tools or "tool" in roles else ""
        answers = sum(message["role"] == "assistant" for message in self.messages)
        return " ".join(
            filter(
                None,
                [tools, "system" if "system" in roles else "", "several" if answers > 1 else "one"],
            )
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def choose_samples(
    data_directory: Path, context_length: int | None = None
) -> tuple[str, list[Sample]]:
    """The file the samples are of, and the samples: held-out ones, or trained ones where nothing
    was held out.

    Only such as leave room for another token in the model's context. LuthierError if there are
    none.
    """
    for path in (data_directory / HELDOUT_FILE, data_directory / TRAIN_FILE):
        if path.is_file() and path.stat().st_size:
            samples = list(islice(_samples(path), _MOST_LINES))
            fitting = [
                sample
                for sample in samples
                if context_length is None or len(sample.input_ids) < context_length
            ]
            if fitting:
                return path.name, _spread(fitting)
    raise LuthierError(
        "Nothing to compare with",
        f"{data_directory} has no samples.",
        "Run the training again: a certificate needs its data.",
    )


def _samples(path: Path) -> Iterator[Sample]:
    for line in foreign.Decoder(StoredConversation).lines(path):
        yield sample_of(line.input_ids, line.labels, line.turns, line.messages, line.tools)


def sample_of(
    input_ids: list[int],
    labels: list[int],
    trained: list[int],
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None = None,
) -> Sample:
    """A sample with the places of its trained turns, which are the runs of its labels; `trained`
    are their message indices."""
    edges = trained_stretches(labels)
    all_trained = len(edges) != len(trained)
    turns = (
        []
        if all_trained
        else [
            Turn(start, end, message) for (start, end), message in zip(edges, trained, strict=True)
        ]
    )
    return Sample(input_ids, messages, turns, all_trained, tools)


def trained_stretches(labels: list[int]) -> list[tuple[int, int]]:
    """Where trained tokens begin and end."""
    edges: list[tuple[int, int]] = []
    start = None
    for position, label in enumerate([*labels, UNTRAINED]):
        if label != UNTRAINED and start is None:
            start = position
        elif label == UNTRAINED and start is not None:
            edges.append((start, position))
            start = None
    return edges


def _spread(samples: list[Sample]) -> list[Sample]:
    """Of each sort in turn, in an order that is always the same, until there are enough."""
    by_sort: dict[str, list[Sample]] = {}
    for sample in samples:
        by_sort.setdefault(sample.sort, []).append(sample)
    for samples_of_sort in by_sort.values():
        random.Random(0).shuffle(samples_of_sort)
    in_turn = [
        sample for row in zip_longest(*by_sort.values()) for sample in row if sample is not None
    ]
    taken: list[Sample] = []
    turns = tokens = 0
    for sample in in_turn:
        if turns >= MOST_TURNS or tokens + len(sample.input_ids) > MOST_TOKENS:
            continue
        taken.append(sample)
        turns += len(sample.turns) or 1
        tokens += len(sample.input_ids)
    return taken or [min(in_turn, key=lambda sample: len(sample.input_ids))]


@dataclass(frozen=True)
class Probe:
    """A conversation that waits for an answer, of a sort that the held-out ones have not."""

    name: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None


_CALL = {
    "id": "call00001",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Sonborg"}'},
}
_TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
_TALK = [
    {"role": "user", "content": "Good morning! Where does the ferry leave?"},
    {"role": "assistant", "content": "From pier 4,\n\nevery hour. Élan & café: ✓"},
    {"role": "user", "content": " And on Sundays? "},
]
PROBES = (
    Probe("several turns", _TALK),
    Probe("a system prompt", [{"role": "system", "content": "You are brief."}, *_TALK]),
    Probe(
        "tools",
        [
            {"role": "user", "content": "How is the weather in Sonborg?"},
            {"role": "assistant", "content": "", "tool_calls": [_CALL]},
            {"role": "tool", "content": "rainy", "name": "weather", "tool_call_id": "call00001"},
        ],
        [_TOOL],
    ),
)
