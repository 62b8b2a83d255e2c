"""`make lock` writes locks/*.txt, keeping each version there that still fits (`tools/lock.py
upgrade` takes the newest of all); `make lock-check` proves that they hold together, with
dependencies on and without installing anything.

The cpu and gpu locks are resolved from pyproject.toml for Linux on x86-64; the dev lock has what
the tools need beyond both.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "locks"
PYTHONS = ("3.11", "3.12", "3.13")
# What the packages list and text training and serving do without.
#
# cpu: for pictures and sound. The plain index serves CUDA builds of them, which break `import
# transformers` beside a CPU torch ("operator torchvision::nms does not exist").
# gpu: what attends for Unsloth with an older torch, which is built for torch 2.10 and CUDA 12.8, so
# that it cannot be loaded; and sound.
LEFT_OUT = {
    "cpu": ("torchvision", "torchaudio", "torchcodec"),
    "gpu": ("torchaudio", "xformers"),
}

_ABOUT = """\
# {title}
# Made by `make lock` from pyproject.toml for Linux on x86-64, Python 3.11 to 3.13; installed
# with --no-deps.
"""
_ABOUT_CPU = (
    _ABOUT.format(title="Training, serving and the app on a CPU.")
    + "# torch has a step of its own in tools/install: the CPU build is not on the plain package"
    " index.\n# torchvision, torchaudio and torchcodec are left out: their CUDA builds, which the"
    " plain index serves, break\n# `import transformers` beside a CPU torch, and text needs none"
    " of them.\n"
)
_ABOUT_GPU = (
    _ABOUT.format(
        title="Training, serving and the app on NVIDIA GPUs. torch is the plain index's CUDA build."
    )
    + "# xformers (built for another torch and CUDA) and torchaudio are left out: the one cannot be"
    " loaded beside\n# this torch, text does not need the other.\n"
)
_ABOUT_DEV = _ABOUT.format(title="What the checks and tests need beyond either set.")


def compile_pins(
    extra: str, python: str, constraints: list[str], preferred: list[str] | None = None
) -> list[str]:
    """`name==version` of everything that the extra needs, resolved by uv, with the `preferred`
    versions where they fit. Ends the program with uv's reason if nothing fits."""
    command = [
        str(Path(sys.executable).with_name("uv")),
        "pip",
        "compile",
        str(ROOT / "pyproject.toml"),
        "--extra",
        extra,
    ]
    command += [
        "--python-version",
        python,
        "--python-platform",
        "x86_64-manylinux_2_28",
        "--quiet",
        "--no-header",
        "--no-annotate",
    ]
    if extra == "cpu":
        # A folder of wheels that pip was told of has the CPU build of torch; without one, PyTorch's
        # own index does.
        wheels = os.environ.get("PIP_FIND_LINKS")
        command += ["--find-links", wheels] if wheels else ["--torch-backend", "cpu"]
    command += [
        argument for name in LEFT_OUT.get(extra, ()) for argument in ("--no-emit-package", name)
    ]
    with tempfile.TemporaryDirectory() as folder:
        limits, pins = Path(folder) / "constraints.txt", Path(folder) / "pins.txt"
        limits.write_text("\n".join(constraints))
        pins.write_text("\n".join(preferred or []))  # uv keeps what its output file has
        answer = subprocess.run(
            [*command, "-c", str(limits), "-o", str(pins)],
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode != 0:
            sys.exit(f"{extra}, Python {python}: no set of versions fits.\n{answer.stderr}")
        return [line for line in pins.read_text().splitlines() if "==" in line]


def read(name: str) -> list[str]:
    return [
        line
        for line in (LOCKS / f"{name}.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]


def write(name: str, about: str, pins: list[str]) -> None:
    (LOCKS / f"{name}.txt").write_text(about + "\n".join(pins) + "\n")
    print(f"locks/{name}.txt: {len(pins)} packages")


def names(pins: list[str]) -> set[str]:
    return {pin.partition("==")[0] for pin in pins}


def lock(*, upgrade: bool) -> None:
    LOCKS.mkdir(exist_ok=True)
    old = {name: [] if upgrade else read(name) for name in ("cpu", "gpu", "dev")}
    cpu = compile_pins("cpu", PYTHONS[0], [], old["cpu"])
    numpy = [pin for pin in cpu if pin.startswith("numpy==")]
    gpu = compile_pins("gpu", PYTHONS[0], numpy, old["gpu"])
    shared = sorted(set(cpu) & set(gpu))
    dev = compile_pins("dev", PYTHONS[0], shared, old["dev"])
    dev = [pin for pin in dev if pin not in shared]
    clash = names(dev) & (names(cpu) | names(gpu))
    if clash:
        sys.exit(f"The tools would change what the sets pin: {', '.join(sorted(clash))}.")
    write("cpu", _ABOUT_CPU, cpu)
    write("gpu", _ABOUT_GPU, gpu)
    write("dev", _ABOUT_DEV, dev)


def check() -> None:
    """Each lock resolves to itself on every Python. The CPU torch may be at hand for this Python
    only: then that one alone is tried."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    for extra, base in (("gpu", "gpu"), ("cpu", "cpu"), ("dev", "gpu"), ("dev", "cpu")):
        for python in PYTHONS if extra != "cpu" else (here,):
            pins = read(extra) + (read(base) if extra == "dev" else [])
            resolved = compile_pins(extra, python, pins)
            strangers = sorted(set(resolved) - set(pins))
            if strangers:
                sys.exit(
                    f"{extra}, Python {python}: not in the lock: {', '.join(strangers)}. `make"
                    " lock` renews it."
                )
            beside = f" beside {base}" if extra == "dev" else ""
            print(
                f"{extra}{beside}, Python {python}: resolves, {len(resolved)} packages", flush=True
            )
    if differing := sorted(
        pin for pin in set(read("dev-cpu")) - set(read("gpu")) if not pin.startswith("unsloth")
    ):
        sys.exit(f"dev-cpu: not the gpu set's versions: {', '.join(differing)}.")


if __name__ == "__main__":
    check() if sys.argv[1:] == ["check"] else lock(upgrade=sys.argv[1:] == ["upgrade"])
