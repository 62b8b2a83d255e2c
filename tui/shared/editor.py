"""A text in the user's own editor, with the app out of its way meanwhile."""

from __future__ import annotations

from textual.app import App, SuspendNotSupported

from jobs.luthier_error import LuthierError


def edited(app: App[None], text: str, suffix: str = ".md") -> str | None:
    """The text as it was saved; None if it was not. `$VISUAL` or `$EDITOR` names the editor."""
    from tui.shared.text_editor import edit_text

    try:
        with app.suspend():
            return edit_text(text, suffix)
    except SuspendNotSupported:
        raise LuthierError(
            "No editor can be opened here",
            "The app has no terminal that it could hand over.",
            "Write the text here; ctrl+j begins a new line.",
        ) from None
