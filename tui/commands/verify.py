"""`luthier verify` and `luthier sign`: what an export's papers claim, and a signature over it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from jobs.luthier_error import LuthierError
from tui.commands.output import (
    examples,
    json_option,
    out,
    print_json,
    say_aside,
    say_done,
    styled,
    write,
)
from tui.commands.verdicts import headline, sentence_table

if TYPE_CHECKING:
    from models.verification.verify import Verification

_SUMMARIES = {
    "green": "Every claim holds.",
    "amber": "No claim is wrong; not every one could be confirmed.",
    "red": "At least one claim is wrong.",
}


@click.command(
    epilog=examples(
        "luthier verify captain-export",
        "luthier verify captain.gguf",
        "luthier verify captain-export --key me.pub",
    )
)
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@click.option(
    "--key",
    metavar="PUBLIC_KEY",
    type=click.Path(path_type=Path),
    help="The public key of whoever should have signed the folder, as a PEM file.",
)
@json_option
def verify(path: Path, key: Path | None, as_json: bool) -> None:
    """Check what an exported model's papers claim: files, weights, template, recipe, card,
    certificate, signature. PATH is its folder, or a file such as captain.gguf with its papers
    (captain.gguf.papers.json) beside it. Needs nothing else: no network, and nothing of the machine
    that made it.

    Exit status: 1 if a claim is wrong.
    """
    from models.verification.verify import verify as check

    verification = check(path, key)
    if as_json:
        print_json(verification.to_json())
    else:
        _print(verification)
    if verification.verdict == "red":
        sys.exit(1)


@click.command(epilog=examples("luthier sign captain-export --key me.pem"))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--key",
    metavar="KEY",
    required=True,
    type=click.Path(path_type=Path),
    help="Your private key, an elliptic-curve PEM file.",
)
@json_option
def sign(folder: Path, key: Path, as_json: bool) -> None:
    """Sign an exported model with your key. The signature covers every file of the folder and lies
    in it as model.sig. Prints the path of the public key, which others need to verify it.

    LUTHIER_SIGNING_PASSWORD holds the password of a protected key.
    """
    public_key = sign_folder(folder, key)
    if as_json:
        print_json({"folder": str(folder.absolute()), "public_key": str(public_key.absolute())})
    else:
        write(str(public_key))


def sign_folder(folder: Path, key: Path) -> Path:
    """Sign, and say how the signature is checked. The path of the public key."""
    from models.verification.signature import PASSWORD_VARIABLE
    from models.verification.signature import sign as do_sign

    public_key = do_sign(folder, key, os.environ.get(PASSWORD_VARIABLE, ""))
    say_done("Signed", str(folder))
    say_aside(f"  luthier verify {folder} --key {public_key} checks it.")
    return public_key


def check_key(key: Path) -> None:
    """Before a long export: LuthierError if the key cannot sign anything."""
    if not key.is_file():
        raise LuthierError("Key not readable", f"{key}: no such file.", "Check the path.")


def _print(verification: Verification) -> None:
    record, verdict = verification.record, verification.verdict
    title = styled("  [bold]$title[/]", title=record.title)
    out.print(Text.assemble(headline(verdict, _SUMMARIES[verdict]), title))
    about = f"{record.kind}, run {record.run}" if record.run else record.kind
    out.print(f"{about}\n", style="dim")
    out.print(sentence_table(verification.checks, "claim"))
