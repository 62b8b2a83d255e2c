"""Which port a server listens on: the one asked for, else the last one, else a free one."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from collections.abc import Collection, Iterator

from jobs.files import write_atomic
from jobs.home import home
from jobs.locks import Lock
from jobs.luthier_error import LuthierError

SERVER_PORT_FILE = "server-port"
"""The file of the home that keeps the last port of the servers of models."""


def choose_port(
    host: str, requested: int | None, promised: Collection[int], port_file: str = SERVER_PORT_FILE
) -> int:
    """A port to listen on. `promised` are those of servers that are only starting, which the kernel
    does not show yet. `port_file` is the file of the home that keeps the last one.

    LuthierError if the wanted one is taken or if this machine cannot listen on the host.
    """
    if requested is not None:
        if not 1 <= requested <= 65535:
            raise LuthierError(
                "No such port",
                f"{requested} is not between 1 and 65535.",
                "Leave out --port to use a free one.",
            )
        if requested in promised or not _is_vacant(host, requested):
            raise port_taken(host, requested)
        return requested
    last = last_port(port_file)
    if last is not None and last not in promised and _is_vacant(host, last):
        return last
    while (port := free_port(host)) in promised:
        continue
    return port


def _is_vacant(host: str, port: int) -> bool:
    """Whether a port is free, and no server that is starting, of whatever home, has reserved it."""
    if not is_free(host, port):
        return False
    try:
        with reserved(host, port):
            return True
    except LuthierError:
        return False


@contextlib.contextmanager
def reserved(host: str, port: int) -> Iterator[None]:
    """Hold a port before anything listens there: vLLM does so only once the model is loaded. The
    kernel lets go of it with the process. LuthierError if somebody else holds it."""
    with socket.socket(socket.AF_UNIX) as mark:
        # a name without a file: it is this machine's, as the port is, and cannot be left behind
        if sys.platform == "linux":
            try:
                mark.bind(f"\0luthier-port-{port}")
            except OSError:
                raise port_taken(host, port) from None
        yield


def port_taken(host: str, port: int) -> LuthierError:
    return LuthierError(
        "The port is taken",
        f"Another program is listening on {host}:{port}, or is about to.",
        "Choose another --port, or leave it out to use a free one.",
    )


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now. It must listen to know: binding alone succeeds
    beside a server that is starting."""
    try:
        with _bound(host, port) as probe:
            probe.listen(1)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


@contextlib.contextmanager
def choosing() -> Iterator[None]:
    """One process of this home at a time chooses a port: the job of the one before promises it by
    then."""
    home().mkdir(parents=True, exist_ok=True)
    lock = Lock(home() / "ports.lock")
    lock.acquire(wait=True)
    try:
        yield
    finally:
        lock.release()


def remember_port(port: int, port_file: str = SERVER_PORT_FILE) -> None:
    """The next server listens here too, so that its clients keep their address."""
    write_atomic(home() / port_file, f"{port}\n")


def last_port(port_file: str = SERVER_PORT_FILE) -> int | None:
    """The port of the last server, which its clients know."""
    try:
        port = int((home() / port_file).read_text())
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
            "Cannot listen there",
            f"{host}:{port}: {reason}.",
            "127.0.0.1 is this machine only; 0.0.0.0 is every address of this machine.",
        ) from error
    return probe
