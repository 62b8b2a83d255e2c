"""Nothing of `luthier web` is reached without its token, from whatever page or program."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import aiohttp
import pytest
from aiohttp import WSMsgType

from jobs import processes
from serve.ports import free_port
from tests.web.conftest import LUTHIER, Web, serving

pytestmark = pytest.mark.heavy

ROUTES = [
    "/",
    "/?token=wrong",
    "/?token=",
    "/?token=a&token=b",
    "/ws",
    "/ws?width=80&height=24",
    "/download/0",
    "/static/page.js",
    "/static/",
    "/static/../../cli.py",
    "/terminal/js/textual.js",
    "/terminal/",
    "/nothing",
    "/favicon.ico",
]


async def entered(web: Web) -> aiohttp.ClientSession:
    """A session that has opened the address, and has its cookie."""
    session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
    async with session.get(web.url, allow_redirects=False) as answer:
        assert answer.status == 303
        assert answer.headers["Location"] == "/"
    return session


def apps_of(web: Web) -> list[int]:
    return processes.descendants(web.process.pid)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
async def test_no_route_answers_without_the_token(web: Web, method: str) -> None:
    cookies = {f"luthier-{web.origin.rpartition(':')[2]}": "wrong"}
    async with aiohttp.ClientSession() as session:
        for route in ROUTES:
            for sent in ({}, cookies):
                async with session.request(method, web.origin + route, cookies=sent) as answer:
                    assert answer.status in (401, 403), route
                    assert "Set-Cookie" not in answer.headers
    assert not apps_of(web)


async def test_the_token_opens_the_first_page_and_the_cookie_the_rest(web: Web) -> None:
    token = web.url.partition("=")[2]
    async with aiohttp.ClientSession() as stranger:
        for route in ("/ws", "/static/page.js", "/nothing"):
            async with stranger.get(f"{web.origin}{route}?token={token}") as answer:
                assert answer.status in (401, 403), route
    async with await entered(web) as session:
        (cookie,) = session.cookie_jar
        assert cookie["httponly"] and cookie["samesite"] == "Lax"
        assert token not in cookie.value
        for route, status in (
            ("/", 200),
            ("/static/page.js", 200),
            ("/terminal/js/textual.js", 200),
            ("/static/", 403),
            ("/static/..%2F..%2Fcli.py", 404),
            ("/nothing", 404),
        ):
            async with session.get(web.origin + route) as answer:
                assert answer.status == status, route
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
                assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
async def test_a_name_that_was_rebound_to_this_machine_is_none(web: Web, host: str) -> None:
    async with (
        await entered(web) as session,
        session.get(web.origin, headers={"Host": host}) as answer,
    ):
        assert answer.status in (400, 403)


async def test_a_tunnel_may_change_the_port(web: Web) -> None:
    headers = {"Host": "localhost:9999", "Origin": "http://localhost:9999"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(web.url, headers=headers, allow_redirects=False) as answer,
    ):
        assert answer.status == 303


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "", None]
)
async def test_another_sites_page_cannot_open_the_websocket(web: Web, origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": origin}
    async with await entered(web) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await session.ws_connect(f"{web.origin}/ws?width=80&height=24", headers=headers)
    assert refusal.value.status == 403
    assert not apps_of(web)


async def test_an_app_ends_with_its_tab(web: Web) -> None:
    async with await entered(web) as session:
        address = f"{web.origin}/ws?width=80&height=24"
        async with session.ws_connect(address, headers={"Origin": web.origin}) as tab:
            async with asyncio.timeout(20):
                message = await tab.receive()
            assert message.type is WSMsgType.BINARY
            assert len(apps_of(web)) == 1
        await gone(web)


async def test_a_tab_hears_of_an_app_that_was_killed(web: Web) -> None:
    async with await entered(web) as session:
        address = f"{web.origin}/ws?width=80&height=24"
        async with session.ws_connect(address, headers={"Origin": web.origin}) as tab:
            async with asyncio.timeout(20):
                await tab.receive()
                os.kill(apps_of(web)[0], signal.SIGKILL)
                while (await tab.receive()).type is WSMsgType.BINARY:
                    continue
            assert tab.closed
    _, talk = web.stop()
    assert "ended with a fault" in talk


@pytest.mark.parametrize(
    "size", ["width=80", "width=x&height=24", "width=-1&height=2", "width=%F0&height=1"]
)
async def test_a_size_that_is_none_starts_nothing(web: Web, size: str) -> None:
    async with await entered(web) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await session.ws_connect(f"{web.origin}/ws?{size}", headers={"Origin": web.origin})
    assert refusal.value.status == 400


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_every_app_ends_with_the_server(web: Web, number: signal.Signals) -> None:
    async with await entered(web) as session:
        address = f"{web.origin}/ws?width=80&height=24"
        async with session.ws_connect(address, headers={"Origin": web.origin}) as tab:
            await tab.receive()
            (app,) = apps_of(web)
            web.process.send_signal(number)
            while (await tab.receive()).type is WSMsgType.BINARY:
                continue
    web.process.wait(20)
    assert web.process.returncode == (-9 if number is signal.SIGKILL else 0)
    ends = time.monotonic() + 15
    while app in processes.parents():
        assert time.monotonic() < ends
        await asyncio.sleep(0.05)


async def test_the_token_is_printed_once_and_logged_nowhere(web: Web, home: Path) -> None:
    token = web.url.partition("=")[2]
    async with await entered(web) as session:
        for _ in range(3):
            async with session.get(web.url):
                pass
    out, talk = web.stop()
    assert token not in out + talk
    assert all(token not in file.read_text() for file in home.rglob("*") if file.is_file())
    assert web.process.returncode == 0


def test_the_port_is_the_one_requested_else_the_last_one(home: Path) -> None:
    port = free_port("127.0.0.1")
    with serving("--port", str(port)) as first:
        assert first.origin.endswith(f":{port}")
        with serving() as second:
            assert not second.origin.endswith(f":{port}")
        refused = subprocess.run(
            [*LUTHIER, "web", "--port", str(port)], capture_output=True, text=True, check=False
        )
        assert refused.returncode == 1
        assert "The port is taken" in refused.stderr
    with serving() as third:
        assert third.origin == second.origin


def test_a_host_for_others_is_warned_of(home: Path) -> None:
    with serving("--host", "0.0.0.0") as web:
        _, talk = web.stop()
    assert "Other machines" in talk
    assert "ssh -L" in talk and socket.gethostname() in talk


async def gone(web: Web) -> None:
    ends = time.monotonic() + 15
    while apps_of(web):
        assert time.monotonic() < ends
        await asyncio.sleep(0.05)


async def test_halves_of_a_letter_and_other_messages_leave_the_app_alive(web: Web) -> None:
    async with await entered(web) as session:
        address = f"{web.origin}/ws?width=80&height=24"
        async with session.ws_connect(address, headers={"Origin": web.origin}) as tab:
            await tab.receive()
            for odd in (
                '["stdin", "\\ud83c"]',
                '["stdin", "\\udf0a"]',
                '["stdin", "\\udf0a"]',
                '["stdin", 3]',
                '["resize", {"width": 1e9}]',
                '["resize", {"width": 999999999, "height": 0}]',
                '["ping"]',
                "[]",
                "{",
                "[" * 5000,
            ):
                await tab.send_str(odd)
            await tab.send_str('["ping", "7"]')
            async with asyncio.timeout(20):
                while (message := await tab.receive()).type is WSMsgType.BINARY:
                    continue
            assert message.data == '["pong", "7"]'
            assert len(apps_of(web)) == 1
