"""A number with what it counts."""

from __future__ import annotations


def counted(number: float, noun: str, of_several: str = "") -> str:
    """ "1 pair", "1,200 pairs"; `of_several` is the noun of several where it is not the first one
    with an s."""
    text = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{text} {noun if number == 1 else of_several or f'{noun}s'}"
