from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from serve.key_files import client_key, control_key


def test_keys_are_made_once_and_kept(luthier_home: Path) -> None:
    client, control = client_key(), control_key()
    assert (client_key(), control_key()) == (client, control)
    assert client != control
    assert min(len(client), len(control)) >= 32


def test_only_their_owner_reads_them(luthier_home: Path) -> None:
    client_key()
    folder = luthier_home / "keys"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [(path.name, path.stat().st_mode & 0o777) for path in folder.iterdir()] == [
        ("client", 0o600)
    ]
    (folder / "client").chmod(0o644)
    client_key()
    assert (folder / "client").stat().st_mode & 0o777 == 0o600


@pytest.mark.heavy
def test_processes_at_once_get_the_same_key(luthier_home: Path) -> None:
    command = [sys.executable, "-c", "from serve.key_files import client_key; print(client_key())"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(6)
    ]
    answers = {process.communicate()[0] for process in processes}
    assert answers == {client_key() + "\n"}


@pytest.mark.parametrize(
    "text", ["", "short", "with a space in the middle of it", "ünïcode-ünïcode-ünïcode"]
)
def test_a_damaged_key_is_named(luthier_home: Path, text: str) -> None:
    client_key()
    (luthier_home / "keys" / "client").write_text(text)
    with pytest.raises(LuthierError, match="does not contain a key"):
        client_key()
