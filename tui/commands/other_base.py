"""A word, on stderr, about adapters that say they were trained on another model than the one they
are put to."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from jobs.luthier_error import LuthierError
from models.adapters import other_base, read_adapter
from tui.commands.output import talk


def say_other_base(adapter: Path, base: Path) -> None:
    with suppress(LuthierError):  # what is damaged is refused elsewhere, with its reason
        note = other_base(read_adapter(adapter), base)
        if note:
            talk.print(f"! {note}", markup=False, style="yellow", soft_wrap=True)
