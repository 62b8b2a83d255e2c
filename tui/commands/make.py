"""`luthier make`: documents and transcripts become conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jobs.files import expanded
from jobs.job import Job
from jobs.state import Done
from models import foreign
from tui.commands.asking_options import AskingLimits, asking_options
from tui.commands.data import end_job
from tui.commands.make_report import show_plan, show_result
from tui.commands.output import examples, json_option, print_json, say_aside, write
from tui.commands.progress import follow_job, follow_to_end
from workshop.making.default_endpoint import address_and_model
from workshop.making.document_files import documents_at
from workshop.making.launch import make as start_making
from workshop.making.order import Order, Terms, out_folder, roles_in
from workshop.making.preview import PLAN_FILE, Plan
from workshop.making.recipe import METHODS, copy, load


@click.command(
    epilog=examples(
        "luthier make memoir.epub --recipe interview",
        "luthier make episodes/*.vtt --recipe dialogue --speaker Ada=assistant --plan",
        "luthier make manual.pdf --at openai --model gpt-5-mini --max-tokens-total 900000",
        "luthier make --copy my-recipe --recipe qa",
    )
)
@click.argument("files", nargs=-1, metavar="FILE...", type=click.Path())
@click.option(
    "--recipe",
    default="qa",
    show_default=True,
    metavar="NAME|FOLDER",
    help=f"How conversations are made: {', '.join(METHODS)}, or a folder of your own.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="The folder to write. Default: made-FILE-RECIPE."
)
@click.option(
    "--at",
    "address",
    default="",
    metavar="NAME|URL",
    help="The endpoint to ask: as `luthier endpoints` names it, or its address. Default: Luthier's"
    " own server.",
)
@click.option("--model", default="", help="The model to ask. Default: the server's base model.")
@click.option(
    "--key-env", default="", metavar="VARIABLE", help="The environment variable that holds the key."
)
@click.option("--key-file", default="", metavar="FILE", help="The file that holds the key.")
@click.option(
    "--speaker",
    "speakers",
    multiple=True,
    metavar="NAME=ROLE",
    help="With dialogue: what a speaker becomes, assistant, user or drop.",
)
@click.option(
    "--limit", type=click.IntRange(1), help="Use only the first N passages, to try it out."
)
@asking_options
@click.option("--plan", "only_plan", is_flag=True, help="Show passages and speakers; ask nobody.")
@click.option("--copy", "copied", metavar="FOLDER", help="Copy the recipe to edit it.")
@click.option("--detach", is_flag=True, help="Do not wait: the job keeps running by itself.")
@json_option
def make(
    files: tuple[str, ...],
    recipe: str,
    out: Path | None,
    address: str,
    model: str,
    key_env: str,
    key_file: str,
    speakers: tuple[str, ...],
    limit: int | None,
    limits: AskingLimits,
    only_plan: bool,
    copied: str | None,
    detach: bool,
    as_json: bool,
) -> None:
    """Make conversations to train on from documents and transcripts.

    FILE is text, Markdown, HTML, EPUB, PDF, DOCX, SRT or WebVTT, or a folder of them. The answers
    are the words of the documents; a model writes the questions. It stops and resumes at any
    moment: the same command asks nothing twice.
    """
    if copied is not None:
        _copy(recipe, expanded(copied), as_json)
        return
    if not files:
        raise click.UsageError("Name a document, or a folder of documents.")
    making = load(recipe)
    paths = documents_at(files)
    terms = None
    if making.recipe.asks and not (only_plan and not address):
        address, model = address_and_model(address, model)
        terms = _terms(address, model, key_env, key_file, limits)
    order = Order(
        files=[str(path) for path in paths],
        out=str((out or out_folder(paths[0], making)).absolute()),
        making=making,
        terms=terms,
        roles=roles_in(speakers, making),
        limit=limit,
        only_plan=only_plan,
    )
    base_url = terms.endpoint().base_url if terms else ""
    job = start_making(order, base_url)
    if only_plan:
        _show_plan(job, order, as_json)
    elif detach:
        print_json({"id": job.id, "folder": order.out}) if as_json else write(job.id)
    else:
        result = _followed(job, order)
        if as_json:
            print_json({"id": job.id, **result})
        else:
            show_result(order, result)


def _copy(recipe: str, folder: Path, as_json: bool) -> None:
    written = copy(recipe, folder)
    if as_json:
        print_json({"files": [str(path) for path in written]})
        return
    for path in written:
        write(str(path))
    say_aside(f"  edit them, then: luthier make FILE... --recipe {folder}")


def _terms(address: str, model: str, key_env: str, key_file: str, limits: AskingLimits) -> Terms:
    return Terms(
        model,
        address,
        key_env,
        key_file and str(expanded(key_file).absolute()),
        limits.at_once,
        limits.tries,
        limits.timeout,
        limits.per_minute,
        limits.ceiling,
    )


def _show_plan(job: Job, order: Order, as_json: bool) -> None:
    try:
        follow_job(job, "Reading the documents", lambda state: isinstance(state, Done))
        plan = foreign.read(job.directory / PLAN_FILE, Plan)
    finally:
        end_job(job)
    show_plan(order, plan, as_json)


def _followed(job: Job, order: Order) -> dict[str, Any]:
    return follow_to_end(job, "Making conversations")
