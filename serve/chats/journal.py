"""Writes chats down while they happen: a thread takes what has come since, a few times a second,
and commits it.

The event loop only puts things into a list. What cannot be written (a full disk, a locked file)
stays in memory, is told, and is tried again until it is written.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobs.luthier_error import LuthierError
from serve.chats.database import connect, in_words, path, transaction
from serve.chats.writer_locks import own_writer

Statement = tuple[str, tuple[Any, ...]]

WRITE_SECONDS = 0.25
_GATHER_SECONDS = 0.06
_RETRY_SECONDS = 2.0

_GROW = (
    "UPDATE answers SET text = text || ?, reasoning = reasoning || ? WHERE id = ? AND state ="
    " 'writing'"
)


class Journal:
    """`on_problem` is called in the journal's thread when writing fails, and with None when it
    works again."""

    def __init__(
        self,
        on_problem: Callable[[LuthierError | None], object] = lambda problem: None,
        file: Path | None = None,
    ) -> None:
        self.problem: LuthierError | None = None
        self._on_problem = on_problem
        self._file = file or path()
        self._statements: list[Statement] = []
        self._growth: dict[str, tuple[list[str], list[str]]] = {}
        self._guard = threading.Lock()
        self._news = threading.Event()
        self._idle = threading.Condition(self._guard)
        self._writing = False
        self._closing = False
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None

    # For the event loop: nothing here waits

    def write(self, *statements: Statement) -> None:
        """Have these done, in this order, after all that came before."""
        with self._guard:
            self._statements += statements
        self._wake()

    def grow(self, answer_id: str, text: str, reasoning: str) -> None:
        """Text that has come to an answer."""
        with self._guard:
            growth = self._growth.setdefault(answer_id, ([], []))
            growth[0].append(text)
            growth[1].append(reasoning)
        self._wake()

    def finish(self, answer_id: str, *statements: Statement) -> None:
        """The statements say the whole answer: what was still to be added to it is not."""
        with self._guard:
            self._growth.pop(answer_id, None)
            self._statements += statements
        self._wake()

    def prepare(self) -> None:
        """Open the database now, so that the first chat does not have to wait for it."""
        self._wake()

    @property
    def saved(self) -> bool:
        """Whether everything that was given has been committed."""
        with self._guard:
            return not (self._writing or self._statements or self._growth)

    def flush(self, seconds: float = 10.0) -> bool:
        """Wait until everything is written. False if that does not happen in this time."""
        self._hurry.set()
        self._wake()
        ends = time.monotonic() + seconds
        with self._idle:
            while self._writing or self._statements or self._growth:
                if not self._idle.wait(max(0.0, ends - time.monotonic())):
                    return False
        return True

    def close(self, seconds: float = 5.0) -> bool:
        """Write what is left and end the thread. False if something could not be written."""
        if self._thread is None:
            return True
        self.flush(seconds if self.problem is None else 0.5)
        self._closing = True
        self._hurry.set()
        self._wake()
        self._thread.join(seconds)
        return self.saved

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="chats", daemon=True)
            self._thread.start()
        if not self._news.is_set():
            self._news.set()

    # The thread

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        with suppress(OSError):  # told when the database is opened, which lies in the same folder
            own_writer()
        while not self._closing:
            self._news.wait()
            started = time.monotonic()
            # a prompt has just been sent: its first token is not to wait for a disk
            self._hurry.wait(_GATHER_SECONDS)
            self._news.clear()
            self._hurry.clear()
            try:
                connection = connection or connect(self._file)
                self._commit(connection)
            except (sqlite3.Error, OSError, LuthierError) as error:
                if connection is not None:  # a broken one is not used again
                    with suppress(sqlite3.Error):
                        connection.close()
                    connection = None
                self._tell(
                    error if isinstance(error, LuthierError) else in_words(error, self._file)
                )
                self._pause(started + _RETRY_SECONDS)
                self._news.set()
            else:
                self._tell(None)
                self._pause(started + WRITE_SECONDS)
        if connection is not None:
            connection.close()

    def _commit(self, connection: sqlite3.Connection) -> None:
        with self._guard:
            statements, growth = self._statements, self._growth
            self._statements, self._growth = [], {}
            self._writing = True
        try:
            if statements or growth:
                with transaction(connection):
                    for sql, values in statements:
                        connection.execute(sql, values)
                    for answer_id, (text, reasoning) in growth.items():
                        connection.execute(_GROW, ("".join(text), "".join(reasoning), answer_id))
        except BaseException:
            with self._guard:
                self._statements = statements + self._statements
                for answer_id, (text, reasoning) in growth.items():
                    later = self._growth.get(answer_id, ([], []))
                    self._growth[answer_id] = (text + later[0], reasoning + later[1])
            raise
        finally:
            with self._idle:
                self._writing = False
                self._idle.notify_all()

    def _tell(self, problem: LuthierError | None) -> None:
        before, self.problem = self.problem, problem
        if (before is None) != (problem is None) or (
            before is not None and problem is not None and before.title != problem.title
        ):
            self._on_problem(problem)

    def _pause(self, until: float) -> None:
        """Let more come together, unless somebody waits in `flush`."""
        self._hurry.wait(max(0.0, until - time.monotonic()))
