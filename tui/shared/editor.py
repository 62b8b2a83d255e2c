"""A text in the user's own editor, with the app out of its way meanwhile."""

from __future__ import annotations

from textual.app import App, SuspendNotSupported

from jobs.luthier_error import LuthierError


def edited(app: App[None], text: str, suffix: str = ".md") -> str | None:
    """The text as it was saved; None if it was not. `$VISUAL` or `$EDITOR` names the editor."""
    import click

    try:
        with app.suspend():
            saved = click.edit(text, extension=suffix)
    except SuspendNotSupported:
        raise LuthierError(
            "No editor can be opened here",
            "The app has no terminal that it could hand over.",
            "Write the text here; ctrl+j begins a new line.",
        ) from None
    except click.ClickException as error:
        raise LuthierError(
            "The editor did not start",
            error.message,
            "$EDITOR names the command that edits a file, such as `nano` or `code --wait`.",
        ) from None
    return None if saved is None else saved.rstrip("\n")
