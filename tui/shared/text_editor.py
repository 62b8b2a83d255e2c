"""A text in the user's own editor."""

from __future__ import annotations

import click

from jobs.luthier_error import LuthierError


def edit_text(text: str, suffix: str = ".md") -> str | None:
    """The text as it was saved; None if it was not. `$VISUAL` or `$EDITOR` names the editor."""
    try:
        saved = click.edit(text, extension=suffix)
    except click.ClickException as error:
        raise LuthierError(
            "The editor did not start",
            error.message,
            "$EDITOR names the command that edits a file, such as `nano` or `code --wait`.",
        ) from None
    return None if saved is None else saved.rstrip("\n")
