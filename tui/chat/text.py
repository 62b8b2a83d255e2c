"""What the chat screen says of answers, settings and models, in one line each."""

from __future__ import annotations

from serve.chats.formatting import settings_parts
from serve.chats.turns import ChatSettings, ToolCall
from tui.key_bindings import key_of
from tui.shared.glyphs import glyphs


def dotted(parts: list[str]) -> str:
    return f" {glyphs().dot} ".join(parts)


def dotted_rows(parts: list[str], width: int) -> list[str]:
    """Figures in as many rows as they need, none cut in two."""
    rows: list[list[str]] = [[]]
    for part in parts:
        if rows[-1] and len(dotted([*rows[-1], part])) > width:
            rows.append([])
        rows[-1].append(part)
    return [dotted(row) for row in rows]


def settings_line(settings: ChatSettings) -> str:
    return dotted(settings_parts(settings))


def thought_line(thoughts: str, open_ended: bool, unfolded: bool) -> str:
    """The line that stands for reasoning; `open_ended` while more of it may come."""
    words = len(thoughts.split())
    sign = glyphs().unfolded if unfolded else glyphs().folded
    verb = f"thinking{glyphs().ellipsis}" if open_ended else "thought"
    return f"{sign} {verb} {words} word{'' if words == 1 else 's'}" + (
        "" if unfolded or open_ended else f" {glyphs().dot} {key_of('chat.fold')} shows"
    )


def call_line(call: ToolCall, unfolded: bool) -> str:
    """The line that stands for a tool call."""
    sign = glyphs().unfolded if unfolded else glyphs().folded
    flat = " ".join(call.arguments.split())
    short = flat if len(flat) <= 24 else f"{flat[:23]}{glyphs().ellipsis}"
    return f"{sign} calls {call.name or '(no name)'}" + ("" if unfolded else f"({short})")
