"""Which adapter a server is to load, unload or pin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.content import Content

from tui.shared.key_line import KeyHint
from tui.shared.pick_modal import Pick, PickModal
from workshop.served_runs import AdapterChoice


class AdapterPicker(PickModal[AdapterChoice, AdapterChoice]):
    hints: ClassVar[list[KeyHint]] = [
        KeyHint("enter", "enter", "choose"),
        KeyHint("down", "up down", "move"),
    ]

    def __init__(self, title: str, choices: Sequence[AdapterChoice], empty: str) -> None:
        super().__init__()
        self._title, self._choices, self._empty = title, choices, empty

    def on_mount(self) -> None:
        self.query_one("#pick").border_title = Content(self._title)
        self.set_picks(
            [_pick(choice) for choice in self._choices], "" if self._choices else self._empty
        )

    def take(self) -> None:
        if self.highlighted is not None:
            self.dismiss(self.highlighted.value)


def _pick(choice: AdapterChoice) -> Pick[AdapterChoice]:
    line = Content.assemble(f"{choice.name:<28} ", (choice.note, "$foreground-muted"))
    return Pick(choice, line, f"{choice.name} {choice.note}")
