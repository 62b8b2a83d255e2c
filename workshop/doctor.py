"""What is wrong in Luthier's home and with what it shares with other programs, and what the doctor
may do about it by itself: only what is safe, within the home, and deletes nothing of the user's."""

from __future__ import annotations

import shlex
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.files import expanded
from jobs.gpus import gpus, occupants
from jobs.home import home, jobs_directory
from jobs.job import all_jobs, damaged_jobs, left_behind
from jobs.locks import holder
from jobs.luthier_error import LuthierError
from jobs.queue import left_waiting
from models.endpoints import hosted_endpoints
from models.environment import Check, checks
from models.imports.launch import unfinished
from serve.ports import is_free, last_port
from serve.servers import running_servers
from trainer.data.cache import cache_directory
from workshop import config
from workshop.number_format import size

_ABANDONED_SECONDS = 3600.0
_MUCH_CACHE = 50e6  # bytes
_OTHERS_MEMORY = 0.1  # of a GPU
_REMOVING = ".removing-"  # jobs.job.remove gives a folder this name before it deletes it


@dataclass(frozen=True)
class Fix:
    """What the doctor can do about a check."""

    question: str
    done: str
    """What to say afterwards."""
    do: Callable[[], None]


@dataclass(frozen=True)
class Finding:
    check: Check
    fix: Fix | None = None


def examine() -> Iterator[Finding]:
    """Every check of the machine, with those of the home among them; the slow ones come last."""
    for check in checks():
        yield Finding(check, _room(check))
        if check.name == "disk":
            yield from examine_home()


def examine_home() -> Iterator[Finding]:
    """What is amiss in the home, one finding a kind of trouble; nothing where all is well."""
    for examination in (
        _settings,
        _private_files,
        _damaged_jobs,
        _orphans,
        _left_waiting,
        _interrupted_removals,
        _unfinished_imports,
        _endpoint_keys,
        _taken_port,
        _gpu_memory,
    ):
        with suppress(OSError):  # a home that cannot be read has a check of its own
            yield from examination()


def _settings() -> Iterator[Finding]:
    reason = config.damage()
    if reason:
        path = home() / "config.toml"
        yield Finding(
            Check(
                "settings",
                None,
                f"{path} cannot be read: {reason}",
                "Until it is repaired, the defaults hold.",
                f"${{EDITOR:-nano}} {_quoted(path)}",
            )
        )


def _private_files() -> Iterator[Finding]:
    paths = [*(home() / "keys").glob("*"), *home().glob("chats.db*")]
    open_files = [path for path in paths if path.is_file() and _is_open(path)]
    if open_files:
        names = ", ".join(str(path.relative_to(home())) for path in open_files)
        yield Finding(
            Check(
                "private files",
                None,
                f"other users of this machine can read {names}",
                "API keys and chats are nobody else's business.",
                f"chmod go= {' '.join(map(_quoted, open_files))}",
            ),
            Fix(
                f"Close {names} to other users?",
                f"Other users can no longer read {names}.",
                lambda: _close(open_files),
            ),
        )


def _is_open(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def _close(paths: list[Path]) -> None:
    for path in paths:
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)


def _damaged_jobs() -> Iterator[Finding]:
    for damaged in damaged_jobs():
        yield Finding(
            Check(
                "damaged job",
                None,
                f"{damaged.id}: {damaged.why}",
                f"This deletes {damaged.job.directory} and everything in it.",
                f"luthier remove {shlex.quote(damaged.id)}",
            )
        )


def _orphans() -> Iterator[Finding]:
    for job in all_jobs():
        pids = left_behind(job)
        if pids:
            yield Finding(
                Check(
                    "orphans",
                    None,
                    f"processes of {job.id} run without their supervisor: pid"
                    f" {', '.join(map(str, pids))}",
                    "They end by themselves once they have saved their work; this ends them now.",
                    f"luthier stop {job.id}",
                )
            )


def _left_waiting() -> Iterator[Finding]:
    waiting = left_waiting()
    if waiting:
        yield Finding(
            Check(
                "queue",
                None,
                f"{len(waiting)} waiting when the machine went down:"
                f" {', '.join(job.short_id for job in waiting)}",
                "This queues them again.",
                "luthier requeue",
            )
        )


