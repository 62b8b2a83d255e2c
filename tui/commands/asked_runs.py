"""What `luthier plan` and `luthier train` are asked for: a recipe file or data, with changes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from jobs.job import find
from jobs.luthier_error import LuthierError
from trainer.data.refused_data import RefusedData
from trainer.data_recipe import is_data, recipe_of_data, recipe_text
from trainer.key_values import as_text
from trainer.launch import frozen_recipe
from trainer.recipe import Recipe, read_text
from trainer.recipe_changes import with_changes
from trainer.recipe_draft import RecipeDraft
from trainer.sweep import Sweep, load_runs
from tui.commands.output import say_done
from tui.completion.name_parameter import Name

model_option = click.option(
    "--model",
    metavar="MODEL",
    type=Name("model"),
    help="For a data file: the base model. Default: builtin.",
)
set_option = click.option(
    "--set",
    "changes",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a key of the recipe, such as train.epochs=1. Repeat the option for several.",
)


def asked_for(
    path: Path | None, model: str | None, changes: Sequence[str], again: str = ""
) -> tuple[Recipe | Sweep, bool]:
    """What a recipe file or a data source asks for, and whether it is data; without either, what
    the frozen recipe of an earlier run does."""
    if path is None:
        if model or changes:
            option = "--model" if model else "--set"
            raise click.UsageError(
                f"{option} does not go with --again, which repeats a run as it was."
            )
        return frozen_recipe(find(again, "run")), False
    if is_data(path):
        recipe = recipe_of_data(path, model)
        if not changes:
            return recipe, True
        return with_changes(RecipeDraft.of_recipe(recipe), changes).asked(), True
    if model:
        raise click.UsageError(
            f"--model is for a data file, but {path} is a recipe and names its own model."
        )
    if not changes:
        return load_runs(path), False
    return with_changes(RecipeDraft(read_text(path), path), changes).asked(), False


def save(recipe: Recipe, changes: Sequence[str], path: Path) -> None:
    """Write the recipe file of a data source. LuthierError if there is a file already."""
    text = recipe_text(recipe, path.absolute().parent)
    text = with_changes(RecipeDraft(text, path.absolute()), changes).text
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise LuthierError(
            "The file already exists",
            f"--save would overwrite {path}.",
            "Choose another name for --save.",
        ) from None
    say_done(f"The recipe is in {path}. Change it, then run: luthier train {path}")


@contextmanager
def offering_changes(
    path: Path | None, model: str | None, changes: Sequence[str]
) -> Iterator[None]:
    """Where data is refused, the error has the command with which it would be read."""
    try:
        yield
    except RefusedData as refusal:
        settable = (each.values for each in refusal.proposals if None not in each.values.values())
        values = next(settable, None)
        if path is None or values is None:
            raise
        command = ["luthier", "train", str(path), *(("--model", model) if model else ())]
        for change in (*changes, *(f"{key}={as_text(value)}" for key, value in values.items())):
            command += ["--set", change]
        hint = f"{refusal.hint}\nOn the command line: {shlex.join(command)}"
        raise LuthierError(refusal.title, refusal.message, hint) from None
