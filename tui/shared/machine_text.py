"""How busy the machine is, in words and bars. Shares are told in steps, so that nothing is painted
while nothing much changes."""

from __future__ import annotations

from textual.content import Content

from jobs.machine import GpuLoad, Machine
from tui.shared.glyphs import glyphs
from workshop import number_format

_NAME = 8  # cells
_LEAST_BAR = 4
_GOOD_BAR = 10  # lines with less room than that do not shorten the bars of all
_MUTED = "$foreground-muted"
_STEP = 0.05
_BUSY = 0.9  # the share from which on something is nearly full
_SCARCE = 0.08  # the share of free memory below which it is short
_CROWDED = 1.5  # processes for each processor from which on jobs wait for each other


def stepped(share: float) -> float:
    """The share in steps of five percent."""
    return round(share / _STEP) * _STEP


def cpu_text(machine: Machine) -> str:
    """ "95 % of 2 cores"; "" where it is not known."""
    if machine.cpu is None:
        return ""
    return f"{_percent(stepped(machine.cpu))} of {cores_text(machine)}"


def cores_text(machine: Machine) -> str:
    return f"{machine.cores:g} core{'' if machine.cores == 1 else 's'}"


def memory_text(machine: Machine) -> str:
    """ "7.1 of 25.3 GB"; "" where it is not known."""
    if machine.memory_used is None:
        return ""
    return f"{_gigabytes(machine.memory_used)} of {_gigabytes(machine.memory_total)} GB"


def figures(machine: Machine) -> list[tuple[str, str]]:
    """What a run needs of it, for beside its own figures."""
    free = "" if machine.memory_free is None else number_format.size(machine.memory_free)
    pairs = [("cpu", cpu_text(machine)), ("free memory", free)]
    return [pair for pair in pairs if pair[1]]


def strain(machine: Machine, narrow: bool) -> Content:
    """What the machine is short of; empty where that is nothing."""
    parts = []
    if machine.load >= _CROWDED * machine.cores:
        on_cores = "" if narrow else f" on {cores_text(machine)}"
        parts.append(f"load {machine.load:.0f}{on_cores}")
    free = machine.memory_free
    if free is not None and free < _SCARCE * machine.memory_total:
        parts.append(f"{number_format.size(free)}{'' if narrow else ' memory'} free")
    return Content.styled(f"! {', '.join(parts)}", "$warning") if parts else Content("")


def machine_lines(machine: Machine, gpus: list[GpuLoad], width: int) -> list[Content]:
    """Processors, memory and disk, a line each, then two for each GPU, of `width` cells."""
    used = machine.memory_used
    memory = None if used is None else used / max(1, machine.memory_total)
    lines = [
        ("cpu", machine.cpu, cpu_text(machine)),
        ("memory", memory, memory_text(machine)),
    ]
    if machine.disk_total:
        free = number_format.size(machine.disk_total - machine.disk_used)
        share = machine.disk_used / machine.disk_total
        lines.append(("disk", share, f"{free} free"))
    for gpu in gpus:
        name = "gpu" if len(gpus) == 1 else f"gpu {gpu.index}"
        busy = "" if gpu.busy is None else f"{_percent(stepped(gpu.busy))} of {_short(gpu.name)}"
        gigabytes = f"{_gigabytes(gpu.memory_used)} of {_gigabytes(gpu.memory_total)} GB"
        share = gpu.memory_used / max(1, gpu.memory_total)
        lines += [
            (name, gpu.busy, busy),
            ("", share, gigabytes + _power(gpu)),
        ]
    rooms = [width - _NAME - 2 - len(text) for _, _, text in lines]
    bar = min((room for room in rooms if room >= _GOOD_BAR), default=0)
    return [
        _line(*line, width, min(room, bar) if bar else room)
        for line, room in zip(lines, rooms, strict=True)
    ]


def _short(name: str) -> str:
    """ "H200" of "NVIDIA H200"."""
    return name.removeprefix("NVIDIA ").removeprefix("GeForce ")


def _power(gpu: GpuLoad) -> str:
    """Watts in tens, for they never stand still."""
    if gpu.watts is None:
        return ""
    most = f" of {gpu.most_watts:.0f}" if gpu.most_watts is not None else ""
    heat = f", {gpu.celsius:.0f} °C" if gpu.celsius is not None else ""
    return f"  {round(gpu.watts, -1):.0f}{most} W{heat}"


def _line(name: str, share: float | None, text: str, width: int, room: int) -> Content:
    """A name, a bar of `room` cells where that is enough for one, and a figure."""
    title = (f"{name:<{_NAME}}", _MUTED)
    if share is None:
        return Content.assemble(title, (glyphs().dot, _MUTED))
    if room < _LEAST_BAR:
        return Content.assemble(title, text).truncate(width, ellipsis=True)
    full = min(room, round(room * stepped(share)))
    colour = "$warning" if share >= _BUSY else "$primary"
    signs = glyphs()
    return Content.assemble(
        title,
        (signs.bar_full * full, colour),
        (signs.bar_rest * (room - full), "$foreground 20%"),
        f"  {text}",
    ).truncate(width, ellipsis=True)


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f}"
