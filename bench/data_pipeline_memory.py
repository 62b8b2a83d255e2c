"""Memory and speed of the data pipeline's own part (reading, policies, duplicates near and exact,
split, ledger) as the input grows.

`python bench/data_pipeline_memory.py [MB ...]` prints a line a size; each runs in a process of its
own. Samples come from a stub, so that the figures are the pipeline's and not the tokenizer's.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

SIZES = (50, 500)


def write(path: Path, megabytes: int) -> None:
    """Conversations of about 2 kB, every tenth of which nearly repeats an earlier one, and every
    twentieth repeats it exactly."""
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(20_000)]
    earlier: list[str] = []
    with path.open("w") as file:
        row = 0
        while file.tell() < megabytes * 1_000_000:
            if row % 10 == 9:
                text = chance.choice(earlier)
                text = text if row % 20 == 19 else f"{text} indeed"
            else:
                text = " ".join(chance.choices(words, k=280))
                if len(earlier) < 1000:
                    earlier.append(text)
            messages = [
                {"role": "user", "content": "Tell me."},
                {"role": "assistant", "content": text},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
            row += 1


def measure(path: Path) -> None:
    from models.conversations import Conversation
    from models.samples import Sample
    from models.stored_sample import UNTRAINED
    from trainer.data.pipeline import Pipeline, read_prepared
    from trainer.data.policies import Policies, SpecialTexts
    from trainer.data.settings import DataSettings, Source

    class Stub:
        def samples(self, conversations: Sequence[Conversation]) -> Iterator[Sample]:
            for conversation in conversations:
                ids = list(range(100))
                yield Sample(conversation, [1], ids, [*[UNTRAINED] * 50, *ids[50:]])

    settings = DataSettings(sources=[Source(str(path))], policy=Policies(near_duplicates="drop"))
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    steps: dict[str, float] = {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:

        def note(phase: str, done: int, total: int) -> None:
            steps.setdefault(phase, time.monotonic())

        Pipeline(settings, Stub(), SpecialTexts(("<|im_end|>",)), note).run(Path(folder))
        ledger = read_prepared(Path(folder), cached=False).summary["ledger"]
    ended = time.monotonic()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begins = [*steps.values(), ended]
    print(
        json.dumps(
            {
                "megabytes": round(path.stat().st_size / 1e6),
                "rows": ledger["total_rows"],
                "dropped": ledger["reasons"].get("dropped", {}),
                "seconds": round(ended - began, 1),
                "by_step": {
                    name: round(begins[index + 1] - start, 1)
                    for index, (name, start) in enumerate(steps.items())
                },
                "imports_mb": base // 1024,
                "peak_mb": peak // 1024,
            }
        ),
        flush=True,
    )


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] == "measure":
        measure(Path(sys.argv[2]))
        return
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            path = Path(folder) / f"{size}.jsonl"
            write(path, size)
            subprocess.run([sys.executable, __file__, "measure", str(path)], check=True)
            path.unlink()


if __name__ == "__main__":
    main()
