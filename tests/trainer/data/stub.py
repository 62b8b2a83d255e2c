"""A cheap stand-in for models.samples.Sampler: a token a word, a header and a stop token a message.
Rules as the real one's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from models.conversations import Conversation
from models.mask import MaskError
from models.samples import Sample
from models.stored_sample import UNTRAINED
from trainer.data.ledger import STATES, Entry, describe, read_ledger, summarise
from trainer.data.pipeline import Cancelled, Pipeline, Progress, read_prepared
from trainer.data.policies import Policies, SpecialTexts
from trainer.data.settings import DataSettings, Source
from trainer.data.split import Heldout

SPECIAL = SpecialTexts(("<|im_start|>", "<|im_end|>", "</s>"))
_HEADERS = {"system": 1, "user": 2, "assistant": 3, "tool": 4}
_STOP = 5


class StubSampler:
    """`alone`: each trained turn is a sample of its own, as of templates that rewrite history.
    "UNPROVABLE" in a message is an error."""

    def __init__(self, turns: str = "all", *, alone: bool = False) -> None:
        self._turns, self._alone = turns, alone

    def samples(self, conversations: Sequence[Conversation]) -> Iterator[Sample | MaskError]:
        for conversation in conversations:
            wanted = conversation.trained_turns()
            wanted = wanted[-1:] if self._turns == "last" else wanted
            if not wanted:
                yield MaskError("nothing_trained", conversation, 0, "nothing", "")
            elif any("UNPROVABLE" in message["content"] for message in conversation.messages):
                yield MaskError("text_changed", conversation, wanted[0], "unprovable", "")
            elif self._alone:
                for turn in wanted:
                    yield self._sample(conversation, conversation.messages[: turn + 1], [turn])
            else:
                yield self._sample(conversation, conversation.messages, wanted)

    def _sample(
        self, conversation: Conversation, messages: Sequence[dict[str, Any]], wanted: list[int]
    ) -> Sample:
        ids, labels, weights = [], [], []
        for turn, message in enumerate(messages):
            words = [10 + len(word) for word in message["content"].split()]
            own = [_HEADERS[message["role"]], *words, _STOP]
            trained = turn in wanted
            ids += own
            labels += [UNTRAINED, *own[1:]] if trained else [UNTRAINED] * len(own)
            weights += (
                [0.0, *[float(message.get("weight", 1))] * (len(own) - 1)]
                if trained
                else [0.0] * len(own)
            )
        odd = any(message.get("weight", 1) not in (0, 1) for message in messages)
        return Sample(conversation, wanted, ids, labels, weights if odd else None)


class Run:
    """What a preparation left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.train = [
            json.loads(line) for line in (folder / "train.jsonl").read_bytes().splitlines()
        ]
        self.heldout = [
            json.loads(line) for line in (folder / "heldout.jsonl").read_bytes().splitlines()
        ]
        self.ledger: list[Entry] = list(read_ledger(folder / "ledger.jsonl"))
        self.summary = json.loads((folder / "summary.json").read_text())

    def entry(self, row: int) -> Entry:
        return next(entry for entry in self.ledger if entry.row == row)


def settings(
    *files: Path | Source,
    heldout: Heldout | None = None,
    policy: Policies | None = None,
    **others: Any,
) -> DataSettings:
    sources = [file if isinstance(file, Source) else Source(str(file)) for file in files]
    return DataSettings(
        sources=sources, policy=policy or Policies(), heldout=heldout or Heldout(share=0), **others
    )


def prepared(
    folder: Path,
    wanted: DataSettings,
    sampler: StubSampler | None = None,
    on_progress: Progress = lambda what, done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
    no_system: str = "",
) -> Run:
    """Raises Refused, after which the folder has everything all the same."""
    folder.mkdir(parents=True, exist_ok=True)

    def tell(what: str, done: int, total: int) -> None:
        if cancelled():
            raise Cancelled
        on_progress(what, done, total)

    Pipeline(wanted, sampler or StubSampler(wanted.mask.turns), SPECIAL, tell, no_system).run(
        folder
    )
    read_prepared(folder, cached=False)
    return Run(folder)


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def talk(*said: str, system: str = "", **extra: Any) -> dict[str, Any]:
    """A row of user and assistant in turn."""
    messages = [
        {"role": ("user", "assistant")[place % 2], "content": text}
        for place, text in enumerate(said)
    ]
    return {
        "messages": [{"role": "system", "content": system}, *messages] if system else messages,
        **extra,
    }


def check_books(run: Run, rows: int) -> None:
    """Every row stands in the ledger once and in order; rows, tokens and samples add up; what is
    trained is what the ledger says."""
    assert [entry.row for entry in run.ledger] == list(range(rows))
    summary = summarise(run.ledger)
    told = run.summary["ledger"]
    assert summary.to_json() == told
    assert sum(told["rows"].values()) == told["total_rows"] == rows
    lines = {f"train:{place}": line for place, line in enumerate(run.train)}
    lines |= {f"heldout:{place}": line for place, line in enumerate(run.heldout)}
    assert Counter(sample for entry in run.ledger for sample in entry.samples) == Counter(
        lines.keys()
    )
    assert (
        sum(told["tokens"].values())
        == told["total_tokens"]
        == sum(len(line["input_ids"]) for line in lines.values())
    )
    assert run.summary["trained_tokens"] == sum(
        label != UNTRAINED for line in run.train for label in line["labels"]
    )
    for entry in run.ledger:
        own = [lines[sample] for sample in entry.samples]
        assert all(
            (line["source"]["file"], line["source"]["row"]) == (entry.file, entry.row)
            for line in own
        )
        assert entry.tokens == sum(len(line["input_ids"]) for line in own)
        assert entry.state in STATES
        assert bool(own) == (entry.state != "dropped")
        assert bool(entry.reasons) == (entry.state != "kept")
        assert all(describe(code) for code in entry.reasons)
