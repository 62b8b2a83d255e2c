"""What can be done here and everywhere, made from the registry of actions, and the terms of the
screen from the glossary. Typing narrows it down."""

from __future__ import annotations

from textwrap import wrap
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from tui.key_bindings import ACTIONS
from tui.screens import PLACE_TITLES, SUMMARIES
from tui.shared.action import Action, Place
from tui.shared.dialog import Dialog, DialogKeys
from tui.shared.glossary import Term, matching_terms
from tui.shared.key_line import KeyHint
from tui.shared.styles import DIALOGS

_KEYS, _TITLE = 14, 16  # cells of the longest, and a gap
_TEXT_COLUMN = _KEYS + _TITLE


class HelpModal(Dialog[None]):
    CSS_PATH = DIALOGS
    BINDINGS: ClassVar[list[BindingType]] = [Binding("f1,enter", "dismiss")]

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -tall") as dialog:
            dialog.border_title = "Help"
            yield Input(placeholder="type to search", compact=True)
            with VerticalScroll(can_focus=False) as scroll:
                scroll.styles.scrollbar_gutter = "stable"  # the text is wrapped before it appears
                yield Static(id="help-text")
            yield DialogKeys(KeyHint("down", "up down", "scroll"))

    def entries(self) -> list[object]:
        return []  # what is typed looks for something

    def on_mount(self) -> None:
        self.call_after_refresh(self.show_text)

    def on_resize(self) -> None:
        self.call_after_refresh(self.show_text)

    @on(Input.Changed)
    def show_text(self) -> None:
        width = self.query_one(VerticalScroll).scrollable_content_region.width
        self.query_one("#help-text", Static).update(
            help_text(self.place, self.query_one(Input).value, width)
        )

    def key_down(self) -> None:
        self.query_one(VerticalScroll).scroll_down(animate=False)

    def key_up(self) -> None:
        self.query_one(VerticalScroll).scroll_up(animate=False)

    def key_pagedown(self) -> None:
        self.query_one(VerticalScroll).scroll_page_down(animate=False)

    def key_pageup(self) -> None:
        self.query_one(VerticalScroll).scroll_page_up(animate=False)


def help_text(place: Place, search: str, width: int) -> Content:
    """The actions of this place first, those of the other places last."""
    order: list[Place] = [
        place,
        "app",
        "list",
        "log",
        *(other for other in PLACE_TITLES if other not in (place, "app", "list", "log")),
    ]
    lines: list[Content] = []
    for group in dict.fromkeys(order):
        matches = [
            action for action in ACTIONS if action.place == group and _matches(action, search)
        ]
        if not matches:
            continue
        lines.append(Content.styled(PLACE_TITLES[group], "bold $primary"))
        if group == place and place in SUMMARIES and not search:
            lines.append(Content.styled(SUMMARIES[place], "$foreground-muted"))
        lines += [line for action in matches for line in _lines(action, width)]
        lines.append(Content(""))
        if group == place and not search:
            lines += _glossary(matching_terms(place, search), width)
    if search:
        lines += _glossary(matching_terms(place, search), width)
    return (
        Content("\n").join(lines) if lines else Content.styled("No matches.", "$foreground-muted")
    )


def _glossary(terms: list[Term], width: int) -> list[Content]:
    """Terms and what they mean, under a heading; nothing if there are none."""
    if not terms:
        return []
    indent = _TEXT_COLUMN
    lines = [Content.styled("Terms", "bold $primary")]
    for term in terms:
        first, *below = wrap(term.text, max(20, width - indent)) or [""]
        lines.append(Content.assemble(f"{term.name:<{indent}}", (first, "$foreground-muted")))
        lines += [Content.styled(" " * indent + line, "$foreground-muted") for line in below]
    return [*lines, Content("")]


def _matches(action: Action, search: str) -> bool:
    words = (action.title, action.help, *action.key_names, PLACE_TITLES[action.place])
    haystack = " ".join(words).lower()
    return all(word in haystack for word in search.lower().split())


def _lines(action: Action, width: int) -> list[Content]:
    """Keys, title and help in three columns; a long help goes on below itself."""
    indent = _TEXT_COLUMN
    wrapped = wrap(action.help, max(20, width - indent)) or [""]
    keys, title = f"{' '.join(action.key_names):<{_KEYS}}", f"{action.title:<{_TITLE}}"
    first = Content.assemble((keys, "$secondary"), title, (wrapped[0], "$foreground-muted"))
    return [
        first,
        *(Content.styled(" " * indent + line, "$foreground-muted") for line in wrapped[1:]),
    ]
