"""Every key of the recipe: a list of them, and a field for one, made from the recipe's types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.suggester import SuggestFromList
from textual.widgets import Input, OptionList, Static

from jobs.luthier_error import LuthierError
from trainer.key_values import as_text, choices, default_of, from_text, help_of, in_words, key_types
from trainer.recipe_draft import RecipeDraft
from tui.shared.dialog import SUBMIT_KEYS, Dialog, DialogKeys
from tui.shared.form import Field
from tui.shared.key_line import KeyHint
from tui.shared.pick_modal import Pick, PickModal
from tui.shared.styles import DIALOGS


class KeysModal(PickModal[str, None]):
    """A list of all keys with their values. `changed` is called with each new draft."""

    heading: ClassVar[str] = "All settings"
    placeholder: ClassVar[str] = "type to search names and meanings"
    hints: ClassVar[list[KeyHint]] = [
        KeyHint("enter", "enter", "change"),
        KeyHint("down", "up down", "move"),
    ]

    def __init__(self, draft: RecipeDraft, changed: Callable[[RecipeDraft], None]) -> None:
        super().__init__()
        self._draft, self._changed = draft, changed

    def on_mount(self) -> None:
        self._list()

    def _list(self) -> None:
        self.set_picks(
            [
                Pick(key, self._line(key), f"{key} {help_of(key)}")
                for key in key_types()
                if key != "data"
            ]
        )

    def _line(self, key: str) -> Content:
        value = self._draft.value(key)
        default = default_of(key)
        text = as_text(value if value is not None else default).replace("\n", " ")
        style = "bold $primary" if value is not None and value != default else "$foreground-muted"
        return Content.assemble(f"{key:<32} ", (text, style))

    @on(OptionList.OptionHighlighted)
    def show_help(self) -> None:
        pick = self.highlighted
        text = f"{help_of(pick.value)}\nIt takes {in_words(pick.value)}." if pick else ""
        self.query_one("#pick-note", Static).update(Content(text))

    def take(self) -> None:
        pick = self.highlighted
        if pick is not None:
            self.app.push_screen(KeyValueModal(pick.value, self._draft), self._use)

    def _use(self, draft: RecipeDraft | None) -> None:
        if draft is not None:
            self._draft = draft
            self._list()
            self._changed(draft)


class KeyValueModal(Dialog[RecipeDraft]):
    """One key. Dismissed with the draft that has its new value, once the recipe can be read."""

    CSS_PATH = DIALOGS
    BINDINGS: ClassVar[list[BindingType]] = SUBMIT_KEYS

    def __init__(self, key: str, draft: RecipeDraft) -> None:
        super().__init__()
        self._key, self._draft = key, draft

    def compose(self) -> ComposeResult:
        value = self._draft.value(self._key)
        with Vertical(classes="dialog -form") as dialog:
            dialog.border_title = Content(self._key)
            yield Static(Content(f"{help_of(self._key)}\n\nIt takes {in_words(self._key)}.\n"))
            yield Field(
                "value",
                "value",
                value="" if value is None else as_text(value),
                placeholder=f"{as_text(default_of(self._key))}, the default",
            )
            yield DialogKeys(KeyHint("enter", "enter", "use it"))

    def on_mount(self) -> None:
        options = choices(self._key)
        if options:
            self.query_one(Input).suggester = SuggestFromList(options)

    @on(Input.Changed)
    def value_changed(self) -> None:
        self.query_one(Field).show_error("")

    def action_submit(self) -> None:
        field = self.query_one(Field)
        value: Any = from_text(self._key, field.value) if field.value else None
        try:
            draft = self._draft.with_value(self._key, value)
            draft.with_value("data", draft.sources or ["data.jsonl"]).asked()
        except LuthierError as error:
            field.show_error(error.message)
        else:
            self.dismiss(draft)
