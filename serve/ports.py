"""Which port a server listens on: the one asked for, else the last one, else a free one."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection
from pathlib import Path

from jobs.errors import LuthierError
from jobs.files import write_atomic
from jobs.home import home


def choose_port(host: str, wanted: int | None, promised: Collection[int]) -> int:
    """A port to listen on. `promised` are those of servers that are only starting, which the kernel does not show yet.

    LuthierError if the wanted one is taken or if this machine cannot listen on the host.
    """
    if wanted is not None:
        if not 1 <= wanted <= 65535:
            raise LuthierError("No such port", f"{wanted} is not between 1 and 65535.", "Leave --port out to have one chosen.")
        if wanted in promised or not is_free(host, wanted):
            raise port_taken(host, wanted)
        return wanted
    last = _last_port()
    if last is not None and last not in promised and is_free(host, last):
        return last
    while (port := free_port(host)) in promised:
        continue
    return port


def port_taken(host: str, port: int) -> LuthierError:
    return LuthierError(
        "The port is taken", f"Something else listens on {host}:{port}.", "Name another --port, or leave it out to have a free one chosen."
    )


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now. It must listen to know: binding alone succeeds beside a server that is starting."""
    try:
        with _bound(host, port) as probe:
            probe.listen(1)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


def remember_port(port: int) -> None:
    """The next server listens here too, so that clients need not be told a new address."""
    write_atomic(_last_port_path(), f"{port}\n")


def _last_port_path() -> Path:
    return home() / "server-port"


def _last_port() -> int | None:
    try:
        port = int(_last_port_path().read_text())
    except (FileNotFoundError, ValueError):
        return None
    return port if 1024 <= port <= 65535 else None


def free_port(host: str) -> int:
    """Any port that nobody listens on now."""
    with _bound(host, 0) as probe:
        return int(probe.getsockname()[1])


def _bound(host: str, port: int) -> socket.socket:
    """A socket bound as vLLM binds its own."""
    probe = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
    except OSError as error:
        probe.close()
        if error.errno == errno.EADDRINUSE:
            raise
        reason = error.strerror or str(error)
        raise LuthierError(
            "Cannot listen there", f"{host}:{port}: {reason}.", "127.0.0.1 is this machine only, 0.0.0.0 every address of it."
        ) from error
    return probe
