from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from serve.ports import choose_port, is_free, remember_port, reserved

LOCAL = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((LOCAL, 0)) as listener:
        yield int(listener.getsockname()[1])


def test_a_named_port_is_taken_or_given(taken: int) -> None:
    with pytest.raises(LuthierError, match="port is taken"):
        choose_port(LOCAL, taken, [])
    free = choose_port(LOCAL, None, [])
    assert choose_port(LOCAL, free, []) == free
    with pytest.raises(LuthierError, match="port is taken"):
        choose_port(LOCAL, free, [free])


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_no_such_port(port: int) -> None:
    with pytest.raises(LuthierError, match="between 1 and 65535"):
        choose_port(LOCAL, port, [])


def test_the_last_port_is_used_again_while_it_is_free(luthier_home: Path, taken: int) -> None:
    last = choose_port(LOCAL, None, [])
    remember_port(last)
    assert choose_port(LOCAL, None, []) == last
    assert choose_port(LOCAL, None, [last]) != last
    remember_port(taken)
    assert choose_port(LOCAL, None, []) != taken
    (luthier_home / "server-port").write_text("damaged")
    assert choose_port(LOCAL, None, []) > 1023


def test_a_port_is_free_again_at_once() -> None:
    """Closed connections linger on it; they do not make it taken."""
    with socket.create_server((LOCAL, 0)) as listener:
        port = int(listener.getsockname()[1])
        with socket.create_connection((LOCAL, port)):
            listener.accept()[0].close()
        assert not is_free(LOCAL, port)
    assert is_free(LOCAL, port)


def test_a_foreign_address_is_named() -> None:
    with pytest.raises(LuthierError, match=r"192\.0\.2\.77"):
        choose_port("192.0.2.77", None, [])


def test_a_port_that_a_starting_server_of_any_home_holds_is_taken() -> None:
    """vLLM listens only once its model is loaded: of two on one port, the second would load a model
    for nothing."""
    port = choose_port(LOCAL, None, [])
    with reserved(LOCAL, port):
        with pytest.raises(LuthierError, match="port is taken"):
            choose_port(LOCAL, port, [])
        with pytest.raises(LuthierError, match="port is taken"), reserved("0.0.0.0", port):
            pass
        remember_port(port)
        assert choose_port(LOCAL, None, []) != port
    assert choose_port(LOCAL, port, []) == port
