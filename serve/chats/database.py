"""`chats.db`: its tables and how it is opened. SQLite from the standard library, in WAL mode: one
writes while others read.

Whoever wants to change it does so through `serve.chats`, in transactions of a few rows. A process
that is killed loses nothing that was committed; `synchronous=NORMAL` means that a power cut may
take back the last moments, never that it damages the file.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from jobs import os_errors
from jobs.home import home
from jobs.luthier_error import LuthierError

BUSY_SECONDS = 5.0

# The version of a database is how many of these it has. Never change one that was released: add
# another.
MIGRATIONS = [
    """
    CREATE TABLE chats (
        row INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        settings TEXT NOT NULL,          -- JSON: system, sampling
        blind INTEGER NOT NULL           -- 1 while the names are hidden
    );
    CREATE INDEX chats_updated ON chats (updated);
    CREATE TABLE panes (
        chat TEXT NOT NULL,
        position INTEGER NOT NULL,
        speaker TEXT NOT NULL,           -- JSON
        shown TEXT NOT NULL,             -- JSON: ids of the answers that it shows
        head TEXT,                       -- id of the answer that the next one continues
        PRIMARY KEY (chat, position)
    );
    CREATE TABLE turns (
        row INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        chat TEXT NOT NULL,
        number INTEGER NOT NULL,
        messages TEXT NOT NULL,          -- JSON: what it adds; the last one is the prompt
        prompt TEXT NOT NULL,
        settings TEXT NOT NULL,          -- JSON: system, sampling with the seed that was sent
        tools TEXT NOT NULL,             -- JSON
        source TEXT,                     -- JSON: the prompt of a file that it was
        edits TEXT,                      -- id of the turn that it is another version of
        created REAL NOT NULL,
        indexed INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX turns_chat ON turns (chat);
    CREATE INDEX turns_new ON turns (indexed) WHERE indexed = 0;
    CREATE TABLE answers (
        row INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        chat TEXT NOT NULL,
        turn TEXT NOT NULL,
        position INTEGER NOT NULL,
        speaker TEXT NOT NULL,           -- JSON
        parent TEXT,                     -- id of the answer before it in its conversation
        settings TEXT NOT NULL,          -- JSON: as it was asked; a second try has another seed
        skipped INTEGER NOT NULL,
        corrects TEXT,                   -- id of the answer that a person rewrote
        text TEXT NOT NULL DEFAULT '',
        reasoning TEXT NOT NULL DEFAULT '',
        calls TEXT NOT NULL DEFAULT '[]',
        state TEXT NOT NULL,             -- writing, complete, stopped, failed, given, interrupted
        detail TEXT NOT NULL DEFAULT '{}',   -- JSON: the figures, or the error
        writer TEXT,                     -- whose lock tells that it is still being written
        created REAL NOT NULL,
        indexed INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX answers_chat ON answers (chat);
    CREATE INDEX answers_writing ON answers (state) WHERE state = 'writing';
    CREATE INDEX answers_new ON answers (indexed) WHERE indexed = 0;
    CREATE TABLE votes (
        row INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        chat TEXT NOT NULL,
        turn TEXT NOT NULL,
        answers TEXT NOT NULL,           -- JSON: ids, in the order in which they were shown
        verdict TEXT NOT NULL,           -- better, worse, tie, bad
        choice TEXT,                     -- id of the best or the worst answer
        reason TEXT NOT NULL,
        blind INTEGER NOT NULL,
        created REAL NOT NULL,
        withdrawn REAL                   -- when another vote took its place
    );
    CREATE INDEX votes_chat ON votes (chat);
    """,
]


def path() -> Path:
    return home() / "chats.db"


def connect(file: Path | None = None) -> sqlite3.Connection:
    """A connection with every migration applied. LuthierError if the file cannot be used."""
    file = file or path()
    with errors_in_words(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)  # what is said to a model is nobody else's business
        connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            _use_wal(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            _migrate(connection, file)
        except BaseException:
            connection.close()
            raise
        _say_rows(connection)
        return connection


@contextmanager
def opened(file: Path | None = None) -> Iterator[sqlite3.Connection]:
    """A connection for a few statements; what SQLite refuses becomes a LuthierError."""
    with errors_in_words(file or path()), closing(connect(file)) as connection:
        yield connection


@contextmanager
def reading(file: Path | None = None) -> Iterator[sqlite3.Connection]:
    """The same for who only reads. Where there are no chats, or where they may not be written (a
    colleague's home, an archive), it is a copy in memory: what is written to it is gone
    afterwards."""
    file = file or path()
    if file.exists() and os.access(file, os.W_OK) and os.access(file.parent, os.W_OK):
        with opened(file) as connection:
            yield connection
        return
    with (
        errors_in_words(file),
        closing(sqlite3.connect(":memory:", isolation_level=None)) as connection,
    ):
        if file.exists():
            _copy(file, connection)
        _migrate(connection, file)
        _say_rows(connection)
        yield connection


def _say_rows(connection: sqlite3.Connection) -> None:
    """Rows by name; a text that is no UTF-8 is read all the same, or it would take every other row
    with it."""
    connection.row_factory = sqlite3.Row
    connection.text_factory = lambda text: text.decode(errors="replace")


def _copy(file: Path, into: sqlite3.Connection) -> None:
    """All of a database. SQLite reads beside a writer only where it may write, too, or where the
    writer's shared file is: where it refuses, nobody writes, and the files can be copied as they
    lie."""
    try:
        with closing(
            sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        ) as source:
            source.backup(into)
    except sqlite3.OperationalError:
        with tempfile.TemporaryDirectory() as folder:
            for part in (file, file.with_name(f"{file.name}-wal")):
                if part.exists():
                    shutil.copyfile(part, Path(folder) / part.name)
            with closing(sqlite3.connect(Path(folder) / file.name)) as source:
                source.backup(into)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. It takes the right to write at once, so that it never has to begin again in
    the middle."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Two processes that make the file at once: SQLite refuses the second one without waiting."""
    ends = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > ends:
                raise
            time.sleep(0.02)
        else:
            return


def _migrate(connection: sqlite3.Connection, file: Path) -> None:
    if _version(connection) < len(MIGRATIONS):
        with transaction(connection):
            # read again: another process may have been quicker
            for number in range(_version(connection), len(MIGRATIONS)):
                for statement in _statements(MIGRATIONS[number]):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number + 1}")
    elif _version(connection) > len(MIGRATIONS):
        message = f"{file} was written by a newer Luthier."
        raise LuthierError(
            "The chats cannot be read",
            message,
            "Update Luthier, or set LUTHIER_HOME to another folder.",
        )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would commit in between."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line.partition("--")[0]
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def errors_in_words(file: Path) -> Iterator[None]:
    """What SQLite or the system refuses, in words."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise in_words(error, file) from error


def in_words(error: BaseException, file: Path) -> LuthierError:
    reason = str(error)
    if isinstance(error, OSError) and "No space left" not in reason:
        return os_errors.in_words(error)
    if "full" in reason or "No space left" in reason:
        return LuthierError(
            "The disk is full",
            f"The chat cannot be written to {file}.",
            "Free some space: Luthier tries again until it works.",
        )
    if "locked" in reason:
        message = f"Another program has held {file} for more than {BUSY_SECONDS:.0f} s."
        return LuthierError(
            "The chats are locked",
            message,
            "Luthier tries again; a backup program may be reading the file.",
        )
    if "malformed" in reason or "not a database" in reason:
        return LuthierError(
            "The chats are damaged",
            f"{file}: {reason}.",
            "Move the file away; Luthier then creates a new one.",
        )
    return LuthierError(
        "The chats cannot be used",
        f"{file}: {reason}.",
        "Check its permissions and those of its folder.",
    )
