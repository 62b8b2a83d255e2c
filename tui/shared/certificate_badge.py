"""A certificate in a word: what stands beside a tuned model wherever it is named. Glyph, word and
colour, never colour alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from textual.content import Content

from tui.shared.glyphs import glyphs

if TYPE_CHECKING:
    from models.certificate import Check
    from models.standing import Standing

_LARGE = 10
_SHARE = re.compile(r"of [a-z]")  # the unit of a share; a count is "of 41 prompts"


def badge(standing: Standing) -> Content:
    """ "✓ green", "! amber", "✗ red"; "outdated" for one whose files have changed since, nothing
    where there is none."""
    if standing.verdict is None:
        return Content("")
    glyph, colour, word = sign(standing)
    return Content.assemble((glyph, colour), f" {word}")


def sign(standing: Standing) -> tuple[str, str, str]:
    """Glyph, theme colour and word of a certificate that there is."""
    if standing.outdated and standing.verdict != "red":
        return "!", "$warning", "outdated"
    match standing.verdict:
        case "green":
            return glyphs().done, "$success", "green"
        case "amber":
            return "!", "$warning", "amber"
        case "red":
            return glyphs().failed, "$error", "red"
        case None:
            return glyphs().dot, "$foreground-muted", "none"


def warning(name: str, standing: Standing) -> Content | None:
    """What must be said before a model with a red certificate is talked to; None for all others."""
    if standing.verdict != "red":
        return None
    return Content.assemble(
        (f"{glyphs().failed} {name} has a red certificate.", "bold $error"), " ", standing.reason
    )


def figure(check: Check) -> str:
    """A check's figure as a person reads it: counts whole, shares in percent, measures with four
    places, or one where they are large."""
    return _number(check, check.figure)


def bound(check: Check) -> str:
    """Where green ends: "at most 0.0861"."""
    return (
        ""
        if check.threshold is None
        else f"{'at least' if check.at_least else 'at most'} {_number(check, check.threshold)}"
    )


def _number(check: Check, value: float | None) -> str:
    if value is None:
        return ""
    if _SHARE.match(check.unit):
        return f"{100 * value:.1f} %"
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) < _LARGE else f"{value:,.1f}"
