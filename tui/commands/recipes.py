"""`luthier recipes`."""

from __future__ import annotations

import click

from trainer.presets import find_preset, presets
from trainer.recipe_changes import with_changes
from trainer.recipe_draft import RecipeDraft
from tui.commands.asked_runs import set_option
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
@set_option
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
        text = with_changes(RecipeDraft(preset.written_for(model, data)), changes).text
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
