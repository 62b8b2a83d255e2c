"""How much likelier a token is to one model than to another, as a mark: by line and slant as well
as by colour."""

from __future__ import annotations

from typing import Literal

Heat = Literal["plain", "likelier", "much-likelier", "unlikelier", "much-unlikelier"]

SOME, MUCH = 0.4, 1.6  # nats: one and a half times, five times as likely
STYLES: dict[Heat, str] = {
    "plain": "",
    "likelier": "cyan bold",
    "much-likelier": "cyan bold underline",
    "unlikelier": "magenta italic",
    "much-unlikelier": "magenta italic underline",
}
"""In a terminal without the app's themes."""
THEME_STYLES: dict[Heat, str] = {
    "plain": "",
    "likelier": "bold $accent",
    "much-likelier": "bold underline $accent on $panel",
    "unlikelier": "italic $secondary",
    "much-unlikelier": "italic underline $secondary on $panel",
}


def heat_of(difference: float) -> Heat:
    """Of a difference of log-probabilities, in nats."""
    if difference > SOME:
        return "much-likelier" if difference > MUCH else "likelier"
    if difference < -SOME:
        return "much-unlikelier" if difference < -MUCH else "unlikelier"
    return "plain"
