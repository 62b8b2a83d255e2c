"""What is said of a server beside its figures: its address and its models, or how far it is, or why
there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual.content import Content

from jobs.events import Event
from jobs.home import home
from jobs.state import Asleep, Failed, Lost, Queued, Running, Starting, Stopping
from models.events import Adapter, Phase, Restart, newest, of_kind
from models.standing import NO_CERTIFICATE, Standing
from serve.servers import is_for_cpu
from tui.key_bindings import key_of, with_keys
from tui.shared.certificate_badge import badge
from tui.shared.glyphs import glyphs
from tui.shared.phase_lines import phase_lines
from workshop import number_format
from workshop.job_list import JobRow

if TYPE_CHECKING:
    from serve.servers import ServedModel, Server

_MUTED = "$foreground-muted"
_NAME = 24  # cells of a model's name, so that what follows stands below each other
LABEL = 11  # cells before what a label stands for


def server_facts(
    row: JobRow, server: Server | None, events: Sequence[Event], standings: Mapping[str, Standing]
) -> Content:
    """`server` is what it serves, as soon as it is ready; `standings` are the certificates of its
    models by their names."""
    match row.state:
        case Failed(title=title, message=message, hint=hint):
            reason = Content.assemble(
                (f"{title}\n", "bold $error"), message, (f"\n{hint}" if hint else "", _MUTED)
            )
            return Content.assemble(reason, _next_step())
        case Lost(at=at):
            return Content.assemble(
                "Its process is gone: the machine restarted, or something killed it."
                f" Last heard from {number_format.age(at)}.",
                _next_step(),
            )
        case Queued(waits_for=waits_for):
            return Content(f"waits for {waits_for or 'its turn'}")
        case Running() | Asleep() if server is not None:
            lines = _address(server) + _sleep(row) + _models(server, standings) + _trouble(events)
            return Content("\n").join(lines)
        case Starting() | Running() | Asleep() | Stopping():
            return _phases(row, events)
        case _:
            return _next_step()


def key_file() -> Path:
    return home() / "keys" / "client"


def _next_step() -> Content:
    return with_keys("\n{serve.start} starts another one")


def _phases(row: JobRow, events: Sequence[Event]) -> Content:
    """Each phase with how long it took; the last one with how long it takes so far."""
    restart = newest(events, Restart)
    since = restart.t if restart is not None else 0.0
    phases = [phase for phase in of_kind(events, Phase) if phase.t >= since]
    lines = [_restarted(restart)] if restart is not None else []
    lines += phase_lines(phases, number_format.now())
    return Content("\n").join(lines) if lines else Content.styled("starting", _MUTED)


def _address(server: Server) -> list[Content]:
    facts = [("address", f"{server.base_url}/v1"), ("key file", _below_home(key_file()))]
    return [Content.assemble((f"{name:<{LABEL}}", _MUTED), value) for name, value in facts]


def _sleep(row: JobRow) -> list[Content]:
    """Whether it sleeps, or why it never does."""
    label = (f"{'sleep':<{LABEL}}", _MUTED)
    key = (key_of("serve.sleep"), "$primary")
    match row.state:
        case Asleep(waking=True):
            return [Content.assemble(label, f"{glyphs().starting} waking up")]
        case Asleep(why=reason):
            sign = glyphs().asleep
            return [Content.assemble(label, f"{sign} {reason}   ", key, (" wakes it", _MUTED))]
        case _ if row.job.spec.gives_way:
            sign = glyphs().running
            return [Content.assemble(label, f"{sign} awake   ", key, (" frees the GPU", _MUTED))]
        case _ if is_for_cpu(row.job):
            return [Content.assemble(label, ("never: vLLM's sleep mode is for GPUs", _MUTED))]
        case _:
            return []


def _models(server: Server, standings: Mapping[str, Standing]) -> list[Content]:
    width = min(_NAME, max(len(model.id) for model in server.models))
    lines = []
    for index, model in enumerate(server.models):
        label = (f"{'models' if index == 0 else '':<{LABEL}}", _MUTED)
        certificate = badge(standings.get(model.id, NO_CERTIFICATE))
        name = Content.assemble(label, _sign(model), f" {model.id:<{width}}  ")
        kind = "tuned" if model.kind == "adapter" else "base"
        pinned = "  pinned" if model.pinned else ""
        gap = "  " if certificate else ""
        lines.append(Content.assemble(name, (f"{kind}{pinned}", _MUTED), gap, certificate))
    return lines


def _sign(model: ServedModel) -> tuple[str, str]:
    if model.kind == "adapter":
        return glyphs().eval_point, "$primary"
    return glyphs().running, "$secondary"


def _trouble(events: Sequence[Event]) -> list[Content]:
    """The last crash, and every adapter that was refused."""
    lines = [_restarted(restart) for restart in of_kind(events, Restart)[-1:]]
    for adapter in of_kind(events, Adapter):
        if not adapter.ok:
            reason = f"{adapter.name}: {adapter.message}"
            lines.append(Content.assemble((f"{'refused':<{LABEL}}", _MUTED), (reason, "$error")))
    return lines


def _restarted(restart: Restart) -> Content:
    """That it crashed, and why."""
    count = f"{restart.number} of {restart.most}"
    return Content.assemble(
        (f"{'crashed':<{LABEL}}", "$warning"),
        f"{restart.reason} ",
        (f"started again, {count}", _MUTED),
    )


def _below_home(path: Path) -> str:
    """A path under the user's home as they would write it."""
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)
