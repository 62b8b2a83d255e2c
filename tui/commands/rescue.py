"""`luthier rescue`: the answers of a hosted model that will be switched off, kept, trained on and
compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jobs.counting import counted
from jobs.files import expanded
from jobs.job import Job, find
from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean_file
from jobs.spec import slug
from models.builtin import BUILTIN
from models.registry import resolve
from models.run_folder import RunFolder
from serve.comparison.journal import Journal
from tui.commands.asking_options import AskingLimits, asking_options
from tui.commands.data import inspected, refuse
from tui.commands.output import (
    examples,
    json_option,
    print_json,
    say_aside,
    say_done,
    say_warning,
    talk,
)
from tui.commands.progress import follow_to_end
from tui.commands.rescue_report import beside_run
from tui.completion.name_parameter import Name
from workshop.asking.asker import spent_on
from workshop.asking.budget import Tokens, most_tokens
from workshop.rescue.asking import unanswered
from workshop.rescue.kept import ANSWERS_FILE, TERMS
from workshop.rescue.launch import cache_of
from workshop.rescue.launch import rescue as start_rescue
from workshop.rescue.order import Order, Sampling
from workshop.rescue.questions import Question, file_hash, read_questions


@click.command(
    epilog=examples(
        "luthier rescue ft:gpt-4o:me::abc --at openai --prompts questions.jsonl --plan",
        "luthier rescue ft:gpt-4o:me::abc --at openai --data t.jsonl --train builtin",
        "luthier rescue ft:gpt-4o:me::abc --at openai --data t.jsonl --beside RUN",
    )
)
@click.argument("model")
@click.option(
    "--at",
    "address",
    required=True,
    metavar="NAME|URL",
    type=Name("endpoint"),
    help="The endpoint: as `luthier endpoints` names it, or its address.",
)
@click.option(
    "--key-env", default="", metavar="VARIABLE", help="The environment variable that holds the key."
)
@click.option("--key-file", default="", metavar="FILE", help="The file that holds the key.")
@click.option(
    "--prompts",
    type=click.Path(path_type=Path),
    help="A file of conversations (JSON Lines), or a text file with one prompt per line.",
)
@click.option(
    "--data",
    metavar="FILE",
    type=Name("data file", "recipe file"),
    help="Ask the held-out part of this training file (or recipe), split as training splits it.",
)
@click.option(
    "--all",
    "every_part",
    is_flag=True,
    help="With --data: ask all of it, not only the held-out part.",
)
@click.option("--limit", type=click.IntRange(1), help="Ask only the first N questions.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where the answers go. Default: rescue-MODEL."
)
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True)
@click.option("--top-p", type=click.FloatRange(0, 1), help="Default: the endpoint's.")
@click.option("--max-tokens", type=click.IntRange(1), default=1024, show_default=True)
@click.option("--seed", type=int, help="The seed to send. Default: none.")
@click.option(
    "--endpoint-sampling", is_flag=True, help="Send no temperature: some models accept none."
)
@asking_options
@click.option(
    "--train",
    "base",
    metavar="BASE",
    default="",
    type=Name("model"),
    help="Then train this base model.",
)
@click.option(
    "--beside",
    metavar="RUN",
    default="",
    type=Name("run"),
    help="Then report how near this run comes to MODEL.",
)
@click.option("--plan", "only_plan", is_flag=True, help="Show what it would ask and cost.")
@click.option("--detach", is_flag=True, help="Do not wait: the job keeps running by itself.")
@json_option
def rescue(
    model: str,
    address: str,
    key_env: str,
    key_file: str,
    prompts: Path | None,
    data: str | None,
    every_part: bool,
    limit: int | None,
    out: Path | None,
    temperature: float,
    top_p: float | None,
    max_tokens: int,
    seed: int | None,
    endpoint_sampling: bool,
    limits: AskingLimits,
    base: str,
    beside: str,
    only_plan: bool,
    detach: bool,
    as_json: bool,
) -> None:
    """Ask a hosted model that will be switched off everything in a file, and keep its answers as
    data.

    Answers are cached as they arrive: after an interruption, the same command continues where it
    stopped, and asks nothing twice. --train trains a local model on them; --beside reports how near
    one comes.
    """
    if (prompts is None) == (data is None):
        raise click.UsageError("Give --prompts FILE, or --data FILE.")
    if every_part and data is None:
        raise click.UsageError("--all is for --data; all of --prompts is asked anyway.")
    if detach and beside:
        raise click.UsageError("--beside waits for the answers: leave --detach out.")
    _check_names(base, beside)
    file = expanded(str(prompts or data)).absolute()
    questions = _questions(file, prompts is None, every_part, base, limit)
    order = Order(
        model=model,
        address=address,
        out=str((out or Path(f"rescue-{slug(model)}")).absolute()),
        prompts=str(file),
        prompts_sha256=file_hash(file),
        part="every turn" if prompts or every_part else "the held-out conversations",
        key_env=key_env,
        key_file=key_file and str(expanded(key_file).absolute()),
        sampling=Sampling(max_tokens, None if endpoint_sampling else temperature, top_p, seed),
        at_once=limits.at_once,
        tries=limits.tries,
        timeout=limits.timeout,
        per_minute=limits.per_minute,
        ceiling=limits.ceiling,
        base=base,
    )
    base_url = order.endpoint().base_url
    if only_plan:
        _show_plan(order, _planned(order, base_url, questions), as_json)
        return
    if base:
        say_warning(TERMS)
    job = start_rescue(order, base_url, questions)
    if detach:
        print_json({"id": job.id, "folder": order.out}) if as_json else talk.print(job.id)
        return
    result = _followed(job, order)
    report = {}
    if beside:
        report = beside_run(order, base_url, questions, beside, as_json)
    if as_json:
        print_json({"id": job.id, **result, **({"beside": report} if report else {})})
    elif not beside:
        _tell(order, result)


def _check_names(base: str, beside: str) -> None:
    """LuthierError for a model or a run that is not here: else it would be missed only once all
    answers are paid for."""
    if base and base != BUILTIN:
        resolve(base)
    if beside:
        find(beside, "run")


def _questions(
    file: Path, is_data: bool, every_part: bool, base: str, limit: int | None
) -> list[Question]:
    if not file.exists():
        raise LuthierError(
            "No such file", f"{file} does not exist.", f"{did_you_mean_file(file)}Check the path."
        )
    if not is_data:
        return read_questions([file], limit)
    is_recipe = file.suffix == ".toml"
    with inspected(str(file), None if is_recipe and not base else base or None) as inspection:
        refuse(inspection.summary)
        folder = RunFolder(inspection.job.directory)
        parts = [folder.heldout_samples]
        if every_part:
            parts.append(folder.train_samples)
        filled = [part for part in parts if part.stat().st_size]
        return read_questions(filled, limit, are_samples=True)


def _planned(order: Order, base_url: str, questions: list[Question]) -> dict[str, Any]:
    cache = cache_of(order.model, base_url)
    journal = Journal(cache)

    missing = unanswered(order, base_url, questions, journal)
    spent, most = Tokens(), Tokens()
    for question in questions:
        spent = spent.plus(spent_on(journal.found.get(order.key(question, base_url))))
    for question in missing:
        most = most.plus(most_tokens(question.messages, question.tools, order.sampling.max_tokens))
    return {
        "model": order.model,
        "endpoint": base_url,
        "questions": len(questions),
        "answered": len(questions) - len(missing),
        "spent_tokens": spent.total,
        "most_tokens": most.total,
        "most_cost": round(order.ceiling.cost_of(most), 4),
        "cache": str(cache),
        "folder": order.out,
    }


def _show_plan(order: Order, plan: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(plan)
        return
    unanswered_count = plan["questions"] - plan["answered"]
    talk.print(
        f"{counted(plan['questions'], 'question')} for {order.model} at {plan['endpoint']};"
        f" {plan['answered']:,} are answered already."
    )
    cost = f", a cost of {plan['most_cost']:g}" if plan["most_cost"] else ""
    talk.print(
        f"The other {unanswered_count:,} take {plan['most_tokens']:,} tokens{cost} at the very"
        " most."
    )
    if order.ceiling.in_words:
        talk.print(f"It stops before it takes more than {order.ceiling.in_words}.")
    talk.print(f"The answers go to {order.out}. Nothing was asked.")


def _followed(job: Job, order: Order) -> dict[str, Any]:
    return follow_to_end(job, f"Asking {order.model}")


def _tell(order: Order, result: dict[str, Any]) -> None:
    cost = f", {result['cost']:.4g}" if result["cost"] else ""
    say_done(
        f"{result['answered']:,} of {result['questions']:,} questions are answered",
        f"{result['tokens_in']:,} tokens in, {result['tokens_out']:,} out{cost}",
    )
    if result["at_ceiling"]:
        say_warning(
            f"{result['left']:,} questions are left: one more might exceed"
            f" {order.ceiling.in_words}. The same command with a higher ceiling continues."
        )
    if result["refused"] or result["failed"]:
        say_warning(
            f"{result['refused'] + result['failed']:,} questions have no answer:"
            f" {result['first_failure']}. The same command asks them again."
        )
    say_aside(
        f"  {counted(result['rows'], 'row')}: {order.out}/{ANSWERS_FILE}; its card: README.md"
    )
    if result["run"]:
        run = result["run"]
        say_done(f"{run} trains {order.base} on them")
        say_aside(f"  follow it: luthier log -f {run}  ·  then: the same command, --beside {run}")
    elif order.base:
        say_warning("Nothing was trained: the answers are not complete.")
    else:
        say_aside(f"  train on them: luthier train {order.out}/{ANSWERS_FILE} --model BASE")
