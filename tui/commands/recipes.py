"""`luthier recipes`."""

from __future__ import annotations

import click

from trainer.presets import find_preset, presets
from tui.commands.output import examples, json_option, out, plain_table, print_json, styled, write


@click.command(epilog=examples("luthier recipes", "luthier recipes mistral-7b-oasst > mine.toml"))
@click.argument("name", required=False)
@click.option("--model", metavar="MODEL", help="Put this model (name or folder) into the recipe.")
@click.option(
    "--data",
    metavar="FILE",
    multiple=True,
    help="Put this data set into the recipe. Repeat the option for several.",
)
@json_option
def recipes(name: str | None, model: str | None, data: tuple[str, ...], as_json: bool) -> None:
    """List well-known recipes to start from, or print one (`luthier recipes NAME > mine.toml`)."""
    if name is not None:
        preset = find_preset(name)
        text = preset.written_for(model, data)
        if as_json:
            print_json({"name": name, "purpose": preset.purpose, "text": text})
        else:
            write(text, end="")
        return
    if model or data:
        raise click.UsageError("--model and --data fill in a recipe: add its NAME.")
    if as_json:
        print_json([{"name": preset.name, "purpose": preset.purpose} for preset in presets()])
        return
    table = plain_table("name", "what for")
    for preset in presets():
        table.add_row(preset.name, styled("[dim]$purpose[/]", purpose=preset.purpose))
    out.print(table)
