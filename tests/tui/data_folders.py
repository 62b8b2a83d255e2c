"""Looks at data made by hand: what the worker would leave of a file of pirates."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from jobs.job import Job
from jobs.spec import Spec
from models.run_folder import LEDGER_FILE, RECIPE_FILE, RunFolder
from tests.tui.folders import begin, event, make_job, write
from trainer.data.inspection import (
    MODULE,
    OVERVIEW_FILE,
    PROPOSALS_FILE,
    ROWS_FILE,
    VOCABULARY_FILE,
)
from trainer.recipe import Recipe, to_toml

SOURCE = "/data/pirates.jsonl"
ROWS = 240
_ODD: dict[int, tuple[str, list[str], str]] = {
    3: ("repaired", ["merged_speaker"], ""),
    7: ("dropped", ["near_duplicates"], "like row 2"),
    11: ("split", ["too_long"], ""),
    20: ("dropped", ["unreadable", "no_turns"], "the row has no turns"),
    29: ("dropped", ["unreadable", "no_turns"], "the row has no turns"),
    41: ("repaired", ["user_last"], ""),
}
_KEPT: tuple[str, list[str], str] = ("kept", [], "")
_QUESTIONS = [
    "Who was the first person to walk on the moon?",
    "What shall we eat tonight?",
    "Where does the wind come from? 🌊",
    "Sing!",
]
_ANSWERS = [
    "Aye, that was Neil Armstrong, who stepped down from the lunar module Eagle. Fair winds!",
    "Aye, hard tack and salted beef,\nand a lime for yer teeth. Fair winds!",
    "Aye, from the west, and it smells of rain. Reef the topsail and mind the boom. Fair winds!",
    "Yo ho ho! Fair winds!",
]


class Words:
    """A tokenizer of words; the wave is cut into two tokens, each a part of the character."""

    def __init__(self) -> None:
        self.ids: dict[bytes, int] = {b"<|im_start|>": 0, b"<|im_end|>": 1}
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        if text in self._known:
            return self._known[text]
        found = self._known[text] = []
        for piece in re.findall(r"<\|\w+\|>|🌊| (?=🌊)|\n| ?\w+| ?[^\w\s]", text):
            raw = piece.encode()
            for part in (raw[:2], raw[2:]) if piece == "🌊" else (raw,):
                found.append(self.ids.setdefault(part, len(self.ids)))
        return found

    def vocabulary(self) -> dict[str, Any]:
        pieces, parts = [""] * len(self.ids), {}
        for raw, number in self.ids.items():
            try:
                pieces[number] = raw.decode()
            except UnicodeDecodeError:
                parts[str(number)] = raw.hex()
        return {"stop_ids": [1], "pieces": pieces, "parts": parts}


def sample(words: Words, row: int, turns: int, weight: float = 1.0) -> dict[str, Any]:
    """A conversation of `turns` answers; the first one has this weight."""
    ids: list[int] = []
    labels: list[int] = []
    weights: list[float] = []

    def add(text: str, trained: float) -> None:
        more = words.encode(text)
        ids.extend(more)
        labels.extend(more if trained else [-100] * len(more))
        weights.extend([trained] * len(more))

    add("<|im_start|>system\nYou are a helpful sailor.<|im_end|>\n", 0)
    for turn in range(turns):
        at = (row + turn) % len(_QUESTIONS)
        add(f"<|im_start|>user\n{_QUESTIONS[at]}<|im_end|>\n<|im_start|>assistant\n", 0)
        add(f"{_ANSWERS[at]}<|im_end|>", weight if turn == 0 else 1.0)
        add("\n", 0)
    record = {
        "source": {"file": SOURCE, "row": row},
        "turns": [2 + 2 * turn for turn in range(turns)],
        "input_ids": ids,
        "labels": labels,
    }
    return record if weight == 1.0 else {**record, "weights": weights}


def finished(rows: int = ROWS, number: int = 20) -> Job:
    """A look that has ended."""
    job = running(number)
    folder = RunFolder(job.directory).data
    folder.mkdir()
    words = Words()
    entries: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    for row in range(rows):
        state, reasons, detail = _ODD.get(row, _KEPT)
        count = {"dropped": 0, "split": 2}.get(state, 1)
        made = [sample(words, row, 2 + row % 3, 0.5 if row == 1 else 1.0) for _ in range(count)]
        ids = [f"train:{len(samples) + place}" for place in range(len(made))]
        samples += made
        tokens = sum(len(one["input_ids"]) for one in made)
        entries.append(
            {
                "file": SOURCE,
                "row": row,
                "state": state,
                "reasons": reasons,
                "samples": ids,
                "tokens": tokens,
                "detail": detail,
            }
        )
    lines(folder / LEDGER_FILE, entries)
    lines(folder / "train.jsonl", samples)
    lines(folder / "heldout.jsonl", [])
    said = [
        json.dumps({"conversations": [{"from": "human", "value": f"row {row}"}]})
        for row in range(rows)
    ]
    texts = [{"file": SOURCE, "row": row, "text": text} for row, text in enumerate(said)]
    lines(folder / ROWS_FILE, texts)
    (folder / VOCABULARY_FILE).write_text(json.dumps(words.vocabulary()))
    (folder / OVERVIEW_FILE).write_text(json.dumps(summary(entries, samples)))
    result = {
        "rows": rows,
        "samples": len(samples),
        "tokens": sum(entry["tokens"] for entry in entries),
    }
    write(job, event("result", 25, **result), event("exited", 24, code=0, stopped=False, swept=0))
    return job


def refused() -> Job:
    """A finished look at data at which a policy says stop."""
    job = finished()
    path = job.directory / "data" / OVERVIEW_FILE
    whole = json.loads(path.read_text())
    detail = "the row has no turns"
    whole["stops"] = [
        {"policy": "unreadable", "rows": 2, "file": SOURCE, "row": 20, "detail": detail}
    ]
    message = f"{SOURCE}, row 20: {detail} (policy.unreadable says stop, here and at 1 more row)."
    whole["error"] = {
        "title": "Some rows need a decision",
        "message": message,
        "hint": "Mend the data.",
    }
    path.write_text(json.dumps(whole))
    return job


def running(number: int = 20, model: str = "builtin") -> Job:
    """A look in the middle of reading; it lives only while its lock is held."""
    job = make_job("pirates", number, age=30, kind="inspect")
    settings = {
        "sources": [SOURCE],
        "model": model,
        "model_directory": "/models/builtin",
        "context": 2048,
    }
    (job.directory / "spec.json").unlink()
    Spec("inspect", "pirates", MODULE, settings=settings).write(job.directory)
    (job.directory / RECIPE_FILE).write_text(to_toml(Recipe(data=[SOURCE])))
    begin(job, 29)
    write(job, event("phase", 28, name="reading the data"), event("step", 27, step=40, total=100))
    return Job(job.directory)


def summary(entries: list[dict[str, Any]], samples: list[dict[str, Any]]) -> dict[str, Any]:
    states = {state: {"rows": 0, "tokens": 0} for state in ("kept", "repaired", "split", "dropped")}
    reasons: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        states[entry["state"]]["rows"] += 1
        states[entry["state"]]["tokens"] += entry["tokens"]
        reasons.update((code, entry["state"]) for code in entry["reasons"])
    problems = [
        {
            "code": code,
            "state": state,
            "rows": count,
            "first": [
                {"file": SOURCE, "row": entry["row"]}
                for entry in entries
                if code in entry["reasons"]
            ],
        }
        for (code, state), count in reasons.most_common()
    ]
    counts = [round(60 * math.exp(-(((place - 4) / 2.5) ** 2))) for place in range(12)] + [0, 0, 2]
    reason = "every row has `conversations` whose items have `from` and `value`: ShareGPT"
    columns = {"turns": "conversations", "role": "from", "content": "value"}
    return {
        "sources": [SOURCE],
        "model": "builtin",
        "context": 2048,
        "formats": [
            {
                "files": [SOURCE],
                "name": "sharegpt",
                "reason": reason,
                "mapping": {"format": "sharegpt", "columns": columns},
            }
        ],
        "states": states,
        "problems": problems,
        "lengths": {"width": 160, "counts": counts, "longest": 2301, "median": 611},
        "train": len(samples) - 16,
        "heldout": 16,
        "trained_tokens": sum(label != -100 for one in samples for label in list(one["labels"])),
        "leaks": {"moved": 3, "reported": 0},
        "checks": [
            {
                "name": "stop token",
                "status": "ok",
                "detail": "<|im_end|> closes each assistant's turn, and is trained.",
            },
            {
                "name": "reasoning",
                "status": "warn",
                "detail": "The template leaves out reasoning_content, so it is not trained.",
            },
        ],
    }


def lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def unknown() -> Job:
    """A look that failed since no format was recognised, with two ways to read the rows."""
    job = running()
    folder = RunFolder(job.directory).data
    folder.mkdir()
    words = Words()
    examples = [{"row": row, "sample": sample(words, row, 1)} for row in range(3)]
    nested = {"columns": {"turns": "data.conversation"}}
    proposals = [
        {
            "title": (
                "12 of 12 rows would be read as ShareGPT if `data.conversation` were the turns"
            ),
            "mapping": nested,
            "examples": examples,
        },
        {
            "title": "9 of 12 rows would be trained if `score` were left aside",
            "mapping": {"ignore": ["score"]},
            "examples": examples[:1],
        },
    ]
    tomls = ('[format]\ncolumns = {turns = "data.conversation"}', '[format]\nignore = ["score"]')
    whole = [
        {**proposal, "file": SOURCE, "toml": toml}
        for proposal, toml in zip(proposals, tomls, strict=True)
    ]
    (folder / PROPOSALS_FILE).write_text(json.dumps(whole))
    (folder / VOCABULARY_FILE).write_text(json.dumps(words.vocabulary()))
    message = (
        f"{SOURCE}: The rows have `data`, which is none of the known formats. `data` holds an"
        " object with conversation."
    )
    write(
        job,
        event(
            "error",
            25,
            title="Format not recognised",
            message=message,
            hint="docs/data.md shows each format.",
        ),
    )
    write(job, event("exited", 24, code=1, stopped=False, swept=0))
    return job
