"""The chat template that lies in a folder, as text: read without a tokenizer."""

from __future__ import annotations

from pathlib import Path

from jobs import foreign_json

_FILE, _SETTINGS = "chat_template.jinja", "tokenizer_config.json"


def stored_template(directory: Path) -> str | None:
    """The template in chat_template.jinja or in tokenizer_config.json (of several the one named
    default); None if there is none."""
    try:
        return (directory / _FILE).read_text(encoding="utf-8")
    except OSError:
        pass
    try:
        found = foreign_json.read_object(directory / _SETTINGS, lenient=True).get("chat_template")
    except (OSError, ValueError, AttributeError):
        return None
    if isinstance(found, list):
        found = next(
            (
                entry.get("template")
                for entry in found
                if isinstance(entry, dict) and entry.get("name") == "default"
            ),
            None,
        )
    return found if isinstance(found, str) else None


def differs(template: str | None, other: str | None) -> bool:
    """Whether two templates that are both there differ in more than the space at their end."""
    return template is not None and other is not None and template.rstrip() != other.rstrip()
