"""The world around a hostile session: jobs that write, end, vanish and appear, a server that
misbehaves, settings changed by another hand. Each change is one method, chosen by the session's
dice."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from jobs.home import home, jobs_directory, models_directory
from jobs.job import Job
from jobs.spec import Spec
from tests.fakes.openai_server import FakeServer, Fault
from tests.tui import folders, hostile

CONFIG = "# written by hand\n"
_CONFIGS = (
    CONFIG,
    f'{CONFIG}theme = "luthier-light"\n',
    f'{CONFIG}theme = "nord"\nsort_runs = "eval loss"\n',
    f"{CONFIG}theme = \n",
    f'{CONFIG}[endpoints.hosted]\nurl = "http://127.0.0.1:9/v1"\n',
)


class World:
    """Every change draws from `dice` alone, so that a seed makes the same ones again."""

    def __init__(self, dice: random.Random, server: FakeServer) -> None:
        self.dice, self.server = dice, server
        self._made = 100
        self.changes: tuple[Callable[[], None], ...] = (
            *(self.tell_steps, self.tell_steps, self.tell_many, self.tell_garbage),
            *(self.write_log, self.end_job, self.remove_job, self.damage_job, self.new_job),
            *(self.change_server, self.change_config, self.remove_model, self.touch_ledger),
        )

    def change(self) -> str:
        """Do one; its name."""
        change = self.dice.choice(self.changes)
        # what it is about may have gone, by the app's hand or by another change's
        with suppress(FileNotFoundError, FileExistsError, NotADirectoryError, IndexError):
            change()
        return change.__name__

    def _job(self) -> Job:
        names = sorted(path.name for path in jobs_directory().iterdir() if path.name[0] != ".")
        return Job(jobs_directory() / self.dice.choice(names))

    def _step(self, step: int) -> dict[str, Any]:
        return folders.event(
            "step",
            0,
            step=step,
            total=self.dice.choice((step, 800, 10**9)),
            loss=self.dice.choice((0.5, 1e30, float("nan"), self.dice.random())),
            learning_rate=self.dice.random(),
            grad_norm=self.dice.random(),
            tokens_per_second=self.dice.random() * 1e5,
        )

    def tell_steps(self) -> None:
        first = self.dice.randrange(1000)
        folders.write(self._job(), *(self._step(first + number) for number in range(5)))

    def tell_many(self) -> None:
        first = self.dice.randrange(10**6)
        folders.write(self._job(), *(self._step(first + number) for number in range(3000)))

    def tell_garbage(self) -> None:
        """Lines that are no events, and one that is torn."""
        lines = [
            "{",
            "[]",
            "null",
            '{"kind": 3}',
            '{"kind": "step", "t": "soon", "step": "many"}',
            json.dumps(folders.event("phase", 0, name=hostile.FOREIGN)),
            json.dumps(folders.event("error", 0, title=hostile.FOREIGN, message="m", hint="h")),
            json.dumps(folders.event("eval", 0, step=-1, loss=None)),
            json.dumps(folders.event("sample", 0, step=1, index=0, prompt=["p"], answer={})),
            '{"kind": "step", "t": 1, "st',
        ]
        self.dice.shuffle(lines)
        with self._job().events_path.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines))

    def write_log(self) -> None:
        line = self.dice.choice(("step\n", f"{hostile.FOREIGN}\n", "x" * 200_000, "\r\x00\xff\n"))
        with self._job().log_path.open("a", encoding="utf-8") as file:
            file.write(line * self.dice.choice((1, 50)))

    def end_job(self) -> None:
        code = self.dice.choice((0, 1, 137))
        result = [folders.event("result", 0, loss=0.5, adapter="adapter")] if code == 0 else []
        exited = folders.event("exited", 0, code=code, stopped=False, swept=0)
        folders.write(self._job(), *result, exited)

    def remove_job(self) -> None:
        if len(list(jobs_directory().iterdir())) > 6:
            shutil.rmtree(self._job().directory, ignore_errors=True)

    def damage_job(self) -> None:
        path = self._job().directory / self.dice.choice(
            ("spec.json", "recipe.toml", "server.json", "certificate.json", "events.jsonl")
        )
        path.write_text(self.dice.choice(("", "{", "[]", "nonsense = ", '{"models": 3}')))

    def new_job(self) -> None:
        self._made += 1
        kind = self.dice.choice(get_args(Spec.__annotations__["kind"]) or ("run",))
        name = self.dice.choice(("fresh", "a-name-that-is-as-long-as-names-may-be-here"))[:39]
        job = folders.make_job(name, self._made, age=0.0, kind=kind)
        folders.begin(job, 1.0)
        folders.steps(job, 30, 60, ago=50)

    def change_server(self) -> None:
        self.server.fault = self.dice.choice((None, None, *get_args(Fault)))
        self.server.tokens_per_second = self.dice.choice((20.0, 2000.0))
        self.server.models = self.dice.choice(
            (["base", "captain"], ["base"], [], [f"m{hostile.FOREIGN}", "base"])
        )

    def change_config(self) -> None:
        (home() / "config.toml").write_text(self.dice.choice(_CONFIGS))

    def remove_model(self) -> None:
        names = sorted(path.name for path in models_directory().iterdir())
        path = models_directory() / self.dice.choice(names)
        if path.name != "builtin":
            shutil.rmtree(path, ignore_errors=True)

    def touch_ledger(self) -> None:
        data = self._job().directory / "data"
        for path in sorted(data.glob("*.json*")):
            path.write_text(self.dice.choice(("", "{}\n", '{"row": 0}\n')))


_run = subprocess.run


def run_program(*command: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    """Stands for `subprocess.run`. A job that a key has started gets its real supervisor, but a
    fake worker: a random session would start a hundred trainings and servers."""
    if "jobs.shim" in command[0]:
        directory = Path(command[0][-1])
        spec = Spec.read(directory)
        is_run = spec.kind == "run" and (directory / "recipe.toml").exists()
        module = "tests.fakes.fake_run" if is_run else "tests.fakes.fake_worker"
        settings = {**spec.settings, "conduct": "well"}
        replace(spec, module=module, settings=settings, slots=[], then=[]).replace(directory)
    return _run(*command, **options)


def user_files(folder: Path) -> dict[str, bytes]:
    """What the user has in a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
