"""The list of commands above the prompt."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from tui.chat.prompt_box import PromptBox
from tui.chat.slash_commands import is_command, matches

_MOST = 6


class SlashList(Static):
    """The commands that what is typed can still become, above the prompt."""

    def __init__(self) -> None:
        super().__init__(id="slash")
        self.display = False

    def follow(self, prompt: PromptBox) -> None:
        """Show what the prompt's text may become, or nothing."""
        candidates = matches(prompt.text) if is_command(prompt.text) else {}
        self.display = bool(candidates)
        if not candidates:
            return
        lines = [
            Content.assemble((f"/{name:<16}", "bold $primary"), (action.help, "$foreground-muted"))
            for name, action in list(candidates.items())[:_MOST]
        ]
        if len(candidates) > _MOST:
            hint = f"{len(candidates) - _MOST} more; type on, or tab completes"
            lines.append(Content.styled(hint, "$foreground-muted"))
        self.update(Content("\n").join(lines))
