"""The app in a browser: textual-serve's terminal and its link to the app, behind a door of ours.

A tab is an app of its own, in a process of its own, which ends with its tab. Runs and servers are
jobs and go on.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import shlex
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import textual_serve
from aiohttp import WSCloseCode, WSMsgType, web
from textual_serve.app_service import AppService
from textual_serve.server import Server

from jobs import foreign_json
from jobs.home import home
from serve.ports import port_taken
from tui.web.app_process import LOG_NAME
from tui.web.door import TOKEN, WEBSOCKET_PATH, Door, add_headers

_COMMAND = f"exec {shlex.join([sys.executable, '-P', '-m', 'tui.web.app_process'])}"
_OWN_FILES = Path(__file__).parent / "static"
_TERMINAL_FILES = Path(textual_serve.__file__).parent / "static"
_ENDS_WITHIN = 5.0  # seconds that an app has to save and to leave
_HEARTBEAT = 15.0  # seconds after which a browser that is gone is noticed


class AppProcess(AppService):
    """The app of one tab. However it ends, its tab hears of it; and however the tab ends, the app
    does."""

    async def run(self) -> None:
        try:
            await super().run()
        finally:
            await self.remote_close()

    async def stop(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(super().stop(), _ENDS_WITHIN)
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), _ENDS_WITHIN)
            if self._process.returncode is None:
                self._process.kill()

    @property
    def failed(self) -> bool:
        return self._process is not None and self._process.returncode not in (0, None)


class WebServer(Server):
    """Serves the app on a socket. `failed` is called when an app has ended with a fault."""

    def __init__(self, listener: socket.socket, names: frozenset[str], failed: Callable[[], None]):
        host, port = listener.getsockname()[:2]
        super().__init__(_COMMAND, host, port, title="Luthier")
        self.door = Door(port, names)
        self._listener = listener
        self._failed = failed
        self._tabs: set[web.WebSocketResponse] = set()

    @property
    def entry(self) -> str:
        """What the address ends with that lets in."""
        return f"/?{TOKEN}={self.door.token}"

    async def serve_until_stopped(self) -> None:
        """Until SIGINT, SIGTERM or SIGHUP. No request is written to a log: the first one carries
        the token."""
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stopped.set)
        runner = web.AppRunner(await self._make_app(), access_log=None)
        await runner.setup()
        try:
            await web.SockSite(runner, self._listener).start()
            await stopped.wait()
        finally:
            await runner.cleanup()

    async def _make_app(self) -> web.Application:
        app = web.Application(middlewares=[self.door.check])
        app.add_routes(
            [
                web.get("/", self._page),
                web.get(WEBSOCKET_PATH, self.handle_websocket),
                web.get("/download/{key}", self.handle_download),
                web.static("/static", _OWN_FILES),
                web.static("/terminal", _TERMINAL_FILES),
            ]
        )
        app.on_response_prepare.append(add_headers)
        app.on_shutdown.append(self.on_shutdown)
        return app

    async def on_shutdown(self, app: web.Application) -> None:
        closing = (tab.close(code=WSCloseCode.GOING_AWAY) for tab in list(self._tabs))
        await asyncio.gather(*closing, return_exceptions=True)

    async def _page(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(_OWN_FILES / "index.html")

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """One tab: its app starts, and ends with it."""
        width, height = (_cells(request, name) for name in ("width", "height"))
        tab = web.WebSocketResponse(heartbeat=_HEARTBEAT)
        await tab.prepare(request)

        async def close() -> None:
            await tab.close()

        app = AppProcess(
            self.command,
            write_bytes=tab.send_bytes,
            write_str=tab.send_str,
            close=close,
            download_manager=self.download_manager,
        )
        self._tabs.add(tab)
        try:
            await app.start(width, height)
            await _pass_on(tab, app)
        finally:
            self._tabs.discard(tab)
            await app.stop()
            if app.failed:
                self._failed()
        return tab


async def _pass_on(tab: web.WebSocketResponse, app: AppProcess) -> None:
    """What the page sends, to the app. What is no message of its is left out."""
    # a browser may send the halves of one letter, of an emoji, one by one
    letters = codecs.getincrementaldecoder("utf-16-le")("replace")
    async for message in tab:
        if message.type is not WSMsgType.TEXT:
            continue
        try:
            decoded = foreign_json.decode(message.data, "a message of the page")
        except foreign_json.Damaged:
            continue
        match decoded:
            case ["stdin", str(text)]:
                halves = text.encode("utf-16-le", "surrogatepass")
                await app.send_bytes(letters.decode(halves).encode())
            case ["resize", {"width": int(width), "height": int(height)}]:
                await app.set_terminal_size(_bounded(width), _bounded(height))
            case ["ping", str(moment)]:
                await tab.send_json(["pong", moment])
            case ["focus"]:
                await app.focus()
            case ["blur"]:
                await app.blur()
            case _:
                continue


_MOST_CELLS = 1000  # more would cost memory and show nothing


def _cells(request: web.Request, name: str) -> int:
    """A size that the browser has measured; the page sends another one soon."""
    text = request.query.get(name, "")
    if not (text.isascii() and text.isdecimal()):
        raise web.HTTPBadRequest(text=f"{name} is not a number of cells.\n")
    return _bounded(int(text[:5]))


def _bounded(cells: int) -> int:
    return max(1, min(cells, _MOST_CELLS))


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. LuthierError if somebody was quicker."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError:
        raise port_taken(host, port) from None


def log_path() -> Path:
    return home() / LOG_NAME
