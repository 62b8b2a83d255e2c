"""A job's state as glyph, word and colour, never colour alone; and how far it has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from jobs import state
from jobs.counting import counted
from jobs.state import (
    Asleep,
    Done,
    Failed,
    Lost,
    Queued,
    Running,
    Starting,
    State,
    Stopped,
    Stopping,
)
from tui.shared.certificate_badge import badge
from tui.shared.glyphs import glyphs
from workshop import number_format

if TYPE_CHECKING:
    from workshop.job_list import JobRow


def state_content(of: State) -> Content:
    glyph, colour = _sign(of)
    return Content.assemble((glyph, colour), f" {state.word(of)}")


def _sign(of: State) -> tuple[str, str]:
    signs = glyphs()
    match of:
        case Queued():
            return signs.queued, "$foreground-muted"
        case Starting():
            return signs.starting, "$warning"
        case Running():
            return signs.running, "$primary"
        case Asleep():
            return signs.asleep, "$secondary"
        case Stopping():
            return signs.stopping, "$warning"
        case Done():
            return signs.done, "$success"
        case Stopped():
            return signs.stopped, "$foreground-muted"
        case Failed():
            return signs.failed, "$error"
        case Lost():
            return signs.lost, "$error"


def progress_content(row: JobRow, bar_width: int) -> Content:
    """What a job does now, or how it ended, in one line."""
    match row.state:
        case Queued(waits_for=waits_for):
            from workshop.job_list import waiting_text

            return _muted(waiting_text(row.position, waits_for))
        case Starting(since=since, phase=phase):
            return Content.assemble(
                phase,
                (f"  {number_format.duration(number_format.now() - since)}", "$foreground-muted"),
            )
        case Running() if row.total:
            return Content.assemble(
                bar(row.step, row.total, bar_width),
                f" {row.step:,}/{row.total:,}",
            )
        case Running():
            return Content("ready" if row.kind in ("server", "api") else "running")
        case Asleep(why=why, waking=waking):
            return _muted("waking up" if waking else why)
        case Stopping():
            return _muted("saving a checkpoint" if row.kind == "run" and row.step else "ending")
        case Done():
            steps = _muted(counted(row.step, "step") if row.kind == "run" and row.step else "")
            return Content("  ").join(part for part in (badge(row.standing), steps) if part)
        case Stopped():
            return _muted(f"at step {row.step} of {row.total}" if row.total else "")
        case Failed(title=title):
            return Content(title)
        case Lost(waited=waited):
            return _muted(
                "was waiting when the machine went down" if waited else "its process is gone"
            )


def bar(step: int, total: int, width: int) -> Content:
    full = min(width, round(width * step / total)) if total else 0
    return Content.assemble(
        (glyphs().bar_full * full, "$primary"),
        (glyphs().bar_rest * (width - full), "$foreground 20%"),
    )


def _muted(text: str) -> Content:
    return Content.styled(text, "$foreground-muted")
