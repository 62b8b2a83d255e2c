"""What is told when a job ends: a toast, and while the terminal has not the focus a bell, a desktop
notice and the terminal's title.

Nothing is told of what had ended before the app began, and nothing twice. What ends while nobody
looks is told when somebody looks again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.shared.foreign_text import one_line
from workshop import config

if TYPE_CHECKING:  # the first paint does not wait for the states of jobs
    from tui.app import LuthierApp
    from tui.shared.ends import Ends
    from workshop.job_list import JobRow

_NAME = "Luthier"
_MOST_TOASTS = 3
# XTWINOPS: the terminal keeps the title it had on a stack; terminals without one ignore it.
_PUSH_TITLE, _POP_TITLE = "\x1b[22;2t", "\x1b[23;2t"


class Notices:
    """Tells the user of an app about ends. `silent`: no bell and no desktop notice."""

    def __init__(self, app: LuthierApp) -> None:
        self._app = app
        self._ends: Ends | None = None
        self._held: list[JobRow] = []
        self._title = ""
        self.silent = config.read().get("silent") is True

    def begin(self) -> None:
        self._write(_PUSH_TITLE)

    def end(self) -> None:
        """Give the terminal its title back."""
        self._write(f"\x1b]2;\x07{_POP_TITLE}")

    def jobs_read(self, rows: list[JobRow]) -> None:
        from tui.shared.ends import Ends, terminal_title

        self._ends = self._ends or Ends()
        ended = self._ends.new(rows)
        if self._app.app_focus:
            self._tell(ended)
        else:
            self._held += ended
            self._call(ended)
        self._show_title(terminal_title(rows, self._held[-1] if self._held else None))

    def focus_changed(self, focused: bool) -> None:
        if focused and self._held:
            from tui.shared.ends import terminal_title

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
        from tui.shared.ends import end_text, is_bad, summary

        job_in_front = getattr(self._app.screen, "job", None)
        unseen = [row for row in ended if job_in_front is None or job_in_front.id != row.id]
        bad = any(is_bad(row) for row in unseen)
        if len(unseen) > _MOST_TOASTS:
            self._app.notify(summary(unseen), severity="error" if bad else "information")
            return
        for row in unseen:
            self._app.notify(end_text(row), severity="error" if is_bad(row) else "information")

    def _call(self, ended: list[JobRow]) -> None:
        from tui.shared.ends import end_text, summary

        worth_a_call = [row for row in ended if row.kind != "inspect"]
        if worth_a_call and not self.silent:
            text = end_text(worth_a_call[0]) if len(worth_a_call) == 1 else summary(worth_a_call)
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
