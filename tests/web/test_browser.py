"""`luthier web` in a real Chromium: the app is drawn, a run's chart moves, two models are asked,
and nothing comes from elsewhere."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image, ImageChops

from jobs.home import models_directory
from jobs.job import Job
from tests.fakes.openai_server import FAKE_KEY, FakeServer
from tests.tui import folders
from tests.tui.lock_holder import held
from tests.web.browser import CHROMIUM, Screen, Tab, browser
from tests.web.conftest import Web, serving
from tui.screens import SCREENS

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.timeout(180),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]

Open = Callable[[], Awaitable[Tab]]
_KEY_OF = {screen.place: screen.key for screen in SCREENS}


@pytest.fixture
async def open_tab(tmp_path: Path) -> AsyncIterator[Open]:
    async with browser(tmp_path / "profile") as opened:
        yield opened


@pytest.fixture
def jobs(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Job]:
    """A job in each state; their times are this machine's."""
    monkeypatch.setattr(folders, "NOW", time.time())
    folders.base_model(models_directory() / "builtin")
    return folders.all_states()


def more_steps(job: Job, first: int, last: int, total: int = 800) -> None:
    """A run goes on: its loss swings."""
    with job.events_path.open("a") as file:
        for step in range(first, last + 1):
            loss = round(2.0 + math.sin(step / 9), 4)
            event = {"t": time.time(), "kind": "step", "step": step, "total": total, "loss": loss}
            file.write(json.dumps({**event, "epoch": 3 * step / total}) + "\n")


def differing(before: Image.Image, after: Image.Image) -> int:
    """How many pixels of two pictures differ."""
    difference = ImageChops.difference(before, after).convert("L")
    return sum(difference.point(lambda value: value > 24).histogram()[1:])


async def test_the_app_is_drawn_and_all_of_it_comes_from_this_machine(
    web: Web, open_tab: Open
) -> None:
    tab = await open_tab()
    await tab.open(web.url)
    await tab.until_shown("Luthier", "Runs", "Chat")
    assert await tab.value("location.href") == f"{web.origin}/"
    assert await tab.value("document.fonts.check('16px \"Roboto Mono\"')")
    hosts = {urlsplit(url).netloc for url in tab.requested if not url.startswith("data:")}
    assert hosts == {urlsplit(web.url).netloc}
    assert not [line for line in tab.console if "WebGL" not in line]
    picture = await tab.picture()
    assert len(picture.getcolors(1 << 20) or []) > 20  # letters, not an empty page


async def test_a_wrong_token_shows_nothing_of_the_app(web: Web, open_tab: Open) -> None:
    tab = await open_tab()
    await tab.open(f"{web.origin}/?token=wrong")
    text = ""
    while not text:
        text = await tab.value("document.body?.innerText ?? ''")
    assert text.startswith("This is Luthier. Open the address")
    assert not tab.screen.text.strip()


async def test_another_sites_page_reaches_nothing(web: Web, open_tab: Open) -> None:
    """From a page of another port, with the cookie in the same browser."""
    tab = await open_tab()
    await tab.open(web.url)
    await tab.until_shown("Luthier")
    with serving() as other:
        await tab.open(f"{other.origin}/")
        address = f"{web.origin.replace('http', 'ws')}/ws?width=80&height=24"
        socket = f"""new Promise(resolve => {{
            const socket = new WebSocket('{address}');
            socket.onopen = () => resolve('open'); socket.onerror = () => resolve('refused');
        }})"""
        assert await tab.value(socket) == "refused"


async def test_a_runs_chart_moves_while_the_run_goes_on(
    jobs: dict[str, Job], web: Web, open_tab: Open
) -> None:
    with held(*(jobs[name] for name in folders.LIVING)):
        tab = await open_tab()
        await tab.open(web.url)
        await tab.until_shown("halting")  # the list has been read
        await tab.write(_KEY_OF["runs"] + "/pirate")
        await tab.until(lambda: "halting" not in tab.screen.text, "filtered list")
        await tab.press("enter", "enter")
        await tab.until_shown("340")
        before = await tab.picture()
        more_steps(jobs["pirate"], 341, 600)
        await tab.until_shown("600")
        ends = time.monotonic() + 20
        while differing(before, await tab.picture()) < 500:
            assert time.monotonic() < ends


async def test_two_models_answer_side_by_side(
    jobs: dict[str, Job], home: Path, open_tab: Open
) -> None:
    keys = home / "keys"
    keys.mkdir(mode=0o700)
    (keys / "client").write_text(FAKE_KEY)
    (keys / "client").chmod(0o600)
    with FakeServer(("base", "captain"), tokens_per_second=200) as server, serving() as web:
        port = urlsplit(server.base_url).port
        assert port is not None
        folders.serve(jobs["captain-server"], "captain", port=port)
        server.answer = lambda model, messages: f"{model} heard: {messages[-1]['content']}"
        with held(jobs["captain-server"]):
            tab = await open_tab()
            await tab.open(web.url)
            await tab.until_shown("Luthier")
            await tab.write(_KEY_OF["chat"])
            await tab.until_shown("base", "captain", "Ask")
            await tab.write("Ahoy, ")
            await tab.paste("größte Flut 🌊?")
            await tab.until_shown("Flut")
            await tab.press("enter")
            await tab.until_shown("base heard: Ahoy, größte", "captain heard: Ahoy, größte")
            picture = await tab.picture()
            assert (
                differing(picture, Image.new("RGB", picture.size, picture.getpixel((0, 0)))) > 5000
            )


def _near(size: tuple[int, int], expected: tuple[int, int]) -> bool:
    return all(0.85 < cells / other < 1.2 for cells, other in zip(size, expected, strict=True))


def _fills(screen: Screen) -> bool:
    lines = screen.text.splitlines()
    return screen.size[0] - 2 <= len(lines[0]) <= screen.size[0] and "quit" in lines[-1]


async def test_a_window_that_changes_its_size_is_filled(web: Web, open_tab: Open) -> None:
    tab = await open_tab()
    await tab.open(web.url)
    await tab.until_shown("Luthier")
    for width, height in ((700, 420), (1900, 1000)):
        await tab.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        # letters of about 9 by 21 pixels; the header ends at the right edge, the footer is last
        ends = time.monotonic() + 20
        while not _near(tab.screen.size, (width // 10, height // 21)):
            assert time.monotonic() < ends
            await asyncio.sleep(0.05)
        await tab.until(lambda: _fills(tab.screen), f"{width} by {height}")


async def test_the_end_of_the_app_is_said_and_it_opens_again(web: Web, open_tab: Open) -> None:
    tab = await open_tab()
    await tab.open(web.url)
    await tab.until_shown("quit")
    await tab.write("q")
    shown = "getComputedStyle(document.querySelector('.ended')).display"
    ends = time.monotonic() + 20
    while await tab.value(shown) != "flex":
        assert time.monotonic() < ends
    tab.screen.clear()
    await tab.value("document.getElementById('again').click()")
    await tab.until_shown("Luthier", "Runs")
