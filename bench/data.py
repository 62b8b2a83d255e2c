"""Preparing conversations (render, tokenise, mask, verify) against merely tokenising the same text,
and against TRL's assistant mask.

    pip download --no-deps chitchat-dataset==0.9.0
    python bench/data.py chitchat_dataset-0.9.0-py3-none-any.whl --model MODEL_DIRECTORY

The data are real conversations: chitchat-dataset (BYU, MIT licence), read out of its wheel. Short:
every two-sided one, as it is. Long: the same ones joined to the length of ShareGPT's, with messages
as long as there. Each round takes the two sides one after the other; a ratio is of the medians of
all rounds, by the clock on the wall. TRL's preparation is measured on the first 1,000
conversations. Exits with 1 where a limit is exceeded, or where TRL's labels are not the same.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.conversations import Conversation
from models.preflight import check_template
from models.samples import Sample, samples
from models.template import Template, load_tokenizer

LIMITS = {"short": 1.5, "long": 1.0}  # preparing over merely tokenising
QUICKER_THAN_TRL = 2.0
BESIDE_TRL = 1000  # conversations: TRL takes one at a time
LONG_CHARACTERS = 7000  # of a conversation: about 1,800 tokens
LONG_MESSAGE = 400  # of a message, at least
CHATML_MARKED = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}{{"
    " '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging"
    " Face<|im_end|>\n' }}{% endif %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] =="
    " 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n'"
    " }}{% else %}{{ m['content'] + '<|im_end|>' + '\n' }}{% endif %}{% endfor %}"
)


def short_conversations(wheel: Path) -> list[list[dict[str, Any]]]:
    """Two speakers in turn; what one says in a row is one message."""
    with zipfile.ZipFile(wheel) as archive:
        raw = json.loads(archive.read("chitchat_dataset/dataset.json"))
    conversations = []
    for record in raw.values():
        utterances = [
            (message["sender"], message["text"])
            for turn in record["messages"]
            for message in turn
            if message["text"].strip()
        ]
        messages: list[dict[str, Any]] = []
        for sender, text in utterances:
            role = "user" if sender == utterances[0][0] else "assistant"
            if messages and messages[-1]["role"] == role:
                messages[-1]["content"] += "\n" + text
            else:
                messages.append({"role": role, "content": text})
        if len({message["role"] for message in messages}) == 2:
            conversations.append(messages)
    return conversations


def long_conversations(short: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    """The messages of both sides gathered until they are as long as ShareGPT's, and conversations
    likewise."""
    conversations: list[list[dict[str, Any]]] = []
    current: list[dict[str, Any]] = []
    sides = {"user": "", "assistant": ""}
    for messages in short:
        for message in messages:
            sides[message["role"]] += message["content"] + "\n"
        if min(map(len, sides.values())) < LONG_MESSAGE:
            continue
        current += [{"role": role, "content": text.strip()} for role, text in sides.items()]
        sides = {"user": "", "assistant": ""}
        if sum(len(message["content"]) for message in current) >= LONG_CHARACTERS:
            conversations.append(current)
            current = []
    return conversations


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(name: str, conversations: list[Conversation], model: Path, rounds: int) -> list[str]:
    """Print the figures; what is beyond its limit, in words."""
    tokenizer = load_tokenizer(model)
    report = check_template(tokenizer, model)
    template = Template(tokenizer, parts=report.parts)
    texts = [template.text(conversation.messages) for conversation in conversations]
    outcomes = samples(conversations, tokenizer, report)
    masked = [sample for sample in outcomes if isinstance(sample, Sample)]
    tokens = sum(len(sample.input_ids) for sample in masked)
    turns = sum(len(sample.turns) for sample in masked)
    print(
        f"{name}: {len(conversations)} conversations, {len(masked)} samples, {turns} trained turns,"
        f" {tokens} tokens ({tokens / len(masked):.0f} a sample), {len(outcomes) - len(masked)}"
        f" errors, strategy {report.strategy}"
    )
    pairs = []
    for _ in range(rounds):
        plain = timed(
            lambda: tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        )
        ours = timed(lambda: samples(conversations, tokenizer, report))
        pairs.append((plain, ours))
    exceeded = []
    for clock, index in (("wall", 0), ("cpu", 1)):
        plain_time = statistics.median(plain[index] for plain, _ in pairs)
        own_time = statistics.median(ours[index] for _, ours in pairs)
        ratios = sorted(ours[index] / plain[index] for plain, ours in pairs)
        ratio = own_time / plain_time
        print(
            f"  {clock}: tokenise {plain_time:.2f} s, prepare {own_time:.2f} s, ratio {ratio:.3f} "
            f"(single rounds {ratios[0]:.2f} to {ratios[-1]:.2f}), limit {LIMITS[name]}"
        )
        if clock == "wall" and ratio > LIMITS[name]:
            exceeded.append(
                f"{name}: preparing takes {ratio:.3f} of the time of tokenising, more than"
                f" {LIMITS[name]}"
            )
    return exceeded + against_trl(name, conversations[:BESIDE_TRL], tokenizer, report, rounds)


def against_trl(
    name: str, conversations: list[Conversation], tokenizer: Any, report: Any, rounds: int
) -> list[str]:
    """TRL with assistant_only_loss: the two maps of SFTTrainer._prepare_dataset (1.14.2), by a
    template with generation markers."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    rows = Dataset.from_list(
        [{"messages": conversation.messages} for conversation in conversations]
    )
    options = {
        "tokenize": True,
        "return_dict": True,
        "return_assistant_tokens_mask": True,
        "chat_template": CHATML_MARKED,
    }

    def tokenised(example: dict[str, Any]) -> dict[str, Any]:
        processed = tokenizer.apply_chat_template(example["messages"], **options)
        return {
            "input_ids": processed["input_ids"],
            "assistant_masks": processed["assistant_masks"],
        }

    def labelled(example: dict[str, Any]) -> dict[str, Any]:
        pairs = zip(example["input_ids"], example["assistant_masks"], strict=True)
        return {"labels": [token if trained else -100 for token, trained in pairs]}

    def trl() -> Any:
        masked = rows.map(tokenised, load_from_cache_file=False, remove_columns=["messages"])
        return masked.map(labelled, load_from_cache_file=False, remove_columns=["assistant_masks"])

    samples_made = [
        sample for sample in samples(conversations, tokenizer, report) if isinstance(sample, Sample)
    ]
    equal = sum(
        row["labels"] == sample.labels for row, sample in zip(trl(), samples_made, strict=True)
    )
    rounds_of = []
    for _ in range(rounds):
        masking = timed(
            lambda: [
                tokenised({"messages": conversation.messages}) for conversation in conversations
            ]
        )
        rounds_of.append(
            (timed(trl), masking, timed(lambda: samples(conversations, tokenizer, report)))
        )
    exceeded = []
    for clock, index in (("wall", 0), ("cpu", 1)):
        theirs, mask, ours = (
            statistics.median(times[part][index] for times in rounds_of) for part in range(3)
        )
        slower = theirs / ours
        print(
            f"  TRL on {len(conversations)}, {clock}: its preparation takes {slower:.2f} times as"
            f" long, its mask alone {mask / ours:.2f}"
        )
        if clock == "wall" and slower < QUICKER_THAN_TRL:
            exceeded.append(
                f"{name}: TRL's preparation takes {slower:.2f} times as long, less than"
                f" {QUICKER_THAN_TRL}"
            )
    print(f"  the same labels in {equal} of {len(samples_made)}")
    return (
        exceeded
        if equal == len(samples_made)
        else [
            *exceeded,
            f"{name}: TRL's labels differ in {len(samples_made) - equal} conversations",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", type=int, help="take so many conversations, for a quick look")
    arguments = parser.parse_args()
    short = short_conversations(arguments.wheel)
    exceeded = []
    for name, data in (("short", short), ("long", long_conversations(short))):
        conversations = [
            Conversation(messages, name, row) for row, messages in enumerate(data[: arguments.only])
        ]
        exceeded += compare(name, conversations, arguments.model, arguments.rounds)
    for words in exceeded:
        print(f"above the limit: {words}", file=sys.stderr)
    sys.exit(1 if exceeded else 0)


if __name__ == "__main__":
    main()
