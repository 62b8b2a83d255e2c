"""How the moments of a run are drawn: their signs and colours, and their marks on a chart."""

from __future__ import annotations

from tui.runs.charts.picture import Mark
from tui.shared.glyphs import glyphs
from workshop.runs.moments import Moment


def sign(moment: Moment) -> tuple[str, str]:
    """A moment's sign and its colour in the theme."""
    signs = glyphs()
    match moment.kind:
        case "attempt" | "memory" | "trials":
            return signs.dot, "$foreground-muted"
        case "eval":
            return signs.eval_point, "$secondary"
        case "checkpoint":
            return (signs.best, "$success") if moment.best else (signs.checkpoint, "$success")
        case "repair":
            return signs.repair, "$warning"
        case "resumed":
            return signs.resumed, "$secondary"
        case "early_stop" | "stop":
            return signs.early_stop, "$warning"
        case "error":
            return signs.failed, "$error"
        case "result":
            return signs.done, "$success"


_RANKS = ("repair", "resumed", "early_stop", "checkpoint", "eval")
_STYLES = {
    "eval": "eval",
    "checkpoint": "kept",
    "repair": "warned",
    "resumed": "eval",
    "early_stop": "warned",
}


def marks(moments: list[Moment]) -> list[Mark]:
    """The marks of a chart, the weightiest last, so that it is seen where several share a
    column."""
    drawn_moments = [moment for moment in moments if moment.on_chart]
    drawn_moments.sort(key=lambda moment: (-_RANKS.index(moment.kind), moment.best))
    important = ("repair", "resumed", "early_stop")
    return [
        Mark(
            moment.step,
            sign(moment)[0],
            _STYLES[moment.kind],
            moment.kind in important,
            moment.kind.replace("_", " "),
            minor=moment.kind == "eval",
        )
        for moment in drawn_moments
    ]
