"""A picture of every screen and dialog at 80x24, 120x35 and 200x60, dark and light, and whether
each of its words stands out.

`pytest --snapshot-update` draws them anew into `pictures/`: the text first, then the styles of its
cells, so that a change can be read there.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import string
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import pytest
from rich.style import Style
from textual.color import Color

from tests.tui.test_themes import contrast
from tests.tui.walk import HUGE, THEMES, Painting, filled, paintings

_PICTURES = Path(__file__).with_name("pictures")
_HOME = Path("/tmp/luthier-pictures")
"""Its name is painted: it must be the same for everybody."""
_OF_THE_MACHINE = ("PlanModal", "MergeModal")
"""They say what fits on this machine. test_run_plan and test_merge_form have pictures of them."""
_LEAST_CONTRAST = 4.5
_NO_WORDS = re.compile(r"[\s\u2500-\u259f\u2800-\u28ff·…\W]*")
_LETTERS = string.ascii_letters + string.digits

Pair = tuple[str, str]


@contextmanager
def fixed_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with Path(f"{_HOME}.lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        shutil.rmtree(_HOME, ignore_errors=True)
        _HOME.mkdir()
        monkeypatch.setenv("LUTHIER_HOME", str(_HOME))
        monkeypatch.chdir(_HOME)
        try:
            yield
        finally:
            shutil.rmtree(_HOME, ignore_errors=True)


def style_name(style: Style | None) -> str:
    """Colours and attributes, without what is not seen of it."""
    if style is None:
        return ""
    return str(style.without_color + Style(color=style.color, bgcolor=style.bgcolor))


def cells(painting: Painting) -> list[list[str]]:
    """The style of each cell."""
    return [
        [style_name(style) for text, style, _ in strip for _ in text] for strip in painting.strips
    ]


def picture(dark: Painting, light: Painting) -> str:
    """A screen at one size: its text, then each line as runs of a letter and a width, and what the
    letters mean in both themes."""
    legend: dict[Pair, str] = {}
    rows = []
    for dark_line, light_line in zip(cells(dark), cells(light), strict=True):
        runs = []
        for pair, run in groupby(zip(dark_line, light_line, strict=True)):
            letter = legend.setdefault(pair, _LETTERS[len(legend)])
            runs.append(f"{letter}{len(list(run))}")
        rows.append(" ".join(runs))
    meaning = [f"{letter}: {pair[0]} | {pair[1]}" for pair, letter in legend.items()]
    text = [re.sub(r"127\.0\.0\.1:\d{5}", "127.0.0.1:54321", line).rstrip() for line in dark.lines]
    width, height = dark.size
    return "\n".join((f"== {width}x{height}", *text, "", *rows, "", *meaning, ""))


def pictures(made: Sequence[Painting]) -> dict[str, str]:
    """By the name of the screen."""
    texts: dict[str, str] = {}
    by_theme = [[each for each in made if each.theme == theme] for theme in THEMES]
    for dark, light in zip(*by_theme, strict=True):
        if not dark.name.endswith(_OF_THE_MACHINE):
            texts[dark.name] = texts.get(dark.name, "") + picture(dark, light)
    return texts


def faint(painting: Painting) -> set[str]:
    """The words that do not stand out from what is behind them."""
    faint_words = set()
    for text, style in painting.styles():
        if style.color is None or style.bgcolor is None or _NO_WORDS.fullmatch(text):
            continue
        ink, paper = (
            Color.from_rich_color(style.color),
            Color.from_rich_color(style.bgcolor),
        )
        ratio = contrast(*((paper, ink) if style.reverse else (ink, paper)))
        if ratio < _LEAST_CONTRAST:
            where = f"{painting.name} {painting.size} {painting.theme}"
            faint_words.add(f"{where}: {text.strip()[:40]!r} {ink.hex} on {paper.hex}: {ratio:.2f}")
    return faint_words


@pytest.mark.heavy
@pytest.mark.timeout(1500)
async def test_every_picture(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    with fixed_home(monkeypatch), filled(_HOME, is_foreign=False):
        painted = [each for each in await paintings(THEMES) if each.size != HUGE]
    faults = sorted(fault for painting in painted for fault in faint(painting))
    drawn = pictures(painted)
    _PICTURES.mkdir(exist_ok=True)
    if request.config.option.update_snapshots:
        for path in _PICTURES.glob("*.txt"):
            path.unlink()
        for name, text in drawn.items():
            (_PICTURES / f"{name}.txt").write_text(text)
    kept = {path.stem: path.read_text() for path in _PICTURES.glob("*.txt")}
    faults += [f"{name}: no picture of it any more" for name in kept.keys() - drawn.keys()]
    for name, text in drawn.items():
        if text != kept.get(name):
            lines = zip(text.splitlines(), kept.get(name, "").splitlines(), strict=False)
            first = next((pair for pair in lines if pair[0] != pair[1]), ("", ""))
            faults.append(f"{name} looks different:\n  {first[0]}\n  {first[1]}")
    assert not faults, "\n".join(faults)
