"""Job folders made by hand, one in each state, as a worker and its supervisor would leave them."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.home import jobs_directory
from jobs.job import Job
from jobs.spec import Kind, Spec

NOW = 1_795_000_000.0
"""The time at which tests look."""


def make_job(
    name: str, number: int, age: float, kind: Kind = "run", model: str = "builtin", log: str = ""
) -> Job:
    """A folder with its spec, made `age` seconds before NOW. `number` makes the id: higher is
    newer."""
    directory = jobs_directory() / f"20261118-{number:04d}-{name}-00ff"
    directory.mkdir(parents=True)
    ready = "ready" if kind == "server" else ""
    Spec(kind, name, f"{kind}.worker", settings={"model": model}, ready_phase=ready).write(
        directory
    )
    (directory / "lock").touch()
    (directory / "output.log").write_text(log)
    os.utime(directory / "spec.json", (NOW - age, NOW - age))
    return Job(directory)


def orders(job: Job, settings: dict[str, Any]) -> None:
    """Other settings for a job; its folder keeps its age."""
    replace(job.spec, settings=settings).replace(job.directory)


def write(job: Job, *events: dict[str, Any]) -> None:
    with job.events_path.open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def event(kind: str, ago: float, **fields: Any) -> dict[str, Any]:
    return {"t": NOW - ago, "kind": kind, **fields}


def begin(job: Job, ago: float) -> None:
    write(
        job,
        event("queued", ago, attempt=1),
        event("started", ago - 1, pid=4_000_000, shim=4_000_001, argv=[], slots=[]),
    )


def wait_in_queue(job: Job, number: int, ago: float) -> None:
    """Put it in the queue, behind pirate. Its lock must be held: see `held`."""
    job.order_path.write_text(f"{number}\n")
    write(
        job,
        event("queued", ago, attempt=1),
        event("waiting", ago - 1, waits_for="pirate-00ff on gpu-0"),
    )


def steps(job: Job, count: int, total: int, ago: float, pace: float = 1.5) -> None:
    """`count` steps of `total` that began `ago` seconds before NOW, with an evaluation every 50."""
    events = []
    for step in range(1, count + 1):
        at = ago - step * pace
        loss = (
            0.9
            + 2.2 * math.exp(-step / 60)
            + 0.09 * math.sin(step * 1.7)
            + 0.05 * math.sin(step * 0.37)
        )
        warm = min(1.0, step / 20) * (1 - step / (total * 1.05))
        fields = {
            "step": step,
            "total": total,
            "epoch": round(3 * step / total, 3),
            "loss": round(loss, 4),
        }
        events.append(
            event(
                "step",
                at,
                **fields,
                learning_rate=2e-4 * warm,
                grad_norm=0.8 + 0.2 * math.sin(step),
                tokens_per_second=441.0,
            )
        )
        if step % 50 == 0:
            events.append(
                event("eval", at, step=step, loss=round(1.0 + 2.2 * math.exp(-step / 70), 4))
            )
            events.append(event("checkpoint", at, step=step, path=f"checkpoints/step-{step:06d}"))
    write(job, *events)


def adapter(job: Job, base: str = "builtin", rank: int = 16) -> None:
    directory = job.directory / "adapter"
    directory.mkdir()
    settings = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": ["q_proj", "v_proj"],
    }
    (directory / "adapter_config.json").write_text(json.dumps(settings))
    (directory / "adapter_model.safetensors").write_bytes(b"\0" * 64)


def samples(job: Job, *systems: str) -> None:
    """Held-out conversations of a run, each with its system prompt ("" for none)."""
    lines = []
    for row, system in enumerate(systems):
        messages = [{"role": "system", "content": system}] if system else []
        messages += [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]
        source, turns = {"file": "mine.jsonl", "row": row}, [len(messages) - 1]
        ids = {"input_ids": [1, 2], "labels": [-100, 2]}
        lines.append(json.dumps({"source": source, "turns": turns, **ids, "messages": messages}))
    (job.directory / "data").mkdir(exist_ok=True)
    (job.directory / "data" / "heldout.jsonl").write_text("\n".join(lines) + "\n")


def base_model(directory: Path) -> None:
    """A folder that passes for a model: its config, a tokenizer, and weights of which only the
    header is read."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(
        json.dumps({"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 8192})
    )
    (directory / "tokenizer.json").write_text("{}")
    header = json.dumps(
        {"weight": {"dtype": "BF16", "shape": [1000, 134_515], "data_offsets": [0, 0]}}
    ).encode()
    (directory / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


def all_states() -> dict[str, Job]:
    """One job in each state and of each kind, by name. Those that live need their locks held: see
    `held`."""
    made = {
        "builtin": make_job("builtin", 1, age=90_000, kind="import"),
        "first-try": make_job("first-try", 2, age=86_400 * 2),
        "captain": make_job("captain", 3, age=7_200),
        "too-large": make_job(
            "too-large", 4, age=5_400, log="loading the model\nRuntimeError: out of memory\n"
        ),
        "rebooted": make_job("rebooted", 5, age=4_000),
        "captain-server": make_job(
            "captain-server",
            6,
            age=1_800,
            kind="server",
            log="".join(f"INFO vllm line {n}\n" for n in range(60)),
        ),
        "pirate": make_job(
            "pirate", 7, age=600, log="".join(f"step {n} of 800\n" for n in range(1, 341))
        ),
        "parrot": make_job("parrot", 8, age=75),
        "halting": make_job("halting", 9, age=60),
        "queued-up": make_job("queued-up", 10, age=20),
    }
    begin(made["builtin"], 90_000)
    write(
        made["builtin"],
        event("result", 89_900, path="/models/builtin"),
        event("exited", 89_899, code=0, stopped=False, swept=0),
    )
    begin(made["first-try"], 86_400 * 2)
    steps(made["first-try"], 120, 400, ago=86_400 * 2 - 5)
    write(
        made["first-try"],
        event("stop_requested", 172_000),
        event("exited", 171_999, code=0, stopped=True, swept=0),
    )
    begin(made["captain"], 7_200)
    steps(made["captain"], 300, 300, ago=7_190)
    result = {
        "adapter": "adapter",
        "steps": 300,
        "loss": 0.914,
        "eval_loss": 1.031,
        "seconds": 460.0,
    }
    write(
        made["captain"],
        event("result", 6_700, **result),
        event("exited", 6_699, code=0, stopped=False, swept=0),
    )
    adapter(made["captain"])
    begin(made["too-large"], 5_400)
    reason = {
        "title": "Out of memory",
        "message": "The model needs 31.2 GB and 22.9 GB are free.",
        "hint": "Lower micro_batch or max_length.",
    }
    write(
        made["too-large"],
        event("error", 5_380, **reason),
        event("exited", 5_379, code=1, stopped=False, swept=0),
    )
    begin(made["rebooted"], 4_000)
    steps(made["rebooted"], 40, 200, ago=3_990)
    begin(made["captain-server"], 1_800)
    for ago, phase in (
        (1_799, "starting vLLM"),
        (1_790, "loading the weights"),
        (1_760, "warming up"),
        (1_750, "ready"),
    ):
        write(made["captain-server"], event("phase", ago, name=phase))
    serve(made["captain-server"], "captain")
    begin(made["pirate"], 600)
    write(
        made["pirate"],
        event("phase", 598, name="loading the model"),
        event("plan", 590, steps=800, epochs=3, global_batch=16, micro_batch=4),
    )
    steps(made["pirate"], 340, 800, ago=580, pace=1.7)
    begin(made["parrot"], 75)
    write(made["parrot"], event("phase", 60, name="loading the model"))
    begin(made["halting"], 60)
    steps(made["halting"], 20, 100, ago=58)
    write(made["halting"], event("stop_requested", 10))
    wait_in_queue(made["queued-up"], 1, ago=20)
    return made


def serve(job: Job, *adapters: str, port: int = 8712) -> None:
    """What the server of this job says of itself once it is ready."""
    models = [
        {"id": name, "kind": "base", "path": "/models/builtin", "run": None}
        for name in ("base", "builtin")
    ]
    models += [
        {
            "id": name,
            "kind": "adapter",
            "path": f"/runs/{name}/adapter",
            "run": f"20261118-0003-{name}-00ff",
        }
        for name in adapters
    ]
    (job.directory / "server.json").write_text(
        json.dumps({"host": "127.0.0.1", "port": port, "models": models})
    )


LIVING = ["captain-server", "pirate", "parrot", "halting", "queued-up"]
