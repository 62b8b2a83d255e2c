"""A list to choose from, narrowed by typing: the arrow keys move while the text has the focus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.shared.dialog import Dialog, DialogKeys
from tui.shared.key_line import KeyHint
from tui.shared.styles import PICK

_AROUND = 12  # lines around the list: border, text, note and keys
_OF_THE_LIST = frozenset({"enter", "up", "down"})

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Pick(Generic[T]):
    """Something to choose: its line, and the text that typing looks through."""

    value: T
    line: Content
    text: str


class PickModal(Dialog[R], Generic[T, R]):
    """Lists values of T and gives back an R. Subclasses say what there is, and may fetch more while
    the list is open (`set_picks`)."""

    CSS_PATH = PICK
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "move(1)", priority=True),
        Binding("up", "move(-1)", priority=True),
        Binding("pagedown", "move(8)", priority=True),
        Binding("pageup", "move(-8)", priority=True),
    ]
    heading: ClassVar[str] = ""
    placeholder: ClassVar[str] = "type to search"
    narrows: ClassVar[bool] = True
    takes_text: ClassVar[bool] = False
    """Whether what is typed may be taken itself, also where there is nothing to choose."""
    hints: ClassVar[list[KeyHint]] = [
        KeyHint("enter", "enter", "choose"),
        KeyHint("down", "up down", "move"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._picks: list[Pick[T]] = []
        self._shown: list[Pick[T]] = []

    def compose(self) -> ComposeResult:
        with Vertical(id="pick") as dialog:
            dialog.border_title = Content(self.heading)
            if self.narrows:
                dialog.styles.height = _AROUND
            yield Input(placeholder=self.placeholder, compact=True)
            yield OptionList(compact=True)
            yield Static(id="pick-note")
            yield DialogKeys(*self.hints)

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False

    def entries(self) -> list[object]:
        return []  # what is typed looks for something

    def set_picks(self, picks: Sequence[Pick[T]], note: str = "") -> None:
        """Show these; the highlighted one stays, if it is among them."""
        self._picks = list(picks)
        self.query_one("#pick-note", Static).update(Content(note))
        self._show()
        self._fit()

    def _fit(self) -> None:
        """As high as all the picks need, so that typing does not change it; without a text and the
        keys of a list where there is nothing to choose."""
        box, options = self.query_one(Input), self.query_one(OptionList)
        is_empty = not (self._picks or box.value or self.takes_text)
        if box.display == is_empty:
            box.display = options.display = not is_empty
            self.set_focus(None if is_empty else box)
            self.query_one(DialogKeys).show(
                [hint for hint in self.hints if not (is_empty and hint.key in _OF_THE_LIST)]
            )
        lines = sum(len(pick.line.split()) for pick in self._picks)
        # where other picks come with each text, it must not jump either
        height = lines + _AROUND if self.narrows else "80%"
        self.query_one("#pick").styles.height = "auto" if is_empty else height

    @on(Input.Changed)
    def typed(self) -> None:
        self.text_changed()

    def text_changed(self) -> None:
        """Somebody types: fewer picks, or others."""
        self._show()

    def _show(self) -> None:
        words = self.query_one(Input).value.lower().split() if self.narrows else []
        options = self.query_one(OptionList)
        before = self.highlighted
        self._shown = [
            pick for pick in self._picks if all(word in pick.text.lower() for word in words)
        ]
        options.set_options(Option(pick.line) for pick in self._shown)
        if self._shown:
            options.highlighted = self._shown.index(before) if before in self._shown else 0

    @property
    def highlighted(self) -> Pick[T] | None:
        index = self.query_one(OptionList).highlighted
        return self._shown[index] if index is not None and index < len(self._shown) else None

    def action_move(self, step: int) -> None:
        options = self.query_one(OptionList)
        if self._shown:
            options.highlighted = max(
                0, min(len(self._shown) - 1, (options.highlighted or 0) + step)
            )

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    def submitted(self) -> None:
        self.take()

    def take(self) -> None:
        """Give back what is highlighted."""
        raise NotImplementedError
