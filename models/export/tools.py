"""Programs of others that write and run exports: where config.toml, PATH or this interpreter has
them."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tomllib

from jobs.files import expanded
from jobs.home import home
from jobs.luthier_error import LuthierError

SCRIPT_SETTINGS = {
    "convert_hf_to_gguf": "llama.cpp's convert_hf_to_gguf.py, which exports a whole model to GGUF."
    " Without one, the script on PATH is used.",
    "convert_lora_to_gguf": "llama.cpp's convert_lora_to_gguf.py, which exports an adapter to GGUF."
    " Without one, the script on PATH is used.",
    "llama_quantize": "llama.cpp's llama-quantize, which makes the smaller GGUF types (q4_k_m)."
    " Without one, the program on PATH is used.",
    "llama_cpp_python": "The Python of an environment with llama-cpp-python, in which a certificate"
    " runs GGUF files. Without one, transformers runs them.",
    "llmcompressor_python": "The Python of an environment with llmcompressor, which exports to AWQ"
    " and GPTQ.",
}
"""What config.toml may have under [tools]: paths, and what each is for."""


def program(setting: str, *names: str) -> str | None:
    """The path of a program: what config.toml says, else the first of these on PATH."""
    return _configured(setting) or next(filter(None, map(shutil.which, names)), None)


def interpreter(setting: str, package: str) -> str | None:
    """A Python that has a package: the configured one, else this one if it has it."""
    configured = _configured(setting)
    if configured is not None:
        return configured
    return sys.executable if importlib.util.find_spec(package) is not None else None


def _configured(name: str) -> str | None:
    """What config.toml says under [tools]. LuthierError if it names a file that is not there."""
    path = home() / "config.toml"
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8")).get("tools", {}).get(name)
    except (OSError, ValueError, AttributeError):
        return None
    if value is None:
        return None
    tool = expanded(str(value))
    if not tool.is_file():
        title = "The converter is missing" if name.startswith("convert") else "A tool is missing"
        raise LuthierError(title, f"{path} names {tool}.", f"Correct {name} under [tools].")
    return str(tool)
