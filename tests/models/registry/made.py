"""Models, adapters and runs of a home, made by hand: whole in every file that the registry, imports
and exports look at."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from jobs import job as jobs
from jobs.home import models_directory
from jobs.job import Job
from jobs.spec import Spec
from jobs.worker import WorkerContext
from models import import_worker, provenance
from models.imports.launch import MODULE, ImportSettings
from models.imports.source import name_for, parse_source
from tests.models.merge.headers import write_adapter, write_weights

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
)
NAMES = {"model.embed_tokens.weight": (20, 8), "model.norm.weight": (8,)}


def model_folder(folder: Path, *, licence: str = "", **config: Any) -> Path:
    """A base model of 168 weights."""
    write_weights(folder / "model.safetensors", NAMES)
    settings = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "max_position_embeddings": 512,
        "vocab_size": 20,
        **config,
    }
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    (folder / "chat_template.jinja").write_text(CHATML)
    if licence:
        (folder / "README.md").write_text(
            f"---\nlicense: {licence}\ntags:\n- small\n---\n# Small\n"
        )
    return folder


def weights_bytes(count: int, fill: bytes = b"\1\2\3") -> bytes:
    """A whole safetensors file with one float32 tensor of `count` values."""
    text = json.dumps(
        {"w": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}
    ).encode()
    return struct.pack("<Q", len(text)) + text + (fill * (4 * count // len(fill) + 1))[: 4 * count]


def repository(weights: dict[str, bytes], **more: bytes) -> dict[str, bytes]:
    """The files of a model on the hub."""
    index = {
        "metadata": {},
        "weight_map": {name: name for name in weights if name.startswith("model-")},
    }
    files = {
        "README.md": b"---\nlicense: mit\n---\n# A model\n",
        "config.json": (
            json.dumps(
                {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 64}
            ).encode()
        ),
        "tokenizer.json": b"{}",
        "tokenizer_config.json": json.dumps({"chat_template": CHATML}).encode(),
        **weights,
    }
    return {
        **files,
        **(
            {"model.safetensors.index.json": json.dumps(index).encode()}
            if index["weight_map"]
            else {}
        ),
        **more,
    }


def run_of(base: Path, name: str = "captain", *, data: list[str] | None = None) -> Job:
    """A run that is done, on this base: adapter, hashes, recipe, data, events."""
    job = jobs.create(
        Spec(
            "run",
            name,
            "trainer.worker",
            settings={"model": base.name, "model_directory": str(base)},
        )
    )
    write_adapter(job.directory / "adapter", base_model_name_or_path=str(base))
    provenance.record_base(job.directory, base)
    provenance.record_result(job.directory, job.directory / "adapter")
    sources = data or [f"{Path.home()}/secret plans/talk.jsonl"]
    (job.directory / "recipe.toml").write_text(
        f'data = {json.dumps(sources)}\nmodel = "{base}"\n[train]\nepochs = 2.0\nseed ='
        " 42\n[lora]\nr = 4\n"
    )
    (job.directory / "data").mkdir()
    (job.directory / "data" / "train.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    (job.directory / "data" / "heldout.jsonl").write_text('{"a": 3}\n')
    events = [
        {"kind": "queued", "attempt": 1},
        {
            "kind": "data",
            "conversations": 3,
            "train": 2,
            "heldout": 1,
            "tokens": 2000,
            "trained_tokens": 900,
        },
        {"kind": "eval", "step": 5, "loss": 3.25},
        {"kind": "eval", "step": 10, "loss": 2.5},
        {
            "kind": "result",
            "adapter": str(job.directory / "adapter"),
            "steps": 10,
            "loss": 2.25,
            "eval_loss": 2.5,
            "seconds": 9.0,
        },
        {"kind": "exited", "code": 0, "stopped": False},
    ]
    job.events_path.write_text("".join(json.dumps({"t": 1.0, **event}) + "\n" for event in events))
    (job.directory / "lock").touch()
    return job


def import_here(
    source: str, name: str | None = None, *, trust: bool = False, stop: bool = False
) -> dict[str, Any] | None:
    """What the import job does, in this process."""
    chosen = name_for(parse_source(source), name)
    settings = ImportSettings(source, chosen, str(models_directory() / chosen), trust)
    context = WorkerContext(jobs.create(Spec("import", chosen, MODULE, asdict(settings))))
    if stop:
        context.stopping.set()
    return import_worker.main(context)


def at_home(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_HOME", str(path / "home"))
    models_directory().mkdir(parents=True)
    return path / "home"
