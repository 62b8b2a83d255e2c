"""The line at the top: the app's name, the screens with their keys, and what runs."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from jobs.state import Asleep, Running, Starting
from tui.screens import TABS, ScreenInfo
from tui.shared.action import Place
from tui.shared.glyphs import glyphs
from tui.shared.mode import Mode
from workshop.job_list import JobRow, newest_server, running_count


class HeaderLine(Horizontal):
    """`place` is where the app is; a run belongs to the tab of the runs."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place: Place = "runs" if place == "run" else place
        self._state: Content | None = None

    def compose(self) -> ComposeResult:
        yield Static(
            Content.assemble((glyphs().mark, "$primary"), " ", ("Luthier", "b")), id="app-name"
        )
        for screen in TABS:
            text = Content.assemble((_key_of(screen), "$foreground-muted"), f" {screen.title}")
            tab = Static(text.stylize(f"@click=app.show('{screen.place}')"), classes="tab")
            tab.set_class(screen.place == self.place, "-here")
            yield tab
        yield Static(id="app-mode")
        yield Static(id="app-state")

    def on_mount(self) -> None:
        self.watch(self.app, "rows", self.show_jobs)

    def show_mode(self, mode: Mode | None) -> None:
        """Name the mode that the screen is in, in its colour."""
        label = self.query_one("#app-mode", Static)
        label.display = mode is not None
        if mode is not None:
            label.update(Content.styled(f" {mode.word} ", f"bold reverse {mode.colour}"))

    def show_jobs(self, rows: list[JobRow] | None) -> None:
        text = _state_text(rows or [], narrow=self.app.size.width < 100)
        # else every screen that is open would be painted again at each look
        if text != self._state:
            self._state = text
            self.query_one("#app-state", Static).update(text, layout=False)


def _key_of(screen: ScreenInfo) -> str:
    """The key that leads there, the user's own if there is one. The registry imports the screens,
    which import this module: it is read when a header is made."""
    from tui.key_bindings import actions_of

    return next(
        action.key_names[0] for action in actions_of("app") if action.id == f"app.{screen.place}"
    )


def _state_text(rows: list[JobRow], narrow: bool) -> Content:
    parts = []
    server = newest_server(rows)
    waiting = sum(row.position > 0 for row in rows)
    jobs = running_count(row for row in rows if row.kind != "server") - sum(
        row.position > 0 and row.kind != "server" for row in rows
    )
    if jobs:
        parts.append(
            _signed(
                glyphs().running, "$primary", f"{jobs}{'' if narrow and waiting else ' running'}"
            )
        )
    if waiting:
        parts.append(
            _signed(
                glyphs().queued, "$foreground-muted", f"{waiting}{'' if narrow else ' waiting'}"
            )
        )
    if server is not None and isinstance(server.state, Running):
        parts.append(
            _signed(glyphs().running, "$success", "serving" if narrow else f"serving {server.name}")
        )
    elif server is not None and isinstance(server.state, Asleep):
        parts.append(_signed(glyphs().asleep, "$secondary", "server asleep"))
    elif server is not None and isinstance(server.state, Starting):
        parts.append(_signed(glyphs().starting, "$warning", "server starting"))
    if not parts:
        return Content.from_markup("[$foreground-muted]idle[/]")
    return Content("   ").join(parts)


def _signed(sign: str, colour: str, text: str) -> Content:
    return Content.assemble((sign, colour), f" {text}")
