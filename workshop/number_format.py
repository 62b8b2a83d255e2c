"""Figures as a person reads them: fixed in width where they change, with their units."""

from __future__ import annotations

import time


def now() -> float:
    """The time that ages count from. Tests put their own in its place."""
    return time.time()


def monotonic() -> float:
    """A clock for pauses, which never goes back."""
    return time.monotonic()


def duration(seconds: float) -> str:
    """ "4 s", "3 m 20 s", "2 h 05 m", "3 d 4 h"."""
    rounded = max(0, round(seconds))
    if rounded < 60:
        return f"{rounded} s"
    minutes, seconds_left = divmod(rounded, 60)
    if minutes < 60:
        return f"{minutes} m {seconds_left:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} m"
    return f"{hours // 24} d {hours % 24} h"


def short_duration(seconds: float) -> str:
    """The largest unit only: "4 s", "3 m", "2 h", "3 d"."""
    rounded = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if rounded >= size:
            return f"{rounded // size} {unit}"
    return f"{rounded} s"


def steady_age(at: float) -> str:
    """How long ago, for lists that stay on the screen: "now" for a minute, then "3 m", "2 h"."""
    seconds = now() - at
    return short_duration(seconds) if seconds >= 60 else "now"


def age(at: float) -> str:
    return f"{short_duration(now() - at)} ago"


def moment(at: float) -> str:
    """The absolute time, for where an age is not enough."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def minute(at: float) -> str:
    """The date and the time of the day: "2026-11-18 14:03"."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def clock(at: float) -> str:
    """The time of the day: "14:03:20"."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def loss(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if value < 100 else f"{value:.3g}"


def rate(value: float | None) -> str:
    """A learning rate: "2.0e-4"."""
    if value is None:
        return ""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if value else "0"


def count(value: float | None) -> str:
    """ "812", "13.4 k", "134.5 M", "7.6 B"."""
    if value is None:
        return ""
    for size, unit in ((1e9, " B"), (1e6, " M"), (1e4, " k")):
        if value >= size:
            return f"{value / (1e3 if unit == ' k' else size):.1f}{unit}"
    return f"{value:,.0f}"


def size(value: float | None) -> str:
    """Bytes: "812 B", "13.4 MB", "7.6 GB"."""
    if value is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit in ("B", "kB") else f"{value:.1f} {unit}"
        value /= 1000
    return ""
