"""Export as GGUF, with the converter of llama.cpp where there is one; else the command to run."""

from __future__ import annotations

import shlex
import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from jobs.home import home
from jobs.luthier_error import LuthierError
from models.catalogue import Entry

# what the converter itself writes; llama-quantize makes the smaller ones
TYPES = ("f32", "f16", "bf16", "q8_0", "auto")
_SCRIPTS = {False: "convert_hf_to_gguf.py", True: "convert_lora_to_gguf.py"}
SCRIPT_SETTINGS = {"convert_hf_to_gguf": "a whole model", "convert_lora_to_gguf": "an adapter"}
"""What config.toml may have under [tools]: the paths of these scripts, and what each exports."""
_REPOSITORY = "https://github.com/ggml-org/llama.cpp"


@dataclass(frozen=True)
class Conversion:
    """A command that writes `out`."""

    command: list[str]
    out: Path


def plan_conversion(entry: Entry, out: Path, kind: str) -> Conversion:
    """The command that converts a model, or an adapter of a base that is here. LuthierError with
    the exact command if no converter is.

    The converter is `convert_hf_to_gguf` (for adapters `convert_lora_to_gguf`) under [tools] in
    config.toml, else the script on PATH.
    """
    if kind not in TYPES:
        hint = (
            f"Convert to f16 or bf16, then: llama-quantize {shlex.quote(str(out))} SMALLER.gguf"
            f" {kind.upper()}"
        )
        raise LuthierError(
            "The converter does not know this type",
            f"{kind!r} is not one of {', '.join(TYPES)}.",
            hint,
        )
    adapter = entry.kind == "tuned"
    if adapter and entry.base_path is None:
        raise LuthierError(
            "The base model is not here",
            f"{entry.title} is an adapter of {entry.base}.",
            "Import it first.",
        )
    base = ["--base", str(entry.base_path)] if adapter else []
    arguments = [*base, str(entry.path), "--outfile", str(out), "--outtype", kind]
    script = _SCRIPTS[adapter]
    converter = (
        _configured(script.removesuffix(".py"))
        or shutil.which(script)
        or shutil.which(script.removesuffix(".py"))
    )
    if converter is None:
        command = shlex.join(["python", f"llama.cpp/{script}", *arguments])
        hint = (
            f"git clone --depth 1 {_REPOSITORY} && pip install -r llama.cpp/requirements.txt, then:"
            f" {command}"
        )
        raise LuthierError(
            "No GGUF converter",
            f"llama.cpp's {script} is neither on PATH nor in {home() / 'config.toml'}.",
            hint,
        )
    return Conversion(
        [*([sys.executable] if converter.endswith(".py") else []), converter, *arguments], out
    )


def _configured(name: str) -> str | None:
    """What config.toml says under [tools]. LuthierError if it names a file that is not there."""
    path = home() / "config.toml"
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8")).get("tools", {}).get(name)
    except (OSError, ValueError, AttributeError):
        return None
    if value is None:
        return None
    script = Path(str(value)).expanduser()
    if not script.is_file():
        raise LuthierError(
            "The converter is missing",
            f"{path} names {script}.",
            f"Correct {name} under [tools].",
        )
    return str(script)
