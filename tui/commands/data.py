"""`luthier data`: what becomes of each row, and which tokens are trained."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from jobs.counting import counted
from jobs.files import expanded
from jobs.job import Job, stop, wait
from jobs.luthier_error import LuthierError
from jobs.state import Done
from models.builtin import BUILTIN
from models.folder import ModelFolder
from models.hub_names import is_url
from models.model_directory import is_model_directory
from models.stored_sample import StoredSample
from trainer.data.files import check_source
from trainer.data.hub import HUB
from trainer.data.inspection import (
    Inspection,
    StoredProposal,
    Summary,
    Vocabulary,
    order_of,
    read_proposals,
    read_vocabulary,
    start,
)
from trainer.data.ledger import Entry
from trainer.recipe import Recipe, load
from tui.commands.from_server import from_server
from tui.commands.output import examples, few, json_option, out, plain_table, print_json, talk
from tui.commands.progress import follow_job
from tui.commands.train import prepare_model
from tui.completion.name_parameter import Name
from tui.data.token_text import Kind, legend, lines_of, sign_and_word, tokens_of, why
from tui.serve.future_server import beyond_server, future_server
from tui.shared.foreign_text import spelled_out
from tui.shared.glyphs import glyphs

if TYPE_CHECKING:
    from tui.data.token_text import Token

_STYLES: dict[Kind, str] = {
    "untrained": "dim",
    "trained": "bold underline green",
    "stop": "bold reverse green",
    "mark": "bold yellow",
}

_source = click.argument("source", metavar="FILE", type=Name("data file"))
_model = click.option(
    "--model",
    type=Name("model"),
    help="The model (name or folder) whose chat template and tokenizer to use (default: builtin).",
)


@click.group(
    epilog=examples("luthier data check mine.jsonl", "luthier data show mine.jsonl --model builtin")
)
def data() -> None:
    """Inspect data: a file, a folder, hub:owner/name[/config][:split], or a recipe (.toml) with its
    data, format and policies."""


data.add_command(from_server)


@data.command(epilog=examples("luthier data check mine.jsonl"))
@_source
@_model
@json_option
def check(source: str, model: str | None, as_json: bool) -> None:
    """Show what happens to each row. Exits with 1 if a policy stops the run or nothing is left to
    train on."""
    with inspected(source, model, proposes=not as_json) as inspection:
        proposals = read_proposals(inspection.job)
        if as_json:
            print_json(
                {
                    **_summary_json(inspection.summary),
                    "proposals": [_proposal_json(proposal) for proposal in proposals],
                }
            )
        else:
            show_summary(inspection.summary)
            show_proposals(proposals, inspection.vocabulary)
            _show_beyond_server(inspection)
        refuse(inspection.summary)


def refuse(summary: Summary) -> None:
    """Raise what stands against training on the data."""
    if summary.error is not None:
        raise LuthierError(summary.error.title, summary.error.message, summary.error.hint)


@data.command(epilog=examples("luthier data show mine.jsonl --model builtin"))
@_source
@_model
@click.option(
    "--row",
    type=click.IntRange(min=0),
    help="The row to show, counted from 0 (default: the first trained row).",
)
@click.option("--ids", is_flag=True, help="Show one token per line, with its id.")
@json_option
def show(source: str, model: str | None, row: int | None, ids: bool, as_json: bool) -> None:
    """Show the samples made from a row, with each token marked as trained, stop token or not
    trained."""
    with inspected(source, model) as inspection:
        entry = _entry(inspection, row)
        samples = [inspection.sample(sample_id) for sample_id in entry.samples]
        sides = [side for sample in samples for side in sample.sides]
        if as_json:
            print_json(
                {
                    **_entry_json(entry),
                    "samples": [_sample_json(*side, inspection) for side in sides],
                }
            )
            return
        out.print(_heading(entry), style="bold")
        for kind, sample in sides:
            if kind:
                out.print(Text(kind), style="bold")
            _print_tokens(tokens_of(sample, inspection.vocabulary), ids)
        if not samples:
            out.print(Text(why(entry)))
            out.print(Text(spelled_out(inspection.row_text(entry) or "")), style="dim")


@data.command(epilog=examples("luthier data tokens mine.jsonl --out tokens.jsonl"))
@_source
@_model
@click.option(
    "--out",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The file to write.",
)
@json_option
def tokens(source: str, model: str | None, target: Path, as_json: bool) -> None:
    """Write the exact training samples, one JSON object per line: source, turns, input_ids, labels
    (-100 for tokens that are not trained)."""
    if not target.absolute().parent.is_dir():
        raise LuthierError(
            "No such folder", f"{target.absolute().parent} does not exist.", "Create it first."
        )
    with inspected(source, model) as inspection:
        refuse(inspection.summary)
        count = _write_samples(inspection, target)
        if as_json:
            print_json({"path": str(target.absolute()), "samples": count})
        else:
            talk.print(f"{counted(count, 'sample')} in {target}")


@contextmanager
def inspected(source: str, model: str | None, *, proposes: bool = False) -> Iterator[Inspection]:
    """Look at the data in a job that goes when it has been read. Ctrl-C stops it. `proposes`: rows
    that cannot be read are shown as they might be."""
    recipe = recipe_of(source, model)
    prepare_model(recipe)
    job = start(recipe)
    try:
        try:
            follow_job(job, f"Inspecting {job.spec.name}", lambda state: isinstance(state, Done))
        except LuthierError:
            if proposes and (proposals := read_proposals(job)):
                show_proposals(proposals, read_vocabulary(job))
            raise
        yield Inspection(job)
    finally:
        end_job(job)


def end_job(job: Job) -> None:
    stop(job)
    wait(job, seconds=20)
    shutil.rmtree(job.directory, ignore_errors=True)


def recipe_of(source: str, model: str | None) -> Recipe:
    """The recipe in a .toml file, or one of defaults around a data source."""
    import msgspec

    if source.endswith(".toml"):
        recipe = load(Path(source))
        return recipe if model is None else msgspec.structs.replace(recipe, model=model)
    where = source if source.startswith(HUB) or is_url(source) else str(expanded(source).absolute())
    check_source(where)
    return Recipe(data=[where], model=model or BUILTIN)


def _entry(inspection: Inspection, row: int | None) -> Entry:
    """The ledger's entry of a row; without one, the first that has samples."""
    ledger = inspection.ledger
    while not ledger.whole:
        ledger.extend(1.0)
    places = ledger.matching("" if row is None else str(row))
    entries = (ledger.entry(index) for index in places)
    entry = next((entry for entry in entries if row is not None or entry.samples), None)
    if entry is None:
        lack = (
            "has no trained rows"
            if row is None
            else f"has no row {row}: it has {len(ledger):,}, counted from 0"
        )
        raise LuthierError(
            "Nothing to show",
            f"{', '.join(inspection.summary.sources)} {lack}.",
            (
                "`luthier data check` says why."
                if row is None or not len(ledger)
                else f"Choose a row from 0 to {len(ledger) - 1:,}."
            ),
        )
    return entry


