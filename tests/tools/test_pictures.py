"""The pictures of docs/: each has its maker, and shows the app as it is now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.pictures.animated_svg import Frame, animated, texts
from tools.pictures.docs_pictures import DOCS, STILLS, WALK, pictures

_CHARTS = {"engines.svg"}
"""bench.gpu.curves draws it of runs on a GPU; no screen is to be seen on it."""
_PICTURE = re.compile(r"!\[[^]]+\]\((?:docs/)?([\w-]+\.svg)\)")
_MACHINE = re.compile(r"\d[\d.,]*|[█▉▊▋▌▍▎▏─━╸╺]+|\s+")
"""What a new run's forecast says of the machine that it is made on."""
_ROOT = DOCS.parent


def _named() -> set[str]:
    pages = [_ROOT / "README.md", *DOCS.glob("*.md")]
    return {name for page in pages for name in _PICTURE.findall(page.read_text())}


def test_each_picture_has_a_maker_and_a_page() -> None:
    drawn = {path.name for path in DOCS.glob("*.svg")}
    assert drawn == {WALK, *STILLS} | _CHARTS == _named()


def test_no_picture_asks_for_more_than_an_image_may_do() -> None:
    for name in (WALK, *STILLS):
        picture = (DOCS / name).read_text()
        assert not re.search(r"<script|<foreignObject|https?://(?!www\.w3\.org)|url\(", picture)
    assert (DOCS / WALK).stat().st_size < 600_000


def _screen(text: str) -> str:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg"><style>.x-r1 { fill: #ffffff }</style>'
        '<rect x="0" y="0" width="122" height="48.8"/>'
        '<rect fill="#000000" x="0" y="1.5" width="122" height="24" shape-rendering="crispEdges"/>'
        f'<text class="x-r1" x="0" y="20" textLength="122">{text}</text></svg>'
    )


def test_frames_share_rows_and_keep_their_texts() -> None:
    svg = animated([Frame(_screen(text), 1.0, "c") for text in ("one", "one", "a &amp; b")])
    assert texts(svg) == ["one", "one", "a & b"]
    assert svg.count(">one<") == 1 and svg.count("@keyframes") == 3


@pytest.mark.heavy
@pytest.mark.timeout(300)
async def test_the_pictures_show_the_app_as_it_is() -> None:
    for name, picture in (await pictures()).items():
        kept = texts(Path(DOCS / name).read_text())
        drawn_texts = texts(picture)
        assert len(drawn_texts) == len(kept), f"{name}: python -m tools.pictures"
        for now, before in zip(drawn_texts, kept, strict=True):
            if "tensor memory of" in now:
                now, before = _MACHINE.sub(" ", now), _MACHINE.sub(" ", before)
            assert now == before, f"{name}: python -m tools.pictures"