def _interrupted_removals() -> Iterator[Finding]:
    """What a person has removed, and a crash or a reboot kept from going; and preparations of data
    that never ended."""
    with suppress(FileNotFoundError):
        remains = [
            path
            for path in (
                *jobs_directory().glob(f"{_REMOVING}*"),
                *cache_directory().glob(".preparing-*"),
            )
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS
            and holder(path / "lock") is None
        ]
        if remains:
            names = ", ".join(path.name for path in remains)
            yield Finding(
                Check(
                    "leftovers",
                    None,
                    f"{size(sum(map(_bytes, remains)))} that nobody needs: {names}",
                    "Removals and preparations that were interrupted.",
                    f"rm -r {' '.join(map(_quoted, remains))}",
                ),
                Fix(f"Finish deleting {names}?", f"Deleted {names}.", lambda: _delete(remains)),
            )


def _room(check: Check) -> Fix | None:
    """Where the disk is short, prepared data can go: Luthier makes it again where it is needed."""
    cache = cache_directory()
    if check.name != "disk" or check.ok or not cache.is_dir():
        return None
    cached = [path for path in cache.iterdir() if not path.name.startswith(".")]
    freed = sum(map(_bytes, cached))
    if freed < _MUCH_CACHE:
        return None
    return Fix(
        f"Empty the cache of prepared data ({size(freed)})? Luthier makes it again when it needs"
        " it.",
        f"Emptied {cache}.",
        lambda: _delete(cached),
    )


def _delete(paths: list[Path]) -> None:
    for path in paths:
        if path.is_symlink() or path.is_file():
            path.unlink()
        else:
            shutil.rmtree(path)


def _bytes(path: Path) -> int:
    """What deleting it frees: a file with another link elsewhere stays."""
    files = path.rglob("*") if path.is_dir() else [path]
    status = [file.lstat() for file in files if file.is_file() or file.is_symlink()]
    return sum(each.st_size for each in status if each.st_nlink == 1)


def _unfinished_imports() -> Iterator[Finding]:
    for part in unfinished():
        name, is_source_known = shlex.quote(part.name), part.source != "?"
        yield Finding(
            Check(
                "import",
                None,
                f"the import of {part.name} is unfinished ({size(part.bytes)})",
                "This continues it." if is_source_known else "This deletes it.",
                f"luthier models import {shlex.quote(part.source)} --name {name}"
                if is_source_known
                else f"luthier models remove {name}",
            )
        )


def _endpoint_keys() -> Iterator[Finding]:
    try:
        endpoints = hosted_endpoints()
    except LuthierError:  # `_settings` says it
        return
    for endpoint in endpoints:
        path = expanded(endpoint.key_file) if endpoint.key_file else None
        if path is not None and path.is_file() and _is_open(path):
            yield Finding(
                Check(
                    "endpoint",
                    None,
                    f"other users can read {path}, the key of {endpoint.name}",
                    "Luthier does not use a key that others can read.",
                    f"chmod 600 {_quoted(path)}",
                )
            )


def _taken_port() -> Iterator[Finding]:
    """The port that clients of the last server know, if a program that is none of ours has it."""
    port = last_port()
    if port is None or any(server.port == port for server in running_servers()):
        return
    with suppress(LuthierError):
        if not is_free("127.0.0.1", port):
            shows_program = f"ss -ltnp 'sport = :{port}'"
            yield Finding(
                Check(
                    "port",
                    None,
                    f"another program listens on {port}, the port of the last server",
                    "The next server gets another port, and its clients another address."
                    f" `{shows_program}` shows the program.",
                    shows_program,
                )
            )


def _gpu_memory() -> Iterator[Finding]:
    for gpu in gpus():
        if gpu.total - gpu.free > _OTHERS_MEMORY * gpu.total:
            yield Finding(
                Check(
                    f"GPU {gpu.index}",
                    None,
                    f"{size(gpu.total - gpu.free)} of {size(gpu.total)} in use by"
                    f" {occupants(gpu.index)}",
                    "Runs that need more wait until it is free. This lists Luthier's own jobs,"
                    " which `luthier stop` ends.",
                    "luthier runs --all",
                )
            )


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
