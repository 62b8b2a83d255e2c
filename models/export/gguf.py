"""Export as GGUF: the commands that write the file. llama.cpp's converter and llama-quantize where
they are; where they are not, the gguf package has the types that it rounds to itself."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from jobs.luthier_error import LuthierError
from models.catalogue import Entry
from models.export.formats import CONVERTED, ROUNDED
from models.export.tools import interpreter, program
from models.folder import ModelFolder

_WHOLE, _ADAPTER = "convert_hf_to_gguf", "convert_lora_to_gguf"
_QUANTIZE = Path(__file__).with_name("llama_quantize_script.py")
_REPOSITORY = "https://github.com/ggml-org/llama.cpp"
OWN_ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")
"""The model types that `models.export.gguf_writer` writes; the converter has all others."""


def commands(folder: Path, out: Path, kind: str) -> list[list[str]]:
    """What writes a whole model as a GGUF file of this type, in order; the last one writes `out`.
    LuthierError with the remedy if a program for it is missing."""
    converter = _script(_WHOLE)
    if converter is not None and kind in CONVERTED:
        return [[*converter, str(folder), "--outfile", str(out), "--outtype", kind]]
    quantizer = _quantizer()
    if quantizer is not None and kind not in CONVERTED:
        sixteen_bits = out.with_name(f"{out.name}.bf16")
        return [
            *commands(folder, sixteen_bits, "bf16"),
            [*quantizer, str(sixteen_bits), str(out), kind.upper()],
        ]
    if kind not in ROUNDED:
        raise LuthierError(
            "llama-quantize is missing",
            f"Only llama.cpp makes {kind}; neither its llama-quantize nor an environment with"
            " llama-cpp-python is on PATH or in the settings.",
            f"Install llama.cpp ({_REPOSITORY}/releases) and set llama_quantize under [tools] in"
            " config.toml, or choose gguf:q8_0 or gguf:q4_0, which need no other program.",
        )
    if _model_type(folder) not in OWN_ARCHITECTURES:
        arguments = [str(folder), "--outfile", str(out), "--outtype", "bf16"]
        raise _without_converter(_WHOLE, arguments, _model_type(folder))
    return [
        [sys.executable, "-P", "-m", "models.export.gguf_writer", str(folder), str(out), kind],
    ]


def adapter_commands(entry: Entry, out: Path, kind: str) -> list[list[str]]:
    """What writes an adapter as a GGUF file of its own, which llama.cpp loads beside its base."""
    if kind not in CONVERTED:
        raise LuthierError(
            "An adapter is not quantised",
            f"{entry.title} is an adapter, and GGUF adapters are {', '.join(CONVERTED)}.",
            f"`luthier merge {entry.run or entry.title}`, then export the merged model as {kind}.",
        )
    if entry.base_path is None:
        raise LuthierError(
            "The base model is not here",
            f"{entry.title} is an adapter of {entry.base}.",
            "Import it first.",
        )
    arguments = ["--base", str(entry.base_path), str(entry.path)]
    arguments += ["--outfile", str(out), "--outtype", kind]
    converter = _script(_ADAPTER)
    if converter is None:
        raise _without_converter(_ADAPTER, arguments)
    return [[*converter, *arguments]]


def _quantizer() -> list[str] | None:
    """llama.cpp's program, or the same function by way of llama-cpp-python."""
    path = program("llama_quantize", "llama-quantize")
    if path is not None:
        return [path]
    python = interpreter("llama_cpp_python", "llama_cpp")
    return None if python is None else [python, "-I", str(_QUANTIZE)]


def _script(setting: str) -> list[str] | None:
    path = program(setting, f"{setting}.py", setting)
    if path is None:
        return None
    return [*([sys.executable] if path.endswith(".py") else []), path]


def _model_type(folder: Path) -> str:
    return str(ModelFolder(folder).text_config.get("model_type", ""))


def _without_converter(
    setting: str, arguments: list[str], model_type: str | None = None
) -> LuthierError:
    needed = (
        f"Luthier itself writes GGUF files of {', '.join(OWN_ARCHITECTURES)}, and this model is of"
        f" type {model_type}. "
        if model_type is not None
        else ""
    )
    command = shlex.join(["python", f"llama.cpp/{setting}.py", *arguments])
    return LuthierError(
        "No GGUF converter",
        f"{needed}llama.cpp's {setting}.py is neither on PATH nor in the settings.",
        f"git clone --depth 1 {_REPOSITORY} && pip install -r llama.cpp/requirements.txt, then set"
        f" {setting} under [tools] in config.toml, or run: {command}",
    )
