"""The last part of `luthier rescue`: how near a run comes to the model that it replaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.luthier_error import LuthierError
from models.runs import Run
from serve.client import Sampling
from serve.comparison.asking import answer_key, ask, missing
from serve.comparison.items import Item
from serve.comparison.journal import Journal
from serve.comparison.nearness import NOTE, likelihoods, nearness, table
from serve.comparison.summary import Row, summary
from serve.servers import Server
from tui.commands.compare import count_entries
from tui.commands.lending import server_with
from tui.commands.output import out, plain_table, say_aside, say_warning, talk
from workshop.comparison.compare import contenders, write_report
from workshop.rescue.beside import held_against
from workshop.rescue.kept import ANSWERS_FILE, entries_of
from workshop.rescue.launch import cache_of
from workshop.rescue.order import Order
from workshop.rescue.questions import Question
from workshop.served_runs import adapters_named


def beside_run(
    order: Order, base_url: str, questions: list[Question], name: str, as_json: bool
) -> dict[str, Any]:
    """Ask the run and its base the old model's questions, and write the report beside the
    answers."""
    base, adapters = adapters_named([name])
    run = Run.named(name.partition("@")[0])
    journal = Journal(cache_of(order.model, base_url))
    comparison = held_against(run, questions, entries_of(order, base_url, questions, journal))
    folder = Path(order.out)
    rescue_sampling = order.sampling
    sampling = Sampling(
        0.0 if rescue_sampling.temperature is None else rescue_sampling.temperature,
        1.0 if rescue_sampling.top_p is None else rescue_sampling.top_p,
        rescue_sampling.max_tokens,
        rescue_sampling.seed,
    )
    with server_with(base, adapters, keep=False) as server:
        models = contenders(server, base, adapters)
        answers = Journal(folder / f"beside-{run.id}.jsonl")
        pending = missing(comparison.items, models, sampling, answers)
        count_entries(
            "Asking the new model",
            len(pending),
            lambda on_entry: ask(
                server.endpoint, pending, sampling, answers, on_entry, order.at_once
            ),
        )
        names = [model.name for model in models]
        rows = [
            Row(
                item,
                {
                    model.name: answers.found.get(answer_key(item, model, sampling))
                    for model in models
                },
            )
            for item in comparison.items
        ]
        likely = _likelihoods(server, names, comparison.items)
    figures = {**summary(rows, names, None), "nearness": nearness(rows, names, likely)}
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in comparison.left_out.items())
    facts = [
        ("old model", f"{order.model} at {base_url}; its answers are the references below"),
        ("new model", f"{run.id}, trained from {base}"),
        ("questions", f"{len(rows):,} that the run was not trained on, of {order.prompts}"),
        *([("left out", left_out)] if left_out else []),
        (
            "sampling",
            ", ".join(f"{key} {value:g}" for key, value in rescue_sampling.fields().items()),
        ),
    ]
    title = f"{names[1]} beside {order.model}"
    write_report(folder, facts, figures, rows, names, title)
    if not as_json:
        _show(figures, folder, run, order)
    return {"run": run.id, **figures["nearness"]}


def _likelihoods(
    server: Server, names: list[str], items: list[Item]
) -> dict[str, list[float]] | None:
    """None where the server cannot tell."""
    pairs = [(item.messages, str(item.reference)) for item in items]
    by_model: dict[str, list[float]] = {}

    async def measure(on_entry: Any) -> None:
        by_model.update(
            await likelihoods(server.endpoint, names, pairs, lambda: on_entry({"error": None}))
        )

    try:
        count_entries("Reading the old answers", len(pairs), measure)
    except LuthierError as error:
        say_warning(f"The likelihood of the old answers could not be measured: {error.message}")
        return None
    return by_model


def _show(figures: dict[str, Any], folder: Path, run: Run, order: Order) -> None:
    lines = table(figures["nearness"])
    printed = plain_table(*lines[0])
    for line in lines[1:]:
        printed.add_row(*line)
    out.print(f"How near to {order.model}", style="bold")
    out.print(printed)
    out.print(NOTE, style="dim")
    talk.print(f"The report: {folder}/report.md, report.html, report.json")
    say_aside(
        f"  Blind, side by side: luthier, Chat (4); m chooses {run.model_name()}, + and m"
        f" {order.model}; b makes it blind, f5 goes through {folder / ANSWERS_FILE}"
    )
