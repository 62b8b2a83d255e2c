"""Who may enter: nothing is served without the token, to whatever page or program asks.

Three checks stand before every route, the websocket included. The Host must be an address or a name
of this machine: a page of a foreign name that was rebound to this address is none. The Origin, if a
browser sends one, must be that same host: a page of another origin cannot open the websocket. And
the request must carry the cookie that the address with the token has set.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from hashlib import sha256
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

TOKEN = "token"
"""The parameter of the first address."""

WEBSOCKET_PATH = "/ws"

_NO_TOKEN = (
    "This is Luthier. Open the address that `luthier web` has printed: it carries the token.\n"
)
_OTHER_HOST = (
    "This address is not one of this machine's own names. Use its IP address or localhost, or start"
    " `luthier web --host NAME`.\n"
)
_OTHER_ORIGIN = "Another site's page cannot use Luthier.\n"

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # the terminal writes its own style sheet
        "font-src 'self'",
        "img-src data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "luthier",
}


class Door:
    """The token of one start, and the check before every route."""

    def __init__(self, port: int, names: frozenset[str]) -> None:
        """`names` are those of this machine, beside its addresses and localhost."""
        self.token = secrets.token_urlsafe(32)
        # a browser sends a cookie to all ports of a host: each server has its own name for it
        self.cookie_name = f"luthier-{port}"
        self._pass = secrets.token_urlsafe(32)
        self._names = names | {"localhost"}

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._is_own_name(request.host):
            raise web.HTTPForbidden(text=_OTHER_HOST)
        if not _is_own_origin(request):
            raise web.HTTPForbidden(text=_OTHER_ORIGIN)
        if request.path == "/" and _equal(request.query.get(TOKEN, ""), self.token):
            return self._entry()
        if not _equal(request.cookies.get(self.cookie_name, ""), self._pass):
            raise web.HTTPUnauthorized(text=_NO_TOKEN)
        return await handler(request)

    def _entry(self) -> web.Response:
        """To the page itself: the token leaves the address bar, the cookie stays for the
        session."""
        response = web.Response(status=303, headers={hdrs.LOCATION: "/"})
        # Lax: a link in a terminal that is itself a web page (an editor's) opens Luthier, too
        response.set_cookie(self.cookie_name, self._pass, httponly=True, samesite="Lax", path="/")
        return response

    def _is_own_name(self, host: str) -> bool:
        """Whatever the port, which a tunnel changes. An address is nobody's to rebind."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._names or _is_address(name)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """With every answer, refusals included."""
    response.headers.update(_HEADERS)


def _is_own_origin(request: web.Request) -> bool:
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        return request.path != WEBSOCKET_PATH  # a browser always sends it there
    return origin in (f"http://{request.host}", f"https://{request.host}")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _equal(secret: str, expected: str) -> bool:
    """Digests have one length, so that the comparison takes one time."""
    return hmac.compare_digest(
        sha256(secret.encode(errors="surrogateescape")).digest(),
        sha256(expected.encode()).digest(),
    )
