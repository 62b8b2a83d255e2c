"""The data files near here, to choose one."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.content import Content

from tui.shared.pick_modal import Pick, PickModal
from workshop.data_files import data_files


class FilesModal(PickModal[Path, Path]):
    """Gives back a file."""

    heading: ClassVar[str] = "Data files"
    placeholder: ClassVar[str] = "type part of a name"

    def on_mount(self) -> None:
        self.set_picks([], "Looking for data files.")
        self.run_worker(self._look, thread=True, exit_on_error=False)

    def _look(self) -> None:
        folder = Path.cwd()
        names = [(path, str(path.relative_to(folder))) for path in data_files(folder)]
        picks = [Pick(path, Content(name), name) for path, name in names]
        note = "" if picks else f"No data file in or below {folder}."
        self.app.call_from_thread(self.set_picks, picks, note)

    def take(self) -> None:
        if self.highlighted is not None:
            self.dismiss(self.highlighted.value)
