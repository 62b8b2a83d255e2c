"""Where each shell looks for completions of its own accord."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from jobs.files import write_atomic
from tui.completion.shells import Shell, script

_BASH_COMPLETION = (
    Path("/usr/share/bash-completion/bash_completion"),
    Path("/usr/local/share/bash-completion/bash_completion"),
    Path("/etc/bash_completion"),
)
_SLOWEST_START = 10.0  # seconds that a user's .zshrc may take
_FOLDERS_MARK = "luthier: "


@dataclass(frozen=True)
class Installed:
    path: Path
    then: str
    """What the user does next."""
    line: str = ""
    """What that adds to the shell's start file."""


def install(shell: Shell) -> Installed:
    """Write the shell's script for this user."""
    match shell:
        case "bash":
            return _for_bash()
        case "zsh":
            return _for_zsh()
        case "fish":
            return _for_fish()


def _for_bash() -> Installed:
    chosen_folder = os.environ.get("BASH_COMPLETION_USER_DIR")
    usual_folder = _user_folder("XDG_DATA_HOME", ".local/share") / "bash-completion"
    folder = Path(chosen_folder) if chosen_folder else usual_folder
    path = _write(folder / "completions" / "luthier", "bash")
    if any(each.exists() for each in _BASH_COMPLETION):
        return Installed(path, "New shells complete luthier.")
    return Installed(
        path,
        "The package bash-completion, which loads this file, is not installed. Add this line to"
        " ~/.bashrc:",
        f"source {shlex.quote(str(path))}",
    )


def _for_zsh() -> Installed:
    looked_through = _zsh_folders()
    writable = [folder for folder in looked_through if _is_own(folder)]
    folder = (
        writable[0]
        if writable
        else _user_folder("XDG_DATA_HOME", ".local/share") / "zsh" / "site-functions"
    )
    path = _write(folder / "_luthier", "zsh")
    if writable:
        return Installed(path, "New shells complete luthier, if compinit runs in your ~/.zshrc.")
    return Installed(
        path,
        "Add this line to ~/.zshrc:",
        f"fpath=({shlex.quote(str(folder))} $fpath); autoload -Uz compinit && compinit",
    )


def _for_fish() -> Installed:
    folder = _user_folder("XDG_CONFIG_HOME", ".config") / "fish" / "completions"
    return Installed(_write(folder / "luthier.fish", "fish"), "New shells complete luthier.")


def _zsh_folders() -> list[Path]:
    """$fpath as the user's own .zshrc leaves it."""
    zsh = shutil.which("zsh")
    if zsh is None:
        return []
    try:
        answer = subprocess.run(
            [zsh, "-ic", f"print -rl -- '{_FOLDERS_MARK}'$^fpath"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SLOWEST_START,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return []
    lines = os.fsdecode(answer.stdout).splitlines()
    return [
        Path(line.removeprefix(_FOLDERS_MARK)) for line in lines if line.startswith(_FOLDERS_MARK)
    ]


def _is_own(folder: Path) -> bool:
    """A folder of this user's, in which no package manager writes."""
    return folder.is_relative_to(Path.home()) and folder.is_dir() and os.access(folder, os.W_OK)


def _user_folder(variable: str, usual: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / usual)


def _write(path: Path, shell: Shell) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, script(shell))
    return path
