"""Which value a setting is to have."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from tui.key_bindings import with_keys
from tui.settings.table import Choice, Setting
from tui.shared.pick_modal import Pick, PickModal
from workshop.config import Value


class SettingPicker(PickModal[Choice, Choice]):
    """Gives back the choice; the cursor begins on the value that holds."""

    def __init__(self, setting: Setting, choices: Sequence[Choice], value: Value) -> None:
        super().__init__()
        self._setting, self._choices, self._value = setting, choices, value

    def on_mount(self) -> None:
        self.query_one("#pick").border_title = Content(self._setting.title)
        self.set_picks(
            [_pick(choice) for choice in self._choices], with_keys(self._setting.words).plain
        )
        values = [choice.value for choice in self._choices]
        if self._value in values:
            self.action_move(values.index(self._value))

    def take(self) -> None:
        if self.highlighted is not None:
            self.dismiss(self.highlighted.value)


def _pick(choice: Choice) -> Pick[Choice]:
    line = Content.assemble(f"{choice.word:<24} ", (choice.effect, "$foreground-muted"))
    return Pick(choice, line, f"{choice.word} {choice.effect}")
