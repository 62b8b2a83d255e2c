"""One comparison: a server is lent, every model is asked every question, a judge may judge, and the
report is written. What has been answered is in the folder, and is not asked again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from jobs.counting import counted
from jobs.files import write_atomic, write_json
from jobs.home import jobs_directory
from models.folder import ModelFolder
from models.registry import resolve
from models.standing import of_adapter
from serve.client import Sampling
from serve.comparison import judge as judging
from serve.comparison.asking import Contender, answer_key, ask, missing
from serve.comparison.items import read_items
from serve.comparison.journal import Entry, Journal
from serve.comparison.judge import Judge, Judged, Pair
from serve.comparison.page import html
from serve.comparison.report import markdown
from serve.comparison.slices import check_columns
from serve.comparison.summary import Row, Scored, scores, summary
from serve.comparison.why import why
from serve.plan import BASE
from serve.planning import NamedAdapter
from serve.servers import Server
from workshop.comparison.languages import languages_of
from workshop.comparison.noise import check_noise
from workshop.comparison.reports import REPORT_HTML, REPORT_JSON, REPORT_MARKDOWN
from workshop.served_runs import adapters_named


class Order(msgspec.Struct, frozen=True):
    """What is compared, and how."""

    runs: list[str]
    """Runs, or RUN@STEP for their checkpoints; all of one base model."""
    prompts: str
    """The file of questions."""
    limit: int | None = None
    """Only this many questions, from the first one."""
    temperature: float = 0.0
    max_tokens: int = 512
    seed: int = 0
    at_once: int = 8
    """Questions that are answered at once."""
    judge: str = ""
    """MODEL@URL or MODEL@ENDPOINT of the judge; "" for none."""
    judge_key: str | None = None
    """The environment variable with the judge's key."""
    judge_tokens: int = 1024
    by: list[str] = []
    """Columns of the prompt file that the prompts are sliced by."""
    noise: str = ""
    """A run of another seed: what it and the tuned model differ by is the unit; "" for none."""

    @property
    def sampling(self) -> Sampling:
        top_p = 1.0 if self.temperature == 0 else 0.95
        return Sampling(self.temperature, top_p, self.max_tokens, self.seed)


Lend = Callable[[str, list[NamedAdapter]], AbstractContextManager[Server]]
"""A server of this base with these adapters, for as long as it is needed."""


class Count(Protocol):
    """Does work that reports each part that is done, and shows how far it is."""

    def __call__(
        self, title: str, total: int, work: Callable[[Callable[[Entry], None]], Awaitable[None]], /
    ) -> None: ...


@dataclass(frozen=True)
class Prepared:
    """An order that was looked through: LuthierError came by then if anything was wrong with it."""

    order: Order
    base: str
    adapters: list[NamedAdapter]
    judge: Judge | None
    noise: Path | None = None
    """The adapter of the run of another seed."""
    noise_differs: list[str] = field(default_factory=list)
    """What of that run's recipe differs beside its seed."""


def prepare(order: Order) -> Prepared:
    """Look an order through: the prompts, the runs and the judge. LuthierError for the first thing
    that is wrong."""
    check_columns(read_items(Path(order.prompts), order.limit), order.by)
    base, adapters = adapters_named([*order.runs, *([order.noise] if order.noise else [])])
    noise = adapters[-1][1] if order.noise else None
    differs = check_noise(order.runs[0], order.noise) if order.noise else []
    judge = (
        judging.judge_at(order.judge, order.judge_key, order.judge_tokens) if order.judge else None
    )
    return Prepared(order, base, adapters, judge, noise, differs)


def compare(
    prepared: Prepared, folder: Path, lend: Lend, count: Count, warn: Callable[[str], object]
) -> dict[str, Any]:
    """Do it, and write the report into the folder. The figures, as JSON."""
    order, judge, adapters = prepared.order, prepared.judge, prepared.adapters
    items = read_items(Path(order.prompts), order.limit)
    journal = Journal(folder / "answers.jsonl")
    with lend(prepared.base, adapters) as server:
        models = contenders(server, prepared.base, adapters)
        questions = missing(items, models, order.sampling, journal)

        def ask_all(on_entry: Callable[[Entry], None]) -> Awaitable[None]:
            endpoint = server.endpoint
            return ask(endpoint, questions, order.sampling, journal, on_entry, order.at_once)

        count("Asking", len(questions), ask_all)
    rows = [
        Row(
            item,
            {
                model.name: journal.found.get(answer_key(item, model, order.sampling))
                for model in models
            },
        )
        for item in items
    ]
    judged = None if judge is None else _judged(judge, rows, models, folder, order, count, warn)
    names = [model.name for model in models]
    scored = scores(rows, names)
    figures = summary(rows, names, judged, scored)
    noise = next((model.name for model in models[1:] if model.adapter == prepared.noise), "")
    figures["why"] = _why(rows, names, scored, noise, order.by)
    sampling = f"temperature {order.temperature:g}, at most {order.max_tokens} tokens"
    facts = [
        (
            "prompts",
            f"{order.prompts} ({counted(len(items), 'question')}, {figures['with_reference']} with"
            " a reference)",
        ),
        ("models", ", ".join(f"{model.name} ({model.identity})" for model in models)),
        ("sampling", f"{sampling}, seed {order.seed}"),
        *([("another seed", _noise_fact(noise, prepared))] if noise else []),
        *_red(adapters),
        *([("judge", f"{judge.model} at {judge.endpoint.base_url}")] if judge is not None else []),
    ]
    write_report(folder, facts, figures, rows, names)
    return figures


