"""The line at the top: the app's name, the screens with their keys, and what runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from textual import getters
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from tui.app import LuthierApp
from tui.screens import TABS, ScreenInfo
from tui.shared.action import Place
from tui.shared.glyphs import glyphs
from tui.shared.mode import Mode
from tui.shared.steady_text import SteadyText

if TYPE_CHECKING:
    from jobs.machine import Machine
    from workshop.job_list import JobRow

_Form = Literal["title", "key", "none"]
_Words = Literal["all", "some", "few"]
_WORDS: list[_Words] = ["all", "some", "few"]
"""In which the state is said: the most that leave the names of all screens their room."""
_TAB_OF: dict[Place, Place] = {"run": "runs", "report": "compare"}
"""The tabs of screens that other screens open."""
_GAP = 4  # cells beside tabs and state
_IDLE = Content.from_markup("[$foreground-muted]idle[/]")


class HeaderTab(Static):
    """A screen with its key."""

    def __init__(self, screen: ScreenInfo, is_here: bool) -> None:
        super().__init__(classes="tab")
        self._screen_info, self._is_here = screen, is_here
        self._key = _key_of(screen)
        self._form: _Form | None = None
        self.set_class(is_here, "-here")

    def width_as(self, form: _Form) -> int:
        """Its cells in this form. The one of the screen in front always has its title."""
        match "title" if self._is_here else form:
            case "title":
                return len(self._key) + len(self._screen_info.title) + 3
            case "key":
                return len(self._key) + 2
            case "none":
                return 0

    def show_as(self, form: _Form) -> None:
        form = "title" if self._is_here else form
        if form == self._form:
            return
        self._form = form
        self.display = form != "none"
        title = f" {self._screen_info.title}" if form == "title" else ""
        text = Content.assemble((self._key, "$foreground-muted"), title)
        self.update(text.stylize(f"@click=app.show('{self._screen_info.place}')"))


class HeaderLine(Horizontal):
    """`place` is where the app is."""

    app = getters.app(LuthierApp)

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.tab_place: Place = _TAB_OF.get(place, place)
        self._rows: list[JobRow] | None = None
        self._state: Content | None = None

    def compose(self) -> ComposeResult:
        yield Static(
            Content.assemble((glyphs().mark, "$primary"), " ", ("Luthier", "b")), id="app-name"
        )
        for screen in TABS:
            yield HeaderTab(screen, is_here=screen.place == self.tab_place)
        yield Static(id="app-mode")
        yield SteadyText(id="app-state")

    def on_mount(self) -> None:
        self.watch(self.app, "rows", self.show_jobs)

    def show_mode(self, mode: Mode | None) -> None:
        """Name the mode that the screen is in, in its colour."""
        label = self.query_one("#app-mode", Static)
        label.display = mode is not None
        if mode is not None:
            label.update(Content.styled(f" {mode.word} ", f"bold reverse {mode.colour}"))
        self.call_after_refresh(self._fit)

    def show_jobs(self, rows: list[JobRow] | None) -> None:
        self._rows = rows
        texts = [_state_text(rows or [], self.app.machine, words) for words in _WORDS]
        text = next(
            (text for text in texts if set(self._forms_beside(text)) == {"title"}), texts[-1]
        )
        self.query_one("#app-state", SteadyText).update(text, layout=False)
        if text != self._state:
            self._state = text
            self._fit()

    def on_resize(self, event: Resize) -> None:
        self.show_jobs(self._rows)
        self._fit()

    def _fit(self) -> None:
        """Have the tabs leave the state its room."""
        tabs = self.query(HeaderTab)
        for tab, form in zip(tabs, self._forms_beside(self._state or Content("")), strict=True):
            tab.show_as(form)

    def _forms_beside(self, state: Content) -> list[_Form]:
        """The widest tabs that leave this state its room: from the last one on, titles go first,
        then keys."""
        tabs, label = list(self.query(HeaderTab)), self.query_one("#app-mode", Static)
        name_width = self.query_one("#app-name").outer_size.width
        room = self.size.width - name_width - state.cell_length - _GAP
        room -= label.outer_size.width if label.display else 0
        forms: list[_Form] = ["title"] * len(tabs)
        for narrower in ("key", "none"):
            for index in reversed(range(len(tabs))):
                if sum(map(HeaderTab.width_as, tabs, forms)) <= room:
                    return forms
                forms[index] = narrower
        return forms


def _key_of(screen: ScreenInfo) -> str:
    """The key that leads there, the user's own if there is one. The registry imports the screens,
    which import this module: it is read when a header is made."""
    from tui.key_bindings import actions_of

    return next(
        action.key_names[0] for action in actions_of("app") if action.id == f"app.{screen.place}"
    )


def _state_text(rows: list[JobRow], machine: Machine | None, words: _Words) -> Content:
    if not rows:
        return _IDLE
    # not before the first paint
    from jobs.state import Asleep, Running, Starting
    from tui.shared.machine_text import strain
    from workshop.job_list import newest_server, running_count

    parts = []
    # an empty home's machine may be as busy as it likes
    if machine is not None and running_count(rows):
        parts += [short] if (short := strain(machine, words != "all")) else []
    server = newest_server(rows)
    waiting = sum(row.position > 0 for row in rows)
    jobs = running_count(row for row in rows if row.kind != "server") - sum(
        row.position > 0 and row.kind != "server" for row in rows
    )
    if jobs:
        running = "" if words == "few" and waiting else " running"
        parts.append(_signed(glyphs().running, "$primary", f"{jobs}{running}"))
    if waiting:
        in_words = "" if words == "few" else " waiting"
        parts.append(_signed(glyphs().queued, "$foreground-muted", f"{waiting}{in_words}"))
    if server is not None and isinstance(server.state, Running):
        name = f" {server.name}" if words == "all" else ""
        parts.append(_signed(glyphs().running, "$success", f"serving{name}"))
    elif server is not None and isinstance(server.state, Asleep):
        parts.append(_signed(glyphs().asleep, "$secondary", "server asleep"))
    elif server is not None and isinstance(server.state, Starting):
        parts.append(_signed(glyphs().starting, "$warning", "server starting"))
    return Content("   ").join(parts) if parts else _IDLE


def _signed(sign: str, colour: str, text: str) -> Content:
    return Content.assemble((sign, colour), f" {text}")
