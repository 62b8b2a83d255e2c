"""The signs that the app draws, and what stands for them on terminals without Unicode."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Glyphs:
    mark: str = "◆"
    queued: str = "◌"
    starting: str = "◔"
    running: str = "●"
    stopping: str = "◐"
    asleep: str = "◡"
    done: str = "✓"
    stopped: str = "■"
    failed: str = "✗"
    lost: str = "?"
    bar_full: str = "━"
    bar_rest: str = "─"
    cursor: str = "▎"
    eval_point: str = "○"
    ellipsis: str = "…"
    dot: str = "·"
    axis: str = "│"
    checked: str = "■"
    unchecked: str = "□"
    repaired: str = "~"
    split: str = "÷"
    newline: str = "↵"
    tab: str = "⇥"
    trained_start: str = "▸"
    trained_end: str = "◂"
    stop: str = "■"
    histogram: str = "▇"
    axis_tick: str = "┤"
    corner: str = "╰"
    foot_tick: str = "┴"
    grid: str = "┈"
    beyond: str = "↑"
    mark_line: str = "┊"
    checkpoint: str = "▲"
    best: str = "★"
    repair: str = "▼"
    resumed: str = "↻"
    early_stop: str = "■"
    runs: str = "●○◆◇"
    left_right: str = "← →"
    diamond: str = "◇"
    selected: str = "▶"
    folded: str = "▸"
    unfolded: str = "▾"
    sorted_up: str = "▴"
    sorted_down: str = "▾"
    braille: bool = True


_ASCII = Glyphs(
    mark="*",
    queued=".",
    starting="-",
    running="@",
    stopping="~",
    asleep="z",
    done="+",
    stopped="#",
    failed="x",
    lost="?",
    bar_full="=",
    bar_rest="-",
    cursor=">",
    eval_point="o",
    ellipsis="~",
    dot="-",
    axis="|",
    checked="x",
    unchecked="_",
    split="/",
    newline="$",
    tab=">",
    trained_start="{",
    trained_end="}",
    stop="#",
    histogram="#",
    axis_tick="+",
    corner="+",
    foot_tick="+",
    grid=".",
    beyond="^",
    mark_line=":",
    checkpoint="A",
    best="B",
    repair="V",
    resumed="R",
    early_stop="#",
    runs="*o#x",
    left_right="<- ->",
    diamond="%",
    selected="*",
    folded="+",
    unfolded="-",
    sorted_up="^",
    sorted_down="v",
    braille=False,
)

_current = Glyphs()


def use_ascii(only: bool) -> None:
    """Choose the set, once, before the app draws."""
    global _current
    _current = _ASCII if only else Glyphs()


def glyphs() -> Glyphs:
    return _current
