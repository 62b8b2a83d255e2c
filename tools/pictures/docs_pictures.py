"""The pictures of docs/ that show the app, by the names of their files."""

from __future__ import annotations

from pathlib import Path

from tools.pictures.animated_svg import animated, still
from tools.pictures.journey import SIZE, frames

DOCS = Path(__file__).resolve().parents[2] / "docs"
WALK = "walk.svg"
STILLS = {
    "home.svg": "home-3",
    "new-run.svg": "new-run",
    "run.svg": "run",
    "certificate.svg": "certificate",
    "chat.svg": "chat",
}
"""Which frame each of them is."""
STILL_SIZE = (120, 35)


async def pictures() -> dict[str, str]:
    walk = await frames(SIZE)
    large = await frames(STILL_SIZE)
    svgs = {WALK: animated(list(walk.values()))}
    for name, frame in STILLS.items():
        svgs[name] = still(large[frame].svg, large[frame].caption)
    return svgs
