"""`luthier web`."""

from __future__ import annotations

import asyncio
import socket

import click

from serve.plan import is_loopback
from serve.ports import choose_port, choosing, remember_port
from serve.servers import base_url
from tui.commands.output import (
    examples,
    json_option,
    out,
    print_json,
    say_aside,
    say_warning,
    talk,
)

_MEMORY = "web-port"


@click.command(epilog=examples("luthier web", "luthier web --port 8080", "luthier web --json"))
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on. Anything but loopback lets other machines in, over a"
    " connection that is not encrypted.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="The port. Default: the last one used, or a free one.",
)
@json_option
def web(host: str, port: int | None, as_json: bool) -> None:
    """Serve the app to a browser, on this machine only. Prints the address once; it carries a
    token, without which nothing is served. Ctrl-C ends it."""
    from tui.web.server import WebServer, listening, log_path

    with choosing():
        listener = listening(host, choose_port(host, port, [], _MEMORY))
        port = int(listener.getsockname()[1])
        remember_port(port, _MEMORY)
    server = WebServer(
        listener,
        frozenset({host, socket.gethostname()}),
        failed=lambda: say_warning(f"The app of a tab ended with a fault: {log_path()} says why."),
    )
    url = base_url(host, port) + server.entry
    if not is_loopback(host):
        say_warning(
            f"Other machines can reach {host}:{port}, and whoever reads the network can read along:"
            " the token, too.",
            f"A tunnel is safer: ssh -L {port}:127.0.0.1:{port} {socket.gethostname()}",
        )
    if as_json:
        print_json({"url": url, "host": host, "port": port})
    else:
        talk.print("Open this address in a browser. Whoever has it can use Luthier:")
        out.print(url, soft_wrap=True)
        say_aside(
            "Each tab is an app of its own. Ctrl-C ends them all; runs and servers keep running."
        )
    asyncio.run(server.serve_until_stopped())
