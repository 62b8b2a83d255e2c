"""The form for what all panes of the chat share: the system prompt and the sampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, Vertical
from textual.content import Content
from textual.widgets import Input, Label, TextArea

from serve.chats.turns import ChatSettings
from serve.client import Sampling
from tui.shared.dialog import SUBMIT_KEYS, Dialog, DialogKeys
from tui.shared.editor import edited
from tui.shared.key_line import KeyHint


@dataclass(frozen=True)
class _Field:
    """A sampling setting in its input; `read` raises ValueError with what is wrong."""

    name: str
    label: str
    read: Callable[[str], float | int | None]


def _number(low: float, high: float, rule: str, above: bool = False) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or (above and value == low):
            raise ValueError(rule)
        return value

    return read


def _whole(low: int, rule: str, optional: bool = False) -> Callable[[str], int | None]:
    def read(text: str) -> int | None:
        if optional and not text.strip():
            return None
        if not text.strip().isdecimal() or not low <= int(text) < 2**63:
            raise ValueError(rule)
        return int(text)

    return read


_FIELDS = [
    _Field("temperature", "temperature", _number(0, 2, "from 0 to 2")),
    _Field("top_p", "top-p", _number(0, 1, "above 0, at most 1", above=True)),
    _Field("max_tokens", "max tokens", _whole(1, "1 or more")),
    _Field("seed", "seed", _whole(0, "a whole number, or nothing", optional=True)),
]


class ChatSettingsModal(Dialog[ChatSettings]):
    """Gives back the new settings; nothing when it is left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *SUBMIT_KEYS,
        Binding("ctrl+e", "editor", priority=True),
    ]

    def __init__(self, settings: ChatSettings) -> None:
        super().__init__()
        self._settings = settings

    def compose(self) -> ComposeResult:
        sampling = self._settings.sampling
        with Vertical(id="chat-settings") as form:
            form.border_title = "Settings of this chat"
            yield Label("system prompt")
            yield TextArea(self._settings.system, id="system", compact=True, soft_wrap=True)
            with Grid(id="settings-fields"):
                for field in _FIELDS:
                    value = getattr(sampling, field.name)
                    yield Label(Content(field.label))
                    yield Input("" if value is None else str(value), id=field.name, compact=True)
                    yield Label("", id=f"{field.name}-error", classes="field-error")
            yield DialogKeys(
                KeyHint("ctrl+s", "^s", "apply"),
                KeyHint("tab", "tab", "next field"),
                KeyHint("ctrl+e", "^e", "system prompt in $EDITOR"),
            )

    def action_editor(self) -> None:
        """Write the system prompt in the user's editor."""
        field = self.query_one("#system", TextArea)
        text = edited(self.app, field.text)
        if text is not None:
            field.text = text
        field.focus()

    def action_submit(self) -> None:
        values: dict[str, float | int | None] = {}
        for field in _FIELDS:
            error = self.query_one(f"#{field.name}-error", Label)
            try:
                values[field.name] = field.read(self.query_one(f"#{field.name}", Input).value)
                error.update("")
            except ValueError as wrong:
                error.update(Content(str(wrong)))
                if len(values) == _FIELDS.index(field):  # the first that is wrong
                    self.query_one(f"#{field.name}", Input).focus()
        if len(values) < len(_FIELDS):
            return
        system = self.query_one("#system", TextArea).text.strip()
        self.dismiss(ChatSettings(system, Sampling(**values)))  # type: ignore[arg-type]  # read by field
