"""Every known recipe trains a tiny model on rows of its own format: in 16 bits and by AdamW, as
there is no GPU; else as it stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs.job import Job, create
from models.run_folder import RECIPE_FILE
from tests.real.forks import Forks, events
from tests.real.tiny import write_tiny_base
from trainer.launch import run_spec
from trainer.presets import find_preset, presets
from trainer.recipe import load, to_toml

pytestmark = pytest.mark.real

Row = Callable[[str, str], dict[str, Any]]


def _sharegpt(question: str, answer: str) -> dict[str, Any]:
    return {
        "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    }


ROWS: dict[str, tuple[str, Row]] = {
    "llama-3.2-3b-chat": ("sharegpt", _sharegpt),
    "llama-3-8b-alpaca": (
        "alpaca",
        lambda question, answer: {"instruction": question, "input": "", "output": answer},
    ),
    "vicuna-7b-8bit": ("sharegpt", _sharegpt),
    "mistral-7b-oasst": (
        "chatml_text",
        lambda question, answer: {
            "text": (
                f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n"
            ),
        },
    ),
    "mistral-7b-openorca": (
        "question_answer",
        lambda question, answer: {
            "id": "x",
            "system_prompt": "You are a sailor.",
            "question": question,
            "response": answer,
        },
    ),
    "llama-2-7b-podcast": (
        "transcript",
        lambda question, answer: {
            "lines": [{"speaker": "Host", "text": question}, {"speaker": "Captain", "text": answer}]
        },
    ),
    "llama-2-7b-interviews": (
        "question_answer",
        lambda question, answer: {"question": question, "answer": answer},
    ),
}


@pytest.fixture(scope="module")
def plain_base(forks: Forks) -> Path:
    return write_tiny_base(forks.folder / "base")


def test_each_has_rows() -> None:
    assert sorted(ROWS) == [preset.name for preset in presets()]


@pytest.mark.parametrize("name", sorted(ROWS))
def test_it_trains_on_its_format(forks: Forks, plain_base: Path, tmp_path: Path, name: str) -> None:
    form, row = ROWS[name]
    # the only one whose base knows chats
    model = forks.model if name == "llama-3.2-3b-chat" else plain_base
    job = _job(name, model, tmp_path, row)
    assert forks.work(job) == 0, (job.directory / "output.log").read_text()[-3000:]
    (told,) = events(job, "data")
    assert [found["format"] for found in told["formats"]] == [form]
    losses = [event["loss"] for event in events(job, "step")]
    assert len(losses) >= 2
    assert losses[-1] < losses[0]
    config = json.loads((job.directory / "adapter" / "adapter_config.json").read_text())
    recipe = load(job.directory / RECIPE_FILE)
    assert (config["r"], config["lora_alpha"]) == (recipe.lora.r, recipe.lora.alpha)
    assert bool(config.get("trainable_token_indices")) == bool(recipe.tokens.add)


def _job(name: str, model: Path, folder: Path, row: Row) -> Job:
    data = folder / "data.jsonl"
    turns = (
        (f"Where lies harbour {number}?", f"Aye, {number} miles north.") for number in range(48)
    )
    data.write_text("".join(json.dumps(row(question, answer)) + "\n" for question, answer in turns))
    path = folder / "recipe.toml"
    path.write_text(find_preset(name).written_for(str(model), [str(data)]))
    recipe = load(path)
    train = msgspec.structs.replace(
        recipe.train,
        base_bits=16,
        optimizer="adamw",
        gradient_checkpointing="auto",
        epochs=3.0,
        learning_rate=5e-3,
        global_batch=16,
    )
    recipe = msgspec.structs.replace(
        recipe, train=train, evaluation=msgspec.structs.replace(recipe.evaluation, times=0)
    )
    job = create(run_spec(recipe))
    (job.directory / RECIPE_FILE).write_text(to_toml(recipe))
    return job
