"""The head of a run: what it does now in words, how far it is, and whether it has fallen silent."""

from __future__ import annotations

from collections.abc import Mapping

from textual.content import Content

from jobs.job import Job
from jobs.state import Alive, Failed, Lost, Queued, Running, Starting, State, Stopping
from models.standing import Standing
from tui import key_bindings
from tui.shared.certificate_badge import badge
from tui.shared.glyphs import glyphs
from tui.shared.state_label import bar, state_content
from workshop import number_format
from workshop.runs.pace import is_late, is_stalled
from workshop.runs.record import RunRecord

_NEXT = ("chat", "certificate", "serve")
_MUTED = "$foreground-muted"


def run_title(job: Job, state: State, standing: Standing, record: RunRecord, width: int) -> Content:
    """One line of at most so many cells. What counts less is left out where it does not fit; what
    the run does, and that it does nothing, always stands there."""
    name = Content.assemble((job.spec.name, "bold"), "   ", state_content(state))
    if standing.verdict is not None:
        name = Content.assemble(name, ("   certificate ", _MUTED), badge(standing))
    if isinstance(state, Starting):
        waited = number_format.duration(number_format.now() - (record.phase_since or state.since))
        return Content.assemble(name, f"   {state.phase}", (f"  {waited}", _MUTED))
    head = [name]
    if isinstance(state, Running | Stopping):
        head += _doing(job, record)
    progress, position, left = _progress(state, record, 40 if width >= 96 else 20)
    while position and _width([*head, *progress, *position, *left]) > width:
        del position[0]
    if _width([*head, *progress, *left]) > width:
        progress = []
    if _width([*head, *left]) > width:
        left = []
    return Content("   ").join([*head, *progress, *position, *left])


def _doing(job: Job, record: RunRecord) -> list[Content]:
    """Its phase, the age of its last step if that is late, and a mark if nothing is heard of it:
    no event, and nothing in its log."""
    now, usual, last = number_format.now(), record.usual_step, record.last_step_at
    parts = [Content(record.activity)] if record.activity else []
    silence = now - max(record.heard, _written(job))
    if is_stalled(usual, silence):
        mark = f"{glyphs().failed} stalled? silent for {number_format.short_duration(silence)}"
        parts.append(Content.styled(mark, "$error"))
    if last is not None and is_late(usual, now - last):
        parts.append(Content.styled(f"last step {number_format.age(last)}", "$warning"))
    return parts


def _written(job: Job) -> float:
    try:
        return job.log_path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _progress(
    state: State, record: RunRecord, bar_width: int
) -> tuple[list[Content], list[Content], list[Content]]:
    """The bar with its share; step and epoch; the time that is left."""
    if not record.total:
        return [], [], []
    share = f"{100 * record.step / record.total:.0f} %"
    progress = [Content.assemble(bar(record.step, record.total, bar_width), f"  {share:>5}")]
    position = [Content.assemble(("step ", _MUTED), f"{record.step:,} of {record.total:,}")]
    epoch = record.figure("epoch")
    epochs = record.plan.epochs if record.plan is not None else None
    if epoch is not None:
        of = f" of {epochs:g}" if epochs is not None else ""
        position.append(Content.assemble(("epoch ", _MUTED), f"{epoch:.2f}{of}"))
    time_left = record.time_left(number_format.now()) if _goes_on(state) else None
    left = [] if time_left is None else [Content.assemble(str(time_left), (" left", _MUTED))]
    return progress, position, left


def trouble(state: State) -> Content:
    """Why a job has failed or was lost; nothing for all others."""
    match state:
        case Failed(title=title, message=message, hint=hint):
            first = message.splitlines()[0] if message else ""
            return Content.assemble(
                (f"{title}. ", "bold $error"),
                first,
                (f"  {hint}" if hint else "", _MUTED),
            )
        case Lost(at=at):
            return Content.assemble(
                ("Lost. ", "bold $error"),
                f"Last heard from {number_format.age(at)}. Its process is gone: the machine"
                " restarted, or something killed it. What was saved is still there.",
            )
        case _:
            return Content("")


def next_steps(
    possible: Mapping[str, bool], standing: Standing, *, is_being_certified: bool
) -> Content:
    """What a finished run is for, by its keys; the certificate with its verdict. A click does it
    too."""
    steps = [
        Content.assemble(
            (action.key_names[0], "$primary"),
            f" {action.title}",
            _verdict(standing, is_being_certified=is_being_certified)
            if name == "certificate"
            else "",
        ).stylize(f"@click=screen.{action.action}")
        for name in _NEXT
        for action in key_bindings.actions_of("run")
        if action.id == f"run.{name}" and possible[name]
    ]
    return Content("   ").join([Content.styled("next", _MUTED), *steps]) if steps else Content("")


def _verdict(standing: Standing, *, is_being_certified: bool) -> Content:
    if is_being_certified:
        return Content.styled(" is being made", _MUTED)
    return Content(" ") + (badge(standing) or Content.styled("none yet", _MUTED))


def _goes_on(state: State) -> bool:
    return isinstance(state, Alive) and not isinstance(state, Queued)


def _width(parts: list[Content]) -> int:
    """Cells of these parts in a line, with what stands between them."""
    return sum(part.cell_length + 3 for part in parts) - 3
