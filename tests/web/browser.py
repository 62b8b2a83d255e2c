"""Headless Chromium, driven over its DevTools protocol: what a person does with `luthier web`, and
what the page shows.

What the terminal in the page shows is drawn on a canvas. Its text is read from what the websocket
brings, its colours from pictures.
"""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image
from rich.cells import cell_len

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
SIZE = (1280, 800)

_PIECE = re.compile(
    r"\x1b\[([0-9;?=<>$ ]*)([A-Za-z])|\x1b\][^\x07]*\x07|\x1b.|([\r\n])|([^\x1b\r\n]+)", re.DOTALL
)
_KEYS = {
    "enter": ("Enter", 13, "\r"),
    "escape": ("Escape", 27, ""),
    "tab": ("Tab", 9, ""),
    "down": ("ArrowDown", 40, ""),
    "up": ("ArrowUp", 38, ""),
}


class Screen:
    """The cells of a terminal, by what was sent to it: only what Textual sends."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], str] = {}
        self._row = self._column = 0
        self.size = (80, 24)
        """In columns and rows, as the page has measured them."""

    def clear(self) -> None:
        self._cells.clear()

    def feed(self, text: str) -> None:
        for piece in _PIECE.finditer(text):
            parameters, command, line_end, words = piece.groups()
            if command == "H":
                row, _, column = parameters.partition(";")
                self._row, self._column = int(row or 1) - 1, int(column or 1) - 1
            elif line_end == "\n":
                self._row += 1
            elif line_end == "\r":
                self._column = 0
            for letter in words or "":
                self._cells[self._row, self._column] = letter
                self._column += cell_len(letter)

    @property
    def text(self) -> str:
        columns, rows = self.size
        return "\n".join(
            "".join(self._cells.get((row, column), " ") for column in range(columns)).rstrip()
            for row in range(rows)
        )


class Tab:
    """One page of the browser."""

    def __init__(self, devtools: aiohttp.ClientWebSocketResponse) -> None:
        self._devtools = devtools
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.screen = Screen()
        self.requested: list[str] = []
        """Every address that the page asked for."""
        self.console: list[str] = []
        """What the browser complained about."""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._devtools:
            answer = json.loads(message.data)
            if "id" in answer:
                self._answers.pop(answer["id"]).set_result(answer)
                continue
            details = answer["params"]
            match answer["method"]:
                case "Network.webSocketFrameReceived" if details["response"]["opcode"] == 2:
                    payload = base64.b64decode(details["response"]["payloadData"])
                    self.screen.feed(payload.decode(errors="replace"))
                case "Network.webSocketFrameSent" if (
                    '"resize"' in details["response"]["payloadData"]
                ):
                    size = json.loads(details["response"]["payloadData"])[1]
                    self.screen.size = (size["width"], size["height"])
                case "Network.requestWillBeSent":
                    self.requested.append(details["request"]["url"])
                case "Log.entryAdded":
                    self.console.append(details["entry"]["text"])
                case "Runtime.exceptionThrown":
                    self.console.append(str(details["exceptionDetails"]))
                case _:
                    pass

    async def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._devtools.send_json({"id": number, "method": method, "params": parameters})
        answer = await self._answers[number]
        assert "error" not in answer, answer
        return answer["result"]

    async def open(self, url: str) -> None:
        self.screen = Screen()
        await self.call("Page.navigate", url=url)

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression comes to in the page."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        return answer["result"].get("value")

    async def write(self, text: str) -> None:
        for letter in text:
            await self.call("Input.dispatchKeyEvent", type="keyDown", key=letter, text=letter)
            await self.call("Input.dispatchKeyEvent", type="keyUp", key=letter)

    async def paste(self, text: str) -> None:
        """As an input method writes: whole words at once."""
        await self.call("Input.insertText", text=text)

    async def press(self, *names: str) -> None:
        for name in names:
            key, code, text = _KEYS[name]
            event = {"key": key, "code": key, "windowsVirtualKeyCode": code}
            await self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
            await self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    async def picture(self) -> Image.Image:
        data = (await self.call("Page.captureScreenshot", format="png"))["data"]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")

    async def until_shown(self, *words: str, seconds: float = 30.0) -> None:
        await self.until(lambda: all(word in self.screen.text for word in words), words, seconds)

    async def until(
        self, condition: Callable[[], bool], awaited: object, seconds: float = 30.0
    ) -> None:
        ends = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends, f"no {awaited}:\n{self.screen.text}\n{self.console}"
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        self._reading.cancel()
        await self._devtools.close()


@asynccontextmanager
async def browser(profile: Path) -> AsyncIterator[Callable[[], Any]]:
    """A Chromium of its own. Calling what it yields opens a tab."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
        *(
            "--disable-background-networking",
            "--disable-component-update",
            "--remote-debugging-port=0",
        ),
        *(f"--user-data-dir={profile}", f"--window-size={SIZE[0]},{SIZE[1]}", "about:blank"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        port = await _devtools_port(profile)
        async with aiohttp.ClientSession() as session:
            tabs: list[Tab] = []

            async def open_tab() -> Tab:
                new = f"http://127.0.0.1:{port}/json/new?about:blank"
                async with session.put(new) as response:
                    target = await response.json(content_type=None)
                devtools = await session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0)
                tab = Tab(devtools)
                for domain in ("Page", "Network", "Runtime", "Log"):
                    await tab.call(f"{domain}.enable")
                tabs.append(tab)
                return tab

            yield open_tab
            for tab in tabs:
                await tab.close()
    finally:
        process.terminate()
        await process.wait()


async def _devtools_port(profile: Path) -> int:
    """Chromium writes it once it listens."""
    ends = time.monotonic() + 60
    file = profile / "DevToolsActivePort"
    while not (file.exists() and file.read_text().count("\n")):
        assert time.monotonic() < ends, "Chromium did not start"
        await asyncio.sleep(0.05)
    return int(file.read_text().splitlines()[0])
