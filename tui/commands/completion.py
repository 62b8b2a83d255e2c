"""`luthier completion`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tui.commands.output import examples, json_option, print_json, say_aside, say_done, talk, write
from tui.completion.install import install as install_for
from tui.completion.shells import SHELLS, Shell, script


@click.command(
    epilog=examples("luthier completion --install", "luthier completion zsh > ~/.zfunc/_luthier")
)
@click.argument("shell", required=False, type=click.Choice(SHELLS))
@click.option("--install", is_flag=True, help="Write the script to where the shell looks for it.")
@json_option
def completion(shell: Shell | None, install: bool, as_json: bool) -> None:
    """Print the script that has your shell complete commands, options, and the names of runs,
    models, recipes, data files and servers. SHELL is your login shell unless you name it."""
    shell = shell or _login_shell()
    if not install:
        print_json({"shell": shell, "script": script(shell)}) if as_json else write(
            script(shell), end=""
        )
        return
    installed = install_for(shell)
    if as_json:
        entry = {"shell": shell, "file": str(installed.path), "then": installed.then}
        print_json(entry | {"line": installed.line})
        return
    say_done(f"Wrote {installed.path}.")
    say_aside(installed.then)
    if installed.line:
        talk.print(f"  {installed.line}", soft_wrap=True)  # to be copied


def _login_shell() -> Shell:
    name = Path(os.environ.get("SHELL", "")).name
    for shell in SHELLS:
        if name == shell:
            return shell
    raise click.UsageError("Name the shell: luthier completion bash, zsh or fish.")
