"""A home in which whatever Luthier did not write itself tries to steer the terminal, and has
brackets that markup would swallow."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.home import jobs_directory, models_directory
from jobs.job import Job
from serve.planning import ServeOptions, look_ahead
from tests.fakes.openai_server import FAKE_KEY, FakeServer
from tests.serve.chat_writing import BASE, CAPTAIN, new_chat, write
from tests.serve.test_votes import vote
from tests.trainer import shapes
from tests.tui import certificates, comparisons, data_folders, folders, run_events

FOREIGN = (
    "\x1b]52;c;Zm9yZWlnbg==\x07\x1b]0;foreign\x07\x1b[77;7H\x1b[38;5;201m\x9d0;foreign\x9c\x9b5n\x07\x08\x0b\x0c\x7f\x85\u202e\u2066"
    " [/INST] [red]b[/] [foreign :boom:"
)
MARKS = (
    "\x1b]52;c;Zm9yZWlnbg==\x07",
    "\x1b]0;",
    "\x1b[77;7H",
    "\x1b[38;5;201m",
    "\N{COLLISION SYMBOL}",
)
"""Sequences of it that would pass for Luthier's own, had it any use for them."""
FILE_NAME = FOREIGN.replace("/", "")
RECIPE = f"{FILE_NAME}.toml"
_HALF = "\udc9b"  # of a character: JSON can name it, and a file's name can hold the byte

# Of the program's own words, and what leads to a file, by their keys: without these nothing would
# be shown at all.
_OWN_KEYS = {
    *(
        "kind",
        "module",
        "state",
        "states",
        "status",
        "verdict",
        "code",
        "what",
        "unit",
        "strategy",
        "engine",
        "dtype",
        "peft_type",
        "device",
    ),
    *(
        "path",
        "file",
        "files",
        "directory",
        "model_directory",
        "model",
        "base",
        "base_model_name_or_path",
        "adapter",
        "sources",
        "device",
    ),
    *(
        "id",
        "run",
        "host",
        "slots",
        "python",
        "conversations",
        "samples",
        "mapping",
        "format",
        "checkpoint",
        "parts",
        "gradient_checkpointing",
    ),
}


def poisoned(value: Any, foreign: str) -> Any:
    """A value of a JSON file with foreign text at the end of every string that a person is meant to
    read."""
    if isinstance(value, dict):
        return {
            name: item if name in _OWN_KEYS else poisoned(item, foreign)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [poisoned(item, foreign) for item in value]
    return f"{value}{foreign}" if isinstance(value, str) and value not in ("ready", "") else value


def poison(path: Path) -> None:
    """Every string of a file of JSON, or of lines of it."""
    lines = (
        path.read_text(encoding="utf-8").splitlines()
        if path.suffix == ".jsonl"
        else [path.read_text(encoding="utf-8")]
    )
    # msgspec takes none
    foreign = (
        f"{FOREIGN}{_HALF}"
        if path.name in ("spec.json", "events.jsonl", "config.json")
        else FOREIGN
    )
    times = path.stat()
    path.write_text(
        "".join(json.dumps(poisoned(json.loads(line), foreign)) + "\n" for line in lines)
    )
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def chats() -> None:
    """Chats whose models, questions and answers are foreign, with votes on them."""
    speakers = [replace(speaker, model=f"{speaker.model}{FOREIGN}") for speaker in (BASE, CAPTAIN)]
    chat = new_chat(*speakers)
    answers = write(chat, f"Question {FOREIGN}", [f"Answer {FOREIGN}", f"Other &#x202e; {FOREIGN}"])
    vote(chat, answers, "better", 1)


def endpoints(home: Path) -> None:
    (home / "config.toml").write_text(
        '[endpoints.hosted]\nurl = "http://hosted.example/v1"\nkey_file = '
        + json.dumps(f"/keys{FOREIGN}")
    )


def keys(home: Path) -> None:
    (home / "keys").mkdir()
    for name in ("client", "control"):
        (home / "keys" / name).write_text(FAKE_KEY)
        (home / "keys" / name).chmod(0o600)


def in_a_sweep(run: Job) -> None:
    settings = {
        **run.spec.settings,
        "sweep": {
            "id": "sweep-1",
            "name": "sweep",
            "number": 1,
            "of": 1,
            "varies": {"lora.target": "all"},
        },
    }
    replace(run.spec, settings=settings).replace(run.directory)


def planned(server: Job) -> None:
    """What a server's own orders are: without them none can be planned beside it."""
    outlook = look_ahead(
        models_directory() / "builtin", "builtin", [], "127.0.0.1", None, ServeOptions()
    )
    replace(server.spec, settings=outlook.plan.to_json()).replace(server.directory)


def recipe(home: Path) -> None:
    """One that can be planned, although its data and its model have foreign names."""
    shapes.llama(models_directory() / "planned" / FILE_NAME)
    turns = [
        {"role": "user", "content": f"Hm? {FOREIGN}"},
        {"role": "assistant", "content": FOREIGN},
    ]
    (home / f"data{FILE_NAME}.jsonl").write_text(f"{json.dumps({'messages': turns})}\n" * 40)
    model, data = str(models_directory() / "planned" / FILE_NAME), f"data{FILE_NAME}.jsonl"
    (home / RECIPE).write_text(f"model = {json.dumps(model)}\ndata = [{json.dumps(data)}]\n")


def fill(home: Path, server: FakeServer) -> dict[str, Job]:
    """All of it. The jobs by their names; those that live need their locks held."""
    for name in ("builtin", FILE_NAME):
        folders.base_model(models_directory() / name)
        (models_directory() / name / "card.json").write_text(
            json.dumps({"title": "t", "source": "hub:o/n", "license": "l", "warnings": ["w"]})
        )
        (models_directory() / name / "chat_template.jinja").write_text(f"<|im_start|>{FOREIGN}")
    made = folders.all_states()
    run_events.eventful(made["pirate"])
    in_a_sweep(made["captain"])
    planned(made["captain-server"])
    certificates.certified(made["captain"], "red")
    data_folders.finished()
    comparisons.compared()
    folders.write(made["captain"], folders.event("unheard of", 1.0, something="s"))
    for job in made.values():
        (job.directory / "recipe.toml").write_text(
            'model = "builtin"\ndata = ["d.jsonl"]\nname = "a\\u001b]0;foreign\\u0007b[/]"\n'
        )
        with job.log_path.open("a") as file:
            file.write(f"a line {FOREIGN}\n")
    for path in [
        *jobs_directory().rglob("*.json"),
        *jobs_directory().rglob("*.jsonl"),
        *models_directory().rglob("*.json"),
    ]:
        poison(path)
    folders.serve(made["captain-server"], f"captain{FOREIGN}", port=server.port)
    server.models = ["base", f"captain{FOREIGN}"]
    server.answer = lambda model, messages: f"{model} says {FOREIGN}"
    chats()
    endpoints(home)
    keys(home)
    recipe(home)
    return made
