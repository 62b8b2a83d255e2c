"""Writing a chat down: what has come is on the disk however the app ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

from textual.content import Content

from jobs.luthier_error import LuthierError
from tui.key_bindings import key_of
from workshop.chat.session import ChatSession


class Saving:
    """A terminal that is closed, or a system that shuts down, says so first: what has come is
    written. `leave` ends the app."""

    def __init__(self, session: ChatSession, leave: Callable[[], object]) -> None:
        self._session = session
        self._journal = session.record.journal
        self._leave = leave

    def begin(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._terminated)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hung_up)
        self._journal.prepare()

    def end(self) -> None:
        for number in (signal.SIGHUP, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)
        self._session.halt()
        self._journal.close()

    def _terminated(self) -> None:
        self._session.halt()
        self._journal.flush(2.0)
        self._leave()

    def _hung_up(self) -> None:
        """The terminal is gone: nothing can be drawn any more, and whoever tries may wait for
        ever."""
        self._session.halt()
        self._journal.close()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGHUP)

    def unsaved(self) -> str:
        """What would be lost if the app ended now; empty if nothing would."""
        problem = self._journal.problem
        if problem is None or self._journal.saved:
            return ""
        return (
            f"This chat is not saved ({problem.message}) {key_of('chat.export')} writes it to a"
            " file elsewhere."
        )


def warning(problem: LuthierError) -> Content:
    """What stands above the prompt while nothing can be written."""
    return Content(
        f"Not saved: {problem.title}. {problem.message} What you see is kept in memory and written"
        " as soon as it can be."
    )
