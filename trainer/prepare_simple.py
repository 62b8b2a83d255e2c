"""From a recipe's files to the samples of training, in the run's folder."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import LuthierError
from models.conversations import read_conversations
from models.samples import UNTRAINED, Renderer, Sample
from trainer.plan import heldout_count
from trainer.recipe import Recipe

TRAIN_FILE = "train.jsonl"
HELDOUT_FILE = "heldout.jsonl"


@dataclass(frozen=True)
class Prepared:
    """Samples to train and held-out ones; `too_long` conversations were left out because they exceed max_length."""

    train: list[Sample]
    heldout: list[Sample]
    too_long: list[dict[str, object]]

    def counts(self) -> dict[str, object]:
        """Figures for the `data` event."""
        both = [*self.train, *self.heldout]
        return {
            "conversations": len(both) + len(self.too_long),
            "train": len(self.train),
            "heldout": len(self.heldout),
            "too_long": self.too_long,
            "tokens": sum(len(sample.input_ids) for sample in both),
            "trained_tokens": sum(label != UNTRAINED for sample in self.train for label in sample.labels),
            "longest": max(len(sample.input_ids) for sample in both),
        }


def prepare(recipe: Recipe, renderer: Renderer, folder: Path) -> Prepared:
    """Render and mask every conversation, split by conversation with the recipe's seed, and write both parts to `folder`."""
    samples, too_long = [], []
    for entry in recipe.data:
        for conversation in read_conversations(Path(entry)):
            sample = renderer.sample(conversation)
            if len(sample.input_ids) > recipe.train.max_length:
                too_long.append({**conversation.source, "tokens": len(sample.input_ids)})
            elif sample.turns:
                samples.append(sample)
    if not samples:
        raise LuthierError(
            "Nothing to train on",
            f"Each of the {len(too_long)} conversations exceeds train.max_length, {recipe.train.max_length} tokens, or has no weight.",
            "Raise max_length or shorten the conversations.",
        )
    order = list(range(len(samples)))
    random.Random(recipe.train.seed).shuffle(order)
    heldout = set(order[: heldout_count(recipe, len(samples))])
    prepared = Prepared(
        train=[sample for index, sample in enumerate(samples) if index not in heldout],
        heldout=[samples[index] for index in sorted(heldout)],
        too_long=too_long,
    )
    folder.mkdir(exist_ok=True)
    _write(folder / TRAIN_FILE, prepared.train)
    _write(folder / HELDOUT_FILE, prepared.heldout)
    return prepared


def _write(path: Path, samples: Iterable[Sample]) -> None:
    partial = path.with_name(f".{path.name}")
    with partial.open("w", encoding="utf-8") as file:
        for sample in samples:
            line = {**sample.to_json(), "messages": sample.conversation.messages}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
