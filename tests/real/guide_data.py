"""Small data as the guides' data is laid out: OpenAssistant's trees and messages, as in its
releases, and OpenOrca's Parquet."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PORTS = ("Lisbon", "Bergen", "Cork", "Gdansk", "Piraeus", "Bilbao", "Turku", "Varna")


def _message(number: int, role: str, text: str, tree: str, parent: str | None) -> dict[str, Any]:
    """As OpenAssistant's release of 2023-04-12 has them."""
    labels = ("spam", "lang_mismatch", "not_appropriate", "quality", "toxicity")
    return {
        "message_id": f"{tree[:-4]}{number:04d}",
        **({} if parent is None else {"parent_id": parent}),
        "user_id": "c2f1a1e2-0000-4000-8000-0123456789ab",
        "created_date": "2023-02-05T13:10:30.512+00:00",
        "text": text,
        "role": role,
        "lang": "en",
        "review_count": 3,
        "review_result": True,
        "deleted": False,
        "rank": None,
        "synthetic": False,
        "model_name": None,
        "detoxify": {"toxicity": 0.0004, "insult": 0.0001},
        "message_tree_id": tree,
        "tree_state": "ready_for_export",
        "emojis": {"_skip_labeling": 1},
        "labels": {name: {"value": 0.0, "count": 3} for name in labels},
    }


def _tree(number: int) -> dict[str, Any]:
    """Two answers to the first question, of which the second is ranked better and goes on."""
    tree, port = f"5c7de2a0-0000-4000-8000-{number:08d}0000", PORTS[number % len(PORTS)]
    prompt = _message(0, "prompter", f"How far is harbour {number} of {port}?", tree, None)
    worse = _message(1, "assistant", "No idea.", tree, prompt["message_id"])
    better = _message(
        2, "assistant", f"Harbour {number} is {number} miles off.", tree, prompt["message_id"]
    )
    further = _message(3, "prompter", "And at low tide?", tree, better["message_id"])
    last = _message(
        4, "assistant", f"Then {port} is {number + 1} miles off.", tree, further["message_id"]
    )
    worse["rank"], better["rank"], last["rank"] = 1, 0, 0
    for message in (worse, last):
        message["replies"] = []
    further["replies"], better["replies"] = [last], [further]
    prompt["replies"] = [worse, better]
    return {"message_tree_id": tree, "tree_state": "ready_for_export", "prompt": prompt}


def _messages(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    replies = message["replies"]
    yield {"parent_id": None, **{key: value for key, value in message.items() if key != "replies"}}
    for reply in replies:
        yield from _messages(reply)


def _write_gzip(path: Path, rows: Iterator[dict[str, Any]]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def oasst_trees(folder: Path, count: int) -> Path:
    return _write_gzip(
        folder / "2023-04-12_oasst_ready.trees.jsonl.gz", (_tree(number) for number in range(count))
    )


def oasst_messages(folder: Path, count: int) -> Path:
    """The same as rows, which follow each other by `parent_id`."""
    rows = (message for number in range(count) for message in _messages(_tree(number)["prompt"]))
    return _write_gzip(folder / "2023-04-12_oasst_ready.messages.jsonl.gz", rows)


def openorca(folder: Path, count: int) -> Path:
    """A third of the rows without a system prompt, as in the release."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    prompts = ("", "You are an AI assistant that follows instruction extremely well.", "Be brief.")
    rows = [
        {
            "id": f"{('flan', 't0', 'cot', 'niv')[number % 4]}.{number}",
            "system_prompt": prompts[number % 3],
            "question": f"Q: Which sea is at {PORTS[number % len(PORTS)]}, quay {number}?\nA:",
            "response": f"The sea at quay {number} is cold.",
        }
        for number in range(count)
    ]
    path = folder / "1M-GPT4-Augmented.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path
