"""What all dialogs share: esc leaves, their keys stand in their last line, and what was entered is
lost only by a second esc."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

from textual import on
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Input, Select, SelectionList, TextArea

from tui.shared.key_line import KeyHint, KeyLine

R = TypeVar("R")

_CLOSE = KeyHint("escape", "esc", "close")
_AGAIN = KeyHint("escape", "esc", "again leaves without saving")

SUBMIT_KEYS: list[BindingType] = [
    Binding("enter", "enter", priority=True),
    Binding("ctrl+s", "submit", priority=True),
]
"""For a dialog with `action_submit`: enter everywhere but in texts of several lines, ^s there too.
"""


class DialogKeys(KeyLine):
    """The keys of a dialog: its own, and what esc does."""

    def show(self, hints: Sequence[KeyHint], leave: KeyHint = _CLOSE) -> None:
        super().show([*hints, leave])
        self._own = hints

    def ask(self) -> None:
        """Say what a second esc does."""
        super().show([_AGAIN, *self._own])

    def ask_no_more(self) -> None:
        self.show(self._own)


class Dialog(ModalScreen[R]):
    """Dismissed with None when it is left. It composes a `DialogKeys` as its last line."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close")]

    def __init__(self) -> None:
        super().__init__()
        self._first_entries: list[object] | None = None
        self._asks = False

    def on_mount(self) -> None:
        self.call_after_refresh(self._remember_entries)

    def dismiss(self, result: R | None = None) -> AwaitComplete:
        """Close it, and what is open over it. Textual would close whichever screen is in front,
        also for a dialog that has closed already: its work in the background may end late."""
        if self not in self.app.screen_stack:
            return AwaitComplete()
        while self.app.screen is not self:
            self.app.pop_screen()
        return super().dismiss(result)

    def _remember_entries(self) -> None:
        self._first_entries = self.entries()

    def entries(self) -> list[object]:
        """What is typed and chosen in the dialog now, and would be lost by leaving it."""
        texts = [field.value for field in self.query(Input)]
        long_texts = [field.text for field in self.query(TextArea)]
        choices = [field.value for field in self.query(Select)]
        ticks = [sorted(map(str, field.selected)) for field in self.query(SelectionList)]
        return [*texts, *long_texts, *choices, *ticks]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "enter":  # in an open list it chooses
            is_open = any(select.expanded for select in self.query(Select))
            return not is_open and not isinstance(self.focused, TextArea)
        return super().check_action(action, parameters)

    async def action_enter(self) -> None:
        await self.run_action("submit")

    def action_close(self) -> None:
        is_changed = self._first_entries is not None and self._first_entries != self.entries()
        if is_changed and not self._asks:
            self._asks = True
            self.query_one(DialogKeys).ask()
        else:
            self.dismiss(None)

    @on(Input.Changed)
    @on(TextArea.Changed)
    @on(Select.Changed)
    @on(SelectionList.SelectedChanged)
    def _went_on(self) -> None:
        """The question was about what had been entered by then."""
        if self._asks:
            self._asks = False
            self.query_one(DialogKeys).ask_no_more()
