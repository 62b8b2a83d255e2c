"""Which answers of a run's data are asked for: how each begins, and how it goes on in the data."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from models import foreign
from models.run_folder import RunFolder
from models.stored_sample import StoredSample
from serve.certificate.turns import trained_stretches

OPENING = 8  # tokens of the answer that the model is given, after the whole prompt
LONGEST = 50  # tokens that must come back word for word, as in Carlini et al. 2023
SHORTEST = 16  # tokens: what is shorter may be right without having been learnt by heart
_MOST_SAMPLES = 20_000  # of a file, looked at


@dataclass(frozen=True)
class Passage:
    """An answer of the data. `beginning` is the prompt and the answer's first tokens, `expected`
    what follows them: the next LONGEST tokens, or all that is left of a shorter answer."""

    file: str
    row: int
    turn: int
    """The index of its message."""
    beginning: tuple[int, ...]
    expected: tuple[int, ...]
    trained: bool
    """Whether the run was trained on it; the others were held out."""


@dataclass(frozen=True)
class Passages:
    """What is asked for, of so many that are long enough; the others are too short to tell."""

    chosen_passages: list[Passage]
    long_enough: int
    too_short: int


def choose(
    folder: RunFolder, most_trained: int, most_heldout: int, limit: int | None
) -> tuple[Passages, Passages]:
    """Passages of what was trained and of what was held out, drawn evenly, the same ones at each
    call. `limit` is the model's context in tokens."""
    return (
        _drawn(folder.train_samples, most_trained, limit, trained=True),
        _drawn(folder.heldout_samples, most_heldout, limit, trained=False),
    )


def _drawn(path: Path, most: int, limit: int | None, *, trained: bool) -> Passages:
    if not path.is_file():
        return Passages([], 0, 0)
    every, short = [], 0
    lines = foreign.Decoder(StoredSample).lines(path)
    for sample in islice(lines, _MOST_SAMPLES):
        for passage in passages_of(sample, trained=trained):
            if len(passage.expected) < SHORTEST:
                short += 1
            elif limit is None or len(passage.beginning) + len(passage.expected) < limit:
                every.append(passage)
    drawn = random.Random(0).sample(every, min(most, len(every)))
    return Passages(drawn, len(every), short)


def passages_of(sample: StoredSample, *, trained: bool) -> Iterator[Passage]:
    """The answers of a sample that were trained; of a pair, those of the chosen answer."""
    stretches = trained_stretches(sample.labels)
    for number, (start, end) in enumerate(stretches):
        first = max(start, 1) + OPENING  # a text that is trained as a whole has no prompt
        yield Passage(
            file=str(sample.source.get("file", "")),
            row=int(sample.source.get("row", 0)),
            turn=sample.turns[number] if len(stretches) == len(sample.turns) else number,
            beginning=tuple(sample.input_ids[:first]),
            expected=tuple(sample.input_ids[first:end][:LONGEST]),
            trained=trained,
        )
