"""A table of what differs between runs, one column a run under its colour and sign."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from tui.runs.colours import track_colour, track_sign
from workshop.runs.differences import Comparison
from workshop.runs.track import Track, names

_GAP = 3
_LEAST = 8


def differences_content(comparison: Comparison, tracks: Sequence[Track], width: int) -> Content:
    """Long values are cut at the front, where paths begin alike."""
    rows = comparison.differing
    name_width = min(max([len(row.name) for row in rows] + [len("recipe")]) + 2, width // 3)
    room = max(_LEAST, (width - name_width) // max(1, len(tracks)) - _GAP)
    heads = [
        Content.assemble((f"{track_sign(track)} ", track_colour(track)), (name, "bold"))
        for track, name in zip(tracks, names(list(tracks)), strict=True)
    ]
    lines = [_row("", heads, name_width, room)]
    group = ""
    for row in rows:
        if row.group != group:
            group = row.group
            lines.append(Content.styled(group, "$primary"))
        values = [
            Content(_cut(value, room)) if value else Content.styled("-", "$foreground-muted")
            for value in row.values
        ]
        lines.append(_row(f"  {row.name}", values, name_width, room))
    if not rows:
        lines.append(Content.styled("No recorded setting differs.", "$foreground-muted"))
    equal_note = (
        f"{comparison.equal} other settings are the same in all." if comparison.equal else ""
    )
    return Content("\n").join([*lines, Content.styled(equal_note, "$foreground-muted")])


def _row(name: str, cells: Sequence[Content], name_width: int, room: int) -> Content:
    padded = [cell.truncate(room, ellipsis=True, pad=True) for cell in cells]
    return Content(" " * _GAP).join(
        [Content.styled(name[:name_width].ljust(name_width), "$foreground-muted"), *padded]
    )


def _cut(value: str, room: int) -> str:
    return value if len(value) <= room or "/" not in value else "..." + value[-(room - 3) :]
