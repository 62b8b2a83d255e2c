"""What a field for a path offers while it is typed."""

from __future__ import annotations

import os

from textual.suggester import Suggester

from jobs.files import expanded


class PathSuggester(Suggester):
    """The rest of the first path that begins like this, folders with a slash; the right arrow takes
    it."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        folder, _, begun = value.rpartition("/")
        where = expanded(f"{folder}/" if "/" in value else ".")
        try:
            names = sorted(
                entry.name + "/" * entry.is_dir()
                for entry in os.scandir(where)
                if entry.name.startswith(begun)
            )
        except OSError:
            return None
        visible = [name for name in names if begun.startswith(".") or not name.startswith(".")]
        if not begun or not visible:
            return None
        return value[: len(value) - len(begun)] + visible[0]
