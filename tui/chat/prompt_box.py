"""The prompt: a text box that grows with its text and sends it on enter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textual import events
from textual.message import Message
from textual.widgets import TextArea


class PromptBox(TextArea):
    """`enter` sends, `ctrl+j` (in many terminals also `shift+enter`) begins a new line; a pasted
    text keeps its lines."""

    @dataclass
    class Submitted(Message):
        text: str

    def __init__(self, complete: Callable[[str], str]) -> None:
        """`complete` says what tab makes of a text; empty where it goes to the next field."""
        super().__init__(
            id="prompt",
            soft_wrap=True,
            show_line_numbers=False,
            highlight_cursor_line=False,
            compact=True,
            placeholder="Ask all",
        )
        self.complete = complete
        self.cursor_blink = False  # over SSH each blink is sent

    def write(self, text: str) -> None:
        """Have this text stand here, to be gone on with at its end."""
        self.text = text
        self.move_cursor(self.document.end)

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.post_message(self.Submitted(self.text))
        elif event.key == "tab" and (completed := self.complete(self.text)):
            event.stop()
            event.prevent_default()
            self.write(completed)
        elif event.key in ("ctrl+j", "shift+enter"):
            event.stop()
            event.prevent_default()
            self.insert("\n")
