"""The machine's GPUs, as nvidia-smi tells of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """Memory is in bytes."""

    index: int
    name: str
    total: int
    free: int


def gpus() -> list[Gpu]:
    """Every GPU that nvidia-smi lists, or those of them that CUDA_VISIBLE_DEVICES names; empty
    without a driver."""
    listed = []
    for line in _query("--query-gpu=index,name,memory.total,memory.free"):
        index, name, total, free = (part.strip() for part in line.split(","))
        listed.append(Gpu(int(index), name, int(total) << 20, int(free) << 20))
    allowed = _allowed()
    return listed if allowed is None else [gpu for gpu in listed if gpu.index in allowed]


def query_gpus(fields: str) -> list[tuple[int, str, list[str]]]:
    """Index, name and these fields of nvidia-smi's, of each GPU that may be used here."""
    allowed = _allowed()
    lines = [line.split(",") for line in _query(f"--query-gpu=index,name,{fields}")]
    return [
        (int(index), name.strip(), [value.strip() for value in values])
        for index, name, *values in lines
        if allowed is None or int(index) in allowed
    ]


def compute_capability() -> tuple[int, int]:
    """CUDA's, the lowest of those GPUs, (9, 0) is Hopper's; (0, 0) if it is not known."""
    allowed = _allowed()
    lines = [line.split(",") for line in _query("--query-gpu=index,name,compute_cap")]
    reported = [
        each.strip().split(".")
        for index, _, each in lines
        if allowed is None or int(index) in allowed
    ]
    numbers = [
        (int(parts[0]), int(parts[1]))
        for parts in reported
        if len(parts) == 2 and all(map(str.isdigit, parts))
    ]
    return min(numbers) if numbers and len(numbers) == len(reported) else (0, 0)


def _allowed() -> set[int] | None:
    """By CUDA_VISIBLE_DEVICES, as a cluster or a person who shares the machine sets it: indices, or
    beginnings of "GPU-..." identifiers."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return None
    names = [name.strip() for name in visible.split(",")]
    allowed = {int(name) for name in names if name.isdigit()}
    identifiers = tuple(name for name in names if name.startswith("GPU-"))
    if identifiers:
        lines = (line.split(",") for line in _query("--query-gpu=index,uuid,name"))
        allowed |= {
            int(index)
            for index, identifier, _ in lines
            if identifier.strip().startswith(identifiers)
        }
    return allowed


def occupants(index: int) -> str:
    """Who uses a GPU: "python (pid 812, 20.1 GB)", several joined by commas, or "processes of other
    users"."""
    names = []
    for line in _query("--query-compute-apps=pid,process_name,used_memory", f"--id={index}"):
        pid, name, used = (part.strip() for part in line.split(","))
        gigabytes = f", {int(used) / 1024:.1f} GB" if used.isdigit() else ""
        names.append(f"{name.rsplit('/', 1)[-1]} (pid {pid}{gigabytes})")
    return ", ".join(names) or "processes of other users"


def _query(*arguments: str) -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, *arguments, "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return []
    return (
        [line for line in answer.stdout.splitlines() if line.count(",") >= 2]
        if answer.returncode == 0
        else []
    )
