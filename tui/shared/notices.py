"""What is told when a job ends: a toast, and while the terminal has not the focus a bell, a desktop
notice and the terminal's title.

Nothing is told of what had ended before the app began, and nothing twice. What ends while nobody
looks is told when somebody looks again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from jobs.state import Done, Failed, Lost, Running, Starting, Stopped, Stopping, word
from tui.shared.foreign_text import one_line
from tui.shared.glyphs import glyphs
from workshop import config, number_format
from workshop.job_list import JobRow

if TYPE_CHECKING:
    from tui.app import LuthierApp

_NAME = "Luthier"
_MOST_TOASTS = 3
# XTWINOPS: the terminal keeps the title it had on a stack; terminals without one ignore it.
_PUSH_TITLE, _POP_TITLE = "\x1b[22;2t", "\x1b[23;2t"


class Ends:
    """Which jobs have ended since the last look."""

    def __init__(self) -> None:
        self._known: dict[str, object] | None = None

    def new(self, rows: Iterable[JobRow]) -> list[JobRow]:
        """The jobs whose end was not seen before; none at the first look."""
        now = {row.id: _end(row) for row in rows}
        before, self._known = self._known, now
        return (
            []
            if before is None
            else [
                row for row in rows if now[row.id] is not None and before.get(row.id) != now[row.id]
            ]
        )


def _end(row: JobRow) -> object:
    """Tells one end of a job from another; None while it lives. A lost job's last event may still
    move."""
    if row.alive:
        return None
    return "lost" if isinstance(row.state, Lost) else row.since


class Notices:
    """Tells the user of an app about ends. `silent`: no bell and no desktop notice."""

    def __init__(self, app: LuthierApp) -> None:
        self._app = app
        self._ends = Ends()
        self._held: list[JobRow] = []
        self._title = ""
        self.silent = config.read().get("silent") is True

    def begin(self) -> None:
        self._write(_PUSH_TITLE)

    def end(self) -> None:
        """Give the terminal its title back."""
        self._write(f"\x1b]2;\x07{_POP_TITLE}")

    def jobs_read(self, rows: list[JobRow]) -> None:
        ended = self._ends.new(rows)
        if self._app.app_focus:
            self._tell(ended)
        else:
            self._held += ended
            self._call(ended)
        self._show_title(terminal_title(rows, self._held[-1] if self._held else None))

    def focus_changed(self, focused: bool) -> None:
        if focused and self._held:
            ended, self._held = self._held, []
            self._tell(ended)
            self._show_title(terminal_title(self._app.rows or [], None))

    def toggle(self) -> None:
        """Silence, or sound again; remembered."""
        self.silent = not self.silent
        self._app.notify(
            "No bell and no desktop notices."
            if self.silent
            else "A bell and a desktop notice when a job ends elsewhere."
        )
        try:
            config.save("silent", self.silent)
        # a settings file that cannot be written, or that is no TOML
        except (OSError, ValueError) as error:
            self._app.notify(f"That was not saved: {error}", severity="warning")

    def _tell(self, ended: list[JobRow]) -> None:
        """A toast a job, unless the screen in front shows it; one for all, where there are many."""
        job_in_front = getattr(self._app.screen, "job", None)
        unseen = [row for row in ended if job_in_front is None or job_in_front.id != row.id]
        bad = any(isinstance(row.state, Failed | Lost) for row in unseen)
        if len(unseen) > _MOST_TOASTS:
            self._app.notify(_summary(unseen), severity="error" if bad else "information")
            return
        for row in unseen:
            self._app.notify(
                end_text(row),
                severity="error" if isinstance(row.state, Failed | Lost) else "information",
            )

    def _call(self, ended: list[JobRow]) -> None:
        worth_a_call = [row for row in ended if row.kind != "inspect"]
        if worth_a_call and not self.silent:
            text = end_text(worth_a_call[0]) if len(worth_a_call) == 1 else _summary(worth_a_call)
            self._app.bell()
            # A desktop notice: iTerm2, kitty, WezTerm, Ghostty, Windows Terminal, which read one
            # that begins with a figure as an order.
            self._write(f"\x1b]9;{_NAME}: {one_line(text)}\x07")

    def _show_title(self, title: str) -> None:
        if title != self._title:
            self._title = title
            self._write(f"\x1b]2;{one_line(title)}\x07")

    def _write(self, sequence: str) -> None:
        driver = self._app._driver  # Textual has no public way
        if driver is not None:
            driver.write(sequence)


def terminal_title(rows: Iterable[JobRow], ended: JobRow | None) -> str:
    """What ended while nobody looked, else what runs: "● captain 45 % · Luthier"."""
    if ended is not None:
        return (
            f"{getattr(glyphs(), word(ended.state))} {ended.name} {word(ended.state)}"
            f" {glyphs().dot} {_NAME}"
        )
    busy = [
        row
        for row in rows
        if row.kind != "server" and isinstance(row.state, Starting | Running | Stopping)
    ]
    if not busy:
        return _NAME
    first = max(busy, key=lambda row: (isinstance(row.state, Running), row.total > 0))
    share = f" {100 * first.step // first.total} %" if first.total else ""
    beside = f" +{len(busy) - 1}" if len(busy) > 1 else ""
    state = getattr(glyphs(), word(first.state))
    return f"{state} {first.name}{share}{beside} {glyphs().dot} {_NAME}"


def end_text(row: JobRow) -> str:
    """How a job ended, in a sentence."""
    match row.state:
        case Done() if row.kind == "run" and row.loss is not None:
            return (
                f"{row.name} is done: loss {number_format.loss(row.loss)} after {row.step} steps."
            )
        case Failed(title=title):
            return f"{row.name} failed: {title}."
        case Stopped() if row.total:
            return f"{row.name} was stopped at step {row.step} of {row.total}."
        case Stopped():
            return f"{row.name} was stopped."
        case Lost():
            return f"{row.name} was lost: its supervisor is gone."
        case _:
            return f"{row.name} is {word(row.state)}."


def _summary(rows: list[JobRow]) -> str:
    """Many ends in a sentence: "12 jobs have ended: 10 done, 2 failed."."""
    words = Counter(word(row.state) for row in rows)
    return (
        f"{len(rows)} jobs have ended:"
        f" {', '.join(f'{count} {how}' for how, count in words.most_common())}."
    )
