"""`luthier demo`: the whole journey on the built-in model, small and real."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import msgspec
from rich.text import Text

from jobs.files import write_json
from jobs.job import Job
from models.builtin import BUILTIN
from models.conversations import read_prompts
from models.installation import check_libraries
from models.registry import planned_directory, resolve
from models.runs import Run
from serve import launch as serving
from serve.asking import Answer, ask_all
from serve.client import Sampling
from serve.servers import Server
from serve.vllm_command import vllm_module
from trainer import launch as training
from trainer.examples import CAPTAIN
from tui.commands.output import (
    CleanTable,
    examples,
    json_option,
    out,
    print_json,
    say_aside,
    say_done,
    say_warning,
    styled,
    talk,
)
from tui.commands.progress import bar, follow_job, follow_to_end
from tui.commands.runs import stop_and_wait
from tui.commands.train import prepare_model
from workshop.demo import demo_recipe
from workshop.number_format import duration
from workshop.served_runs import adapters_of
from workshop.servers import LOCALHOST, add_adapters, once_started, server_of

_SAMPLING = Sampling(temperature=0.0, top_p=1.0, max_tokens=80)


@click.command(epilog=examples("luthier demo"))
@click.option("--keep", is_flag=True, help="Leave the server running at the end.")
@json_option
def demo(keep: bool, as_json: bool) -> None:
    """Fine-tune the built-in model on the sample data, serve base and tuned, and ask both the same
    held-out questions."""
    planned_directory(BUILTIN)  # it says what the model takes, the libraries included
    check_libraries("train")
    vllm_module()
    began = time.monotonic()
    _say_what_it_takes()
    # its vLLM would run beside the demo's own
    recipe = msgspec.structs.replace(demo_recipe(), certify=False)
    prepare_model(recipe)
    run = training.train(recipe)
    _follow(run, f"Training {run.spec.name}")
    questions = list(read_prompts(CAPTAIN / "heldout.jsonl"))
    with _served(run, keep) as (server, tuned):
        answers = _ask(server, tuned, questions)
    _show(run, server, tuned, questions, answers, time.monotonic() - began, as_json)


def _say_what_it_takes() -> None:
    say_aside(
        "The demo prepares the built-in model, trains it for 30 steps, starts a server and asks"
        " base and tuned 20 questions.\nThis takes about three minutes on two idle CPU cores."
    )
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    if load > cores / 2:
        say_warning(
            f"This machine is busy (load {load:.1f} on {cores} cores), so the demo will take"
            " longer."
        )


def in_voice(answer: str) -> bool:
    """Whether an answer is in the captain's voice: "Aye, ", at most two sentences, "Fair
    winds!"."""
    text = answer.strip()
    sentences = len(re.findall(r"[.!?](?=\s|$)", text))
    return text.startswith("Aye, ") and text.endswith("Fair winds!") and sentences <= 3


def voice_share(answers: list[Answer], model: str) -> float:
    """The share of a model's answers in the voice."""
    model_answers = [answer for answer in answers if answer.model == model]
    return sum(in_voice(answer.text) for answer in model_answers) / len(model_answers)


def _follow(job: Job, title: str) -> None:
    follow_to_end(job, title)


@contextmanager
def _served(run: Job, keep: bool) -> Iterator[tuple[Server, str]]:
    """A server of the run and the run's name on it: one that runs already, or one that is stopped
    at the end."""
    base, adapters = adapters_of([Run(run)])
    running = server_of(resolve(base).resolve(), LOCALHOST)
    if running is not None:
        taken = {model.id for model in running.models}
        adapters = [
            (run.id if name in taken else name, path, run_id) for name, path, run_id in adapters
        ]
        add_adapters(running, adapters)
        yield running, adapters[0][0]
        return
    job = serving.serve(base, adapters)
    try:
        yield once_started(job, follow_job), adapters[0][0]
    finally:
        if not keep:
            stop_and_wait(job)


def _ask(server: Server, tuned: str, questions: list[list[dict[str, Any]]]) -> list[Answer]:
    """Both models answer every question; the server returned each of these answers."""
    models = ["base", tuned]
    with bar() as progress:
        task = progress.add_task("Asking both models", total=len(models) * len(questions), left="")
        began = time.monotonic()

        def count(answer: Answer) -> None:
            progress.advance(task)
            done = progress.tasks[0].completed
            left = (time.monotonic() - began) / done * (len(models) * len(questions) - done)
            progress.update(task, left=f"about {duration(left)} left")

        answers = asyncio.run(ask_all(server.endpoint, models, questions, _SAMPLING, count))
    failed = next((answer.error for answer in answers if answer.error is not None), None)
    if failed is not None:
        raise failed
    say_done("Asking both models", duration(time.monotonic() - began))
    return answers


def _show(
    run: Job,
    server: Server,
    tuned: str,
    questions: list[list[dict[str, Any]]],
    answers: list[Answer],
    seconds: float,
    as_json: bool,
) -> None:
    base_share, tuned_share = voice_share(answers, "base"), voice_share(answers, tuned)
    rows = [
        {
            "question": questions[a.prompt][-1]["content"],
            "model": a.model,
            "answer": a.text,
            "in_voice": in_voice(a.text),
        }
        for a in answers
    ]
    write_json(run.directory / "demo.json", rows)
    if as_json:
        print_json(
            {
                "run": run.id,
                "server": server.job.id,
                "base_share": base_share,
                "tuned_share": tuned_share,
                "seconds": round(seconds, 1),
                "answers": rows,
            }
        )
        return
    table = CleanTable(show_lines=True, border_style="dim", header_style="bold", expand=True)
    for title, width in (("question", 2), ("base", 4), (tuned, 4)):
        table.add_column(title, ratio=width)
    for index, question in enumerate(questions):
        base, tuned_text = (
            next(a.text for a in answers if a.prompt == index and a.model == model)
            for model in ("base", tuned)
        )
        sign = Text("● ", "green") if in_voice(tuned_text) else Text("○ ")
        table.add_row(
            question[-1]["content"], base.strip(), Text.assemble(sign, tuned_text.strip())
        )
    out.print(table)
    shares = styled(
        "base [bold]$base[/], $name [bold]$tuned[/]",
        base=f"{base_share:.0%}",
        name=tuned,
        tuned=f"{tuned_share:.0%}",
    )
    out.print(
        Text.assemble(
            "In the captain's voice (●): ", shares, (f"  ({duration(seconds)} in all)", "dim")
        )
    )
    talk.print()
    for command, purpose in (
        (f"luthier serve {run.short_id}", "serve base and tuned again; then: luthier chat"),
        ("luthier", "open the app: a on the run chats with both"),
        (f"luthier certify {run.short_id}", "prove that the served model is the trained one"),
    ):
        talk.print(styled("$command [dim]$purpose[/]", command=f"{command:<30}", purpose=purpose))