def _write_samples(inspection: Inspection, target: Path) -> int:
    """Under another name until it is whole."""
    import json

    import msgspec

    partial = target.with_name(f".{target.name}.partial")
    count = 0
    try:
        with partial.open("w", encoding="utf-8") as file:
            for _, sample in inspection.samples():
                record: dict[str, Any] = {
                    "source": sample.source,
                    "turns": sample.turns,
                    "input_ids": sample.input_ids,
                }
                record["labels"] = sample.labels
                if sample.weights is not None:
                    record["weights"] = sample.weights
                if sample.rejected is not None:
                    record["rejected"] = msgspec.to_builtins(sample.rejected)
                if sample.is_good is not None:
                    record["is_good"] = sample.is_good
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
                count += 1
        partial.replace(target)
    except OSError as error:
        raise LuthierError(
            "The samples could not be written",
            f"{target}: {error.strerror}.",
            "Choose another location with --out.",
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return count


# What is printed


def leaks_text(leaks: Mapping[str, int]) -> str:
    """What became of conversations that nearly equal another one: the choice of those that are held
    out passes over them, or, as the recipe may want it, only counts them."""
    parts = []
    if moved := leaks.get("moved", 0):
        verb, equals = ("is", "it nearly equals") if moved == 1 else ("are", "they nearly equal")
        parts.append(
            f"{counted(moved, 'conversation')} {verb} trained instead of held out, because {equals}"
            " another one."
        )
    if reported := leaks.get("reported", 0):
        verb = "equals" if reported == 1 else "equal"
        parts.append(f"{counted(reported, 'held-out conversation')} nearly {verb} another one.")
    return " ".join(parts)


def show_summary(summary: Summary) -> None:
    for reading in summary.formats:
        out.print(Text.assemble(("format  ", "dim"), (reading.name, "bold"), "  ", reading.reason))
        if reading.unused:
            out.print(Text.assemble(("unused  ", "dim"), few(reading.unused)))
    if summary.others:
        out.print(
            Text.assemble(
                ("skipped ", "dim"),
                few([Path(path).name for path in summary.others]),
                " (not data)",
            )
        )
    out.print()
    table = plain_table("state", ">rows", ">tokens", ">lost", ">share")
    for state, amount in summary.states.items():
        share = f"{100 * amount.rows / summary.rows:.1f} %" if summary.rows else ""
        table.add_row(
            f"{_state_glyph(state)} {state}",
            f"{amount.rows:,}",
            f"{amount.tokens:,}",
            f"{amount.lost:,}",
            share,
        )
    table.add_row(
        "  all", f"{summary.rows:,}", f"{summary.tokens:,}", f"{summary.lost:,}", "", style="bold"
    )
    out.print(table)
    out.print()
    if summary.problems:
        many_files = sum(len(reading.files) for reading in summary.formats) > 1
        problems = plain_table("reason", "state", ">rows", "first rows", "the first of them")
        for problem in summary.problems:
            first = ", ".join(_place(position, many_files) for position in problem.first)
            problems.add_row(
                problem.code,
                problem.state,
                f"{problem.rows:,}",
                first,
                Text(spelled_out(problem.detail), overflow="ellipsis"),
            )
        out.print(problems)
        out.print()
    trained = (
        f"{summary.trained_tokens:,} of these tokens are trained"
        if summary.tokens
        else "no token is trained"
    )
    out.print(
        Text(
            f"{counted(summary.train, 'sample')} to train, {summary.heldout:,} held out; {trained}."
        )
    )
    if leaks := leaks_text(summary.leaks):
        out.print(Text(leaks))
    lengths = summary.lengths
    if lengths.counts:
        out.print(
            Text(
                f"Lengths: median {lengths.median:,}, longest {lengths.longest:,} of"
                f" {summary.context:,} tokens (train.max_length)."
            )
        )
    for check_ in summary.checks:
        if check_.status != "ok":
            colour = "red" if check_.status == "fail" else "yellow"
            out.print(
                Text.assemble(
                    (f"{check_.status}  ", colour), (f"{check_.name}: ", "bold"), check_.detail
                )
            )


def show_proposals(proposals: list[StoredProposal], vocabulary: Vocabulary) -> None:
    """Sections [format] to paste into a recipe, each with rows as it would read them and what of
    them would be trained."""
    for proposal in proposals:
        out.print(Text(proposal.title, style="bold"))
        out.print(Text(proposal.toml, style="green"), soft_wrap=True)
        for example in proposal.examples:
            out.print(
                Text(
                    f"row {example.row}{f': {example.problem}' if example.problem else ''}",
                    style="dim",
                )
            )
            if example.sample is not None:
                _print_lines(tokens_of(example.sample, vocabulary))
        out.print()


def _proposal_json(proposal: StoredProposal) -> dict[str, Any]:
    import msgspec

    built: dict[str, Any] = msgspec.to_builtins(proposal)
    return built


def _print_lines(tokens: list[Token]) -> None:
    for line in lines_of(tokens, out.width):
        out.print(Text.assemble(*((text, _STYLES[kind]) for text, kind in line)), soft_wrap=True)


def _show_beyond_server(inspection: Inspection) -> None:
    summary, directory = inspection.summary, Path(order_of(inspection.job).model_directory)
    if not is_model_directory(directory):  # removed meanwhile
        return
    positions = ModelFolder(directory).context_length
    for warning in beyond_server(
        summary.lengths.longest, positions, future_server(summary.model, directory, 0)
    ):
        out.print(Text.assemble(("warn  ", "yellow"), ("serving: ", "bold"), warning))


def _place(position: dict[str, Any], with_file: bool) -> str:
    return (
        f"{Path(str(position['file'])).name}:{position['row']}"
        if with_file
        else str(position["row"])
    )


def _print_tokens(tokens: list[Token], ids: bool) -> None:
    if ids:
        table = plain_table(">place", ">id", "trained", ">weight", "text")
        for index, token in enumerate(tokens):
            weight = f"{token.weight:g}" if token.kind != "untrained" else ""
            table.add_row(
                str(index),
                str(token.id),
                sign_and_word(token.kind),
                weight,
                Text(token.shown, _STYLES[token.kind]),
            )
        out.print(table)
        return
    _print_lines(tokens)
    trained = sum(token.kind != "untrained" for token in tokens)
    out.print()
    signs = "   ".join(f"{sign} {words}" for sign, words in legend())
    talk.print(Text(f"{signs}   {trained:,} of {len(tokens):,} tokens are trained", style="dim"))


def _heading(entry: Entry) -> Text:
    reasons = f" ({', '.join(entry.reasons)})" if entry.reasons else ""
    return Text(
        f"{entry.file}, row {entry.row}: {_state_glyph(entry.state)} {entry.state}{reasons}"
    )


def _state_glyph(state: str) -> str:
    signs = glyphs()
    return {
        "kept": signs.done,
        "repaired": signs.repaired,
        "split": signs.split,
        "dropped": signs.failed,
    }[state]


def _summary_json(summary: Summary) -> dict[str, Any]:
    import msgspec

    fields: dict[str, Any] = msgspec.to_builtins(summary)
    return {**fields, "rows": summary.rows, "tokens": summary.tokens, "lost": summary.lost}


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "source": {"file": entry.file, "row": entry.row},
        "state": entry.state,
        "reasons": entry.reasons,
    }


def _sample_json(kind: str, sample: StoredSample, inspection: Inspection) -> dict[str, Any]:
    tokens = tokens_of(sample, inspection.vocabulary)
    return {
        **({"side": kind} if kind else {}),
        "turns": sample.turns,
        "input_ids": sample.input_ids,
        "labels": sample.labels,
        "tokens": [
            {"id": token.id, "text": token.text, "class": token.kind, "weight": token.weight}
            for token in tokens
        ],
    }