def contenders(server: Server, base: str, adapters: list[NamedAdapter]) -> list[Contender]:
    """The base and the tuned models by the names that this server has for them, each with its
    content."""
    by_path = {model.path.resolve(): model.id for model in server.models if model.kind == "adapter"}
    base_model = Contender(BASE, str(resolve(base).resolve()))
    return [base_model] + [
        Contender(by_path[path.resolve()], f"{run or path}, {ModelFolder(path).identity()}", path)
        for _, path, run in adapters
    ]


def _why(
    rows: list[Row], models: list[str], scored: Scored, noise: str, by: list[str]
) -> dict[str, Any]:
    texts = [
        str(answer["text"])
        for row in rows
        for answer in row.answers.values()
        if answer is not None and answer.get("error") is None
    ]
    languages, problem = languages_of(texts)
    return {**why(rows, models, scored, languages, noise=noise, by=by), "problem": problem}


def _noise_fact(name: str, prepared: Prepared) -> str:
    fact = f"{name}: what it and {prepared.order.runs[0]} differ by is the unit"
    if prepared.noise_differs:
        fact += f". They differ in more than the seed: {', '.join(prepared.noise_differs[:4])}"
    return fact


def _red(adapters: list[NamedAdapter]) -> list[tuple[str, str]]:
    """What whoever reads the report must know: a model that failed its certificate."""
    standings = {
        name: of_adapter(jobs_directory() / run) for name, _, run in adapters if run is not None
    }
    return [
        ("red certificate", f"{name}: {standing.reason}")
        for name, standing in standings.items()
        if standing.verdict == "red"
    ]


def _judged(
    judge: Judge,
    rows: list[Row],
    models: list[Contender],
    folder: Path,
    order: Order,
    count: Count,
    warn: Callable[[str], object],
) -> Judged:
    journal = Journal(folder / "judgements.jsonl")
    pairs = [
        pair
        for row in rows
        for model in models[1:]
        if (pair := _pair(row, models[0].name, model.name)) is not None
    ]
    ordered_pairs = judging.unjudged(judge, pairs, journal)

    def judge_all(on_entry: Callable[[Entry], None]) -> Awaitable[None]:
        return judging.ask_judge(judge, ordered_pairs, journal, on_entry, order.at_once)

    count("Judging", len(ordered_pairs), judge_all)
    failures = [
        journal.found[key]
        for pair, turned in ordered_pairs
        if (key := judging.judgement_key(judge, pair, turned)) in journal.found
    ]
    failed = [str(entry["error"]) for entry in failures if entry.get("error") is not None]
    if failed:
        warn(f"{len(failed)} verdicts failed: {failed[0]}. Comparing again asks for them again.")
    return judging.outcomes(judge, pairs, journal)


def _pair(row: Row, base: str, tuned: str) -> Pair | None:
    """The tuned answer and the base's, if both are there."""
    tuned_answer, other = row.answers[tuned], row.answers[base]
    if (
        tuned_answer is None
        or other is None
        or tuned_answer.get("error") is not None
        or other.get("error") is not None
    ):
        return None
    return Pair(
        row.item,
        tuned,
        base,
        tuned_answer["text"],
        other["text"],
        tuned_answer.get("tokens"),
        other.get("tokens"),
    )


def write_report(
    folder: Path,
    facts: list[tuple[str, str]],
    figures: dict[str, Any],
    rows: list[Row],
    models: list[str],
    title: str = "",
) -> None:
    """The same as Markdown, HTML and JSON. `title`: "tuned beside base" by the models' names unless
    it is given."""
    title = title or f"{' and '.join(models[1:])} beside {models[0]}"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / REPORT_MARKDOWN, markdown(title, facts, figures, rows, models))
    write_atomic(folder / REPORT_HTML, html(title, facts, figures, rows, models))
    answers = [
        {
            "messages": list(row.item.messages),
            "reference": row.item.reference,
            "answers": row.answers,
        }
        for row in rows
    ]
    write_json(folder / REPORT_JSON, {**dict(facts), **figures, "rows": answers})
