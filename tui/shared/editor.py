"""A text in the user's own editor, with the app out of its way meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from textual.app import App, SuspendNotSupported

from jobs.luthier_error import LuthierError

if TYPE_CHECKING:
    from types import FrameType


@contextmanager
def handed_over(app: App[None]) -> Iterator[None]:
    """The terminal is the editor's: ctrl-C there reaches the app too, and is not meant for it."""

    def leave_to_the_editor(number: int, frame: FrameType | None) -> None:
        pass  # a program that is started does not inherit this, as it would SIG_IGN

    with app.suspend():
        handler = signal.signal(signal.SIGINT, leave_to_the_editor)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, handler)


def edited(app: App[None], text: str, suffix: str = ".md") -> str | None:
    """The text as it was saved; None if it was not. `$VISUAL` or `$EDITOR` names the editor."""
    from tui.shared.text_editor import edit_text

    try:
        with handed_over(app):
            return edit_text(text, suffix)
    except SuspendNotSupported:
        raise LuthierError(
            "No editor can be opened here",
            "The app has no terminal that it could hand over.",
            "Write the text here; ctrl+j begins a new line.",
        ) from None
