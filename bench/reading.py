"""What reading a row costs: converting it and settling it by the policies, in this checkout against
another one.

    git worktree add ../before COMMIT
    python bench/reading.py ../before [--rounds N]

Each round starts a process for either checkout. They take turns, layout by layout: each converts
and settles the same rows again and again, and says the microseconds a row that its quickest pass
took, by the clock of the CPU. Printed are the medians of all rounds and their ratio, this checkout
over the other, with the ratios of single rounds; the exit status is 1 if one is above the limit.
Files are read elsewhere (bench/data_memory.py); the rows here are in memory, as decoded.

Against bf2d8f8, on two cores beside other work: 0.27 (30 messages) to 0.98 (content in parts), 0.33
for six messages, 0.52 for Alpaca.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIMIT = 1.03
ROWS = 2000
PASSES = 7
CHECKOUT = Path(__file__).resolve().parent.parent
QUESTION = "How do I find the row of a table that has the highest value in its third column?"
ANSWER = "Sort the table by that column, the highest value first, and take the first row. " * 4
CONTROL_TOKENS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")


def messages(number: int, count: int, keys: tuple[str, str], roles: tuple[str, str]) -> list[Any]:
    texts = (QUESTION, ANSWER)
    return [
        {keys[0]: roles[turn % 2], keys[1]: f"{number}.{turn} {texts[turn % 2]}"}
        for turn in range(count)
    ]


def openai(number: int, count: int) -> dict[str, Any]:
    return {"messages": messages(number, count, ("role", "content"), ("user", "assistant"))}


def sharegpt(number: int) -> dict[str, Any]:
    turns = messages(number, 6, ("from", "value"), ("human", "gpt"))
    return {"id": f"c{number}", "conversations": turns}


def with_metadata(number: int) -> dict[str, Any]:
    """Columns that mean nothing stand beside the conversation, as in most published data."""
    return {**openai(number, 6), "id": number, "lang": "en", "created": "2024-01-01", "url": "x"}


def code(number: int) -> dict[str, Any]:
    """Signs of markup in the texts, which might be pictures' places or control tokens."""
    rows = openai(number, 6)
    for message in rows["messages"]:
        message["content"] += " `if a < b: print('<b>')` <br>"
    return rows


def more_keys(number: int) -> dict[str, Any]:
    rows = openai(number, 6)
    for message in rows["messages"]:
        message |= {"id": f"m{number}", "timestamp": 1700000000}
    return rows


def tool_calls(number: int) -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"n": 3}'}}
    tool = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
    question, answer = openai(number, 2)["messages"]
    steps = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "row 3"},
    ]
    return {"messages": [question, *steps, answer], "tools": [tool]}


def parts(number: int) -> dict[str, Any]:
    """Content that a policy has to make text of."""
    rows = openai(number, 6)
    for message in rows["messages"]:
        message["content"] = [{"type": "text", "text": message["content"]}]
    return rows


LAYOUTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "messages, 6": lambda number: openai(number, 6),
    "messages, 30": lambda number: openai(number, 30),
    "messages, 2, system": lambda number: {
        "messages": [{"role": "system", "content": "Be short."}, *openai(number, 2)["messages"]]
    },
    "messages, 6, other columns": with_metadata,
    "messages, 6, code": code,
    "messages, 6, more keys": more_keys,
    "messages, 6, parts": parts,
    "messages, 4, tool calls": tool_calls,
    "ShareGPT, 6": sharegpt,
    "Alpaca": lambda number: {"instruction": f"{number} {QUESTION}", "input": "", "output": ANSWER},
    "Alpaca, input": lambda number: {
        "instruction": f"{number} {QUESTION}",
        "input": QUESTION,
        "output": ANSWER,
    },
    "prompt, completion": lambda number: {"prompt": f"{number} {QUESTION}", "completion": ANSWER},
    "question, answer": lambda number: {"question": f"{number} {QUESTION}", "answer": ANSWER},
    "preference": lambda number: {
        "prompt": f"{number} {QUESTION}",
        "chosen": ANSWER,
        "rejected": QUESTION,
    },
    "transcript": lambda number: {
        "text": f"Anna: {number} {QUESTION}\nBo: {ANSWER}\nAnna: thanks\nBo: welcome"
    },
    "ChatML text": lambda number: {
        "text": (
            f"<|im_start|>user\n{number} {QUESTION}<|im_end|>\n"
            f"<|im_start|>assistant\n{ANSWER}<|im_end|>\n"
        )
    },
}


def measure() -> None:
    """In a measured process: for each layout named on a line of stdin the microseconds a row."""
    from trainer.data.formats import recognise
    from trainer.data.policies import Policies, SpecialTexts, settle

    policies, special = Policies(), SpecialTexts(CONTROL_TOKENS)
    for line in sys.stdin:
        rows = [LAYOUTS[line.strip()](number) for number in range(ROWS)]
        row_format = recognise(rows[:48])
        seconds = []
        for _ in range(PASSES):
            gc.collect()
            started = time.process_time()
            for row in rows:
                settle(row_format.convert(row), policies, special)
            seconds.append(time.process_time() - started)
        print(min(seconds) / ROWS * 1e6, flush=True)


class Measured:
    """A process that measures one checkout."""

    def __init__(self, checkout: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, "--measure"],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def cost(self, layout: str) -> float:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{layout}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def end(self) -> None:
        self._process.communicate()


def costs(before: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Of each layout what a row costs before and now, by round; who goes first alternates."""
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in LAYOUTS}
    for number in range(rounds):
        sides = (Measured(before), Measured(CHECKOUT))
        for name in LAYOUTS:
            if number % 2:
                pair = (sides[0].cost(name), sides[1].cost(name))
            else:
                pair = (sides[1].cost(name), sides[0].cost(name))[::-1]
            pairs[name].append(pair)
        for side in sides:
            side.end()
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path, nargs="?", help="another checkout")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure()
        return
    if arguments.before is None:
        parser.error("which checkout is this one held against?")
    exceeded = False
    for name, pairs in costs(arguments.before.resolve(), arguments.rounds).items():
        before, now = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
        ratios = sorted(now / before for before, now in pairs)
        exceeded |= now / before > LIMIT
        print(
            f"{name:28} {before:6.2f} us before, {now:6.2f} us now, ratio {now / before:.3f}"
            f" (single rounds {ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
    sys.exit(1 if exceeded else 0)


if __name__ == "__main__":
    main()
