"""`luthier recipes`."""

from __future__ import annotations

import click

from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean
from trainer.presets import find_preset, presets
from tui.commands.output import examples, json_option, out, plain_table, print_json, styled, write
from tui.completion.name_parameter import Name


@click.command(
    epilog=examples(
        "luthier recipes",
        "luthier recipes mistral-7b-oasst > mine.toml",
        "luthier recipes mistral-7b-oasst --model builtin --set train.base_bits=16",
    )
)
@click.argument("name", required=False, type=Name("preset"))
@click.option(
    "--model",
    metavar="MODEL",
    type=Name("model"),
    help="Put this model (name or folder) into the recipe.",
)
@click.option(
    "--data",
    metavar="FILE",
    type=Name("data file"),
    multiple=True,
    help="Put this data set into the recipe. Repeat the option for several.",
)
@click.option(
    "--set",
    "changes",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a key of the recipe, such as train.epochs=1. Repeat the option for several.",
)
@json_option
def recipes(
    name: str | None,
    model: str | None,
    data: tuple[str, ...],
    changes: tuple[str, ...],
    as_json: bool,
) -> None:
    """List well-known recipes to start from, or print one (`luthier recipes NAME > mine.toml`)."""
    if name is not None:
        preset = find_preset(name)
        text = _changed(preset.written_for(model, data), changes)
        if as_json:
            print_json({"name": name, "purpose": preset.purpose, "text": text})
        else:
            write(text, end="")
        return
    if model or data or changes:
        raise click.UsageError("--model, --data and --set fill in a recipe: add its NAME.")
    if as_json:
        print_json([{"name": preset.name, "purpose": preset.purpose} for preset in presets()])
        return
    table = plain_table("name", "what for")
    for preset in presets():
        table.add_row(preset.name, styled("[dim]$purpose[/]", purpose=preset.purpose))
    out.print(table)


def _changed(text: str, changes: tuple[str, ...]) -> str:
    """The recipe with other values of some keys. LuthierError if it is none any more."""
    from trainer.key_values import from_text, key_types
    from trainer.recipe import parse
    from trainer.recipe_draft import RecipeDraft

    draft = RecipeDraft(text)
    for change in changes:
        key, equals, value = (part.strip() for part in change.partition("="))
        if key not in key_types():
            raise LuthierError(
                "No such key of a recipe",
                f"--set {change}: there is no key {key!r}.",
                f"{did_you_mean(key, key_types())}docs/recipe.md lists all keys.",
            )
        if not equals or not value:
            raise LuthierError(
                "Not a change", f"--set {change} is not KEY=VALUE.", "For example: train.epochs=1"
            )
        draft = draft.with_value(key, from_text(key, value))
    if changes:
        parse(draft.text, "the recipe")
    return draft.text
