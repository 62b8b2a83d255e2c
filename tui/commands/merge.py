"""`luthier merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click
from rich.text import Text

from jobs.home import models_directory
from models.folder import ModelFolder
from models.merge import receipt
from models.merge.launch import MergeSettings, merge_settings, start_merge
from models.merge.plan import DTYPES
from models.registry import resolve, valid_name
from models.runs import Run
from tui.commands.other_base import say_other_base
from tui.commands.output import (
    examples,
    json_option,
    plain_table,
    print_json,
    say_aside,
    talk,
    write,
)
from tui.commands.progress import follow_to_end
from tui.completion.name_parameter import Name
from workshop.number_format import duration


@click.command(epilog=examples("luthier merge captain"))
@click.argument("run", required=False, type=Name("run"))
@click.option(
    "--base", metavar="MODEL", type=Name("model"), help="The base model: a name or a folder."
)
@click.option(
    "--adapter",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A PEFT adapter's folder.",
)
@click.option(
    "--out",
    "out_directory",
    type=click.Path(path_type=Path),
    help="The folder for the merged model (default: in the run's folder).",
)
@click.option("--name", help="Add it to Luthier's models under this name.")
@click.option(
    "--into",
    type=click.Choice(["base", "dequantised", "closer"]),
    default="base",
    show_default=True,
    help=(
        "For QLoRA: merge into the 16-bit weights (base), into the 4-bit values that the adapter"
        " saw (dequantised), or into whichever is measured to be closer to the trained model"
        " (closer)."
    ),
)
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    help="For --into closer: the held-out turns to measure on (default: the run's).",
)
@click.option(
    "--dtype",
    type=click.Choice(list(DTYPES)),
    help="The type of the merged weights (default: the base's).",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where to compute.",
)
@click.option(
    "--force", is_flag=True, help="Replace an existing model once the new one is complete."
)
@click.option("--detach", is_flag=True, help="Do not wait; print the job's id.")
@json_option
def merge(
    run: str | None,
    base: str | None,
    adapter: Path | None,
    out_directory: Path | None,
    name: str | None,
    into: Literal["base", "dequantised", "closer"],
    samples: Path | None,
    dtype: str | None,
    device: Literal["cpu", "cuda"],
    force: bool,
    detach: bool,
    as_json: bool,
) -> None:
    """Merge a RUN's adapter, or any PEFT adapter, into its base model. Prints the merged model's
    folder.

    The arithmetic is PEFT's in float32, to the last bit. It needs a few hundred megabytes of
    memory, whatever the size of the model.
    """
    if (run is None) == (base is None and adapter is None):
        raise click.UsageError("Name a RUN, or use --base and --adapter.")
    if out_directory is not None and name is not None:
        raise click.UsageError("Use --out or --name, not both.")
    target = models_directory() / valid_name(name) if name is not None else out_directory
    merged_run = Run.named(run) if run is not None else None
    options: dict[str, Any] = {"into": into, "dtype": dtype, "device": device, "replace": force}
    options |= {"out": str(target.absolute())} if target is not None else {}
    options |= {"samples": str(samples.absolute())} if samples is not None else {}
    if merged_run is not None:
        settings = merge_settings(merged_run, **options)
    else:
        if base is None or adapter is None or target is None:
            raise click.UsageError("--base and --adapter need each other, and --out or --name.")
        settings = MergeSettings(
            base=str(resolve(base)), adapter=str(adapter.absolute()), **options
        )
    merging = start_merge(settings, merged_run)
    say_other_base(Path(settings.adapter), Path(settings.base))
    if detach:
        (
            print_json({"id": merging.id, "directory": str(merging.directory)})
            if as_json
            else write(merging.id)
        )
        return
    name = merged_run.name if merged_run is not None else Path(settings.adapter).name
    follow_to_end(merging, f"Merging {name}")
    written = receipt.read(Path(settings.out))
    if as_json:
        fields = {
            key: value
            for key, value in written.to_json().items()
            if key not in ("files", "tensors", "base", "adapter")
        }
        print_json({"id": merging.id, "path": settings.out, **fields})
        return
    _show(written, Path(settings.out))
    if written.into == "base" and ModelFolder(Path(settings.adapter)).card.base_bits == 4:
        say_aside(
            "It was trained with 4-bit values of the base: --into closer --force measures which"
            " merge is closer to that."
        )
    write(settings.out)


def _stop_tokens(written: receipt.Receipt, folder: Path) -> str:
    texts = {token_id: text for text, token_id in ModelFolder(folder).token_ids.items()}
    return ", ".join(texts.get(id_, str(id_)) for id_ in written.stop_token_ids) or "nothing known"


def _show(written: receipt.Receipt, folder: Path) -> None:
    table = plain_table("", "")
    ways: dict[str, int] = {}
    for record in written.tensors:
        ways[record.made] = ways.get(record.made, 0) + 1
    table.add_row(
        _dim("tensors"), ", ".join(f"{count} {way}" for way, count in sorted(ways.items()))
    )
    table.add_row(_dim("largest change"), f"{written.largest_change:.4g}")
    table.add_row(_dim("answers end with"), _stop_tokens(written, folder))
    if written.measured is not None:
        distances = ", ".join(
            f"{name} {distance['kl']:.4f}" for name, distance in written.measured["merges"].items()
        )
        unit = f"nats per token from the trained model, over {written.measured['tokens']} tokens"
        table.add_row(_dim("distance"), Text.assemble(f"{distances} ", (unit, "dim")))
        table.add_row(_dim("merged into"), f"{written.into}, which is closer")
    table.add_row(_dim("took"), duration(written.seconds))
    talk.print(table)


def _dim(text: str) -> Text:
    return Text(text, "dim")
