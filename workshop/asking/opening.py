"""The endpoint that a job asks, and the cache of its answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from jobs.home import home, private_folder
from jobs.locks import Lock
from jobs.luthier_error import LuthierError
from jobs.spec import slug
from serve.client import Endpoint
from serve.comparison.journal import Journal
from serve.endpoint_address import hosted_at, own_server_at


def opened(address: str, purpose: str, key_env: str, key_file: str) -> Endpoint:
    """With its key, read now. LuthierError if there is none."""
    own_endpoint = None if key_env or key_file else own_server_at(address)
    if own_endpoint is not None:
        return own_endpoint
    return hosted_at(address, purpose, [key_env] if key_env else [], key_file).open()


def cache_of(folder_name: str, model: str, base_url: str) -> Path:
    """All answers of a model to the jobs of one kind, whatever they were asked for."""
    folder = home() / folder_name
    private_folder(folder)
    mark = sha256(f"{base_url} {model}".encode()).hexdigest()[:8]
    return folder / f"{slug(model)}-{mark}" / "answers.jsonl"


@contextmanager
def open_journal(cache: Path, model: str) -> Iterator[Journal]:
    """The cache, for this process alone. LuthierError if another job writes it."""
    cache.parent.mkdir(exist_ok=True, mode=0o700)
    lock = Lock(cache.with_name("lock"))
    if not lock.acquire():
        raise LuthierError(
            "Already asking",
            f"Another job asks {model} just now.",
            "`luthier runs --all` shows it.",
        )
    try:
        yield Journal(cache)
    finally:
        lock.release()
