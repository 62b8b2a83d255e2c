"""Making conversations from Data: one line shows how far it is, and what was made is then looked at
like any data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from textual.content import Content

from jobs.files import tail_lines
from jobs.foreign_json import Damaged
from jobs.job import Job, find
from jobs.luthier_error import LuthierError
from jobs.state import Done, Failed
from tui.shared.state_label import bar, state_content
from tui.shared.steady_text import SteadyText
from workshop.job_list import JobRow
from workshop.making.names import TRAIN_FILE
from workshop.making.order import order_of

_BAR = 20


class MakingLine(SteadyText):
    """Shows the newest making that runs. `open_look` gets the id of the look at what was made."""

    def __init__(self, open_look: Callable[[str | None], None]) -> None:
        super().__init__(id="making")
        self._open_look = open_look
        self.job: Job | None = None
        """The making that is followed."""

    def begin(self) -> None:
        """Ask for the documents."""
        from tui.data.make_form import MakeModal

        self.app.push_screen(MakeModal(), self._started)

    def _started(self, job_id: str | None) -> None:
        if job_id is not None:
            self.job = find(job_id)
            self.app.read_jobs()  # type: ignore[attr-defined]  # LuthierApp: a circle

    def jobs_changed(self, rows: Sequence[JobRow]) -> None:
        makings = [row for row in rows if row.kind == "make" and not _is_look(row.job)]
        followed = next((row for row in makings if self.job and row.id == self.job.id), None)
        if followed is not None and not followed.alive:
            self.job = None
            self._ended(followed.job)
        running = next((row for row in makings if row.alive), None)
        self.display = running is not None
        if running is not None:
            self.job = self.job or running.job
            self.update(_progress(running))

    def _ended(self, job: Job) -> None:
        """Look at what was made, or say why nothing was."""
        state = job.state()
        if isinstance(state, Failed):
            error = LuthierError(state.title, state.message, state.hint)
            self.app.show_failure(error, tail_lines(job.log_path, 12))  # type: ignore[attr-defined]
        elif isinstance(state, Done):
            figures, folder = state.result, Path(str(state.result["folder"]))
            self.notify(**end_in_words(figures, folder.name))
            if figures["train"]:
                self.run_worker(lambda: self._look_at(folder / TRAIN_FILE), thread=True)

    def _look_at(self, data: Path) -> None:
        from trainer.data import inspection
        from trainer.recipe import Recipe

        look = inspection.start(Recipe(data=[str(data)]))
        self.app.call_from_thread(self._open_look, look.id)


def end_in_words(figures: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """What is said of a making at its end, and how loudly."""
    count = int(figures["train"]) + int(figures["heldout"])
    noun = "conversation is" if count == 1 else "conversations are"
    parts = [f"{count:,} {noun} in {folder}."]
    if rejected := int(figures["rejected"]):
        parts.append(f"{rejected:,} passages failed a check; README.md there says which.")
    unanswered = int(figures["unanswered"])
    if unanswered and figures.get("at_ceiling"):
        parts.append(f"{unanswered:,} are open: one more request might exceed the limit.")
    elif unanswered:
        parts.append(f"{unanswered:,} have no answer: {figures['first_failure']}.")
    return {"message": " ".join(parts), "severity": "warning" if unanswered else "information"}


def _is_look(job: Job) -> bool:
    """Whether it only reads the documents, for a plan."""
    with suppress(Damaged):
        return order_of(job).only_plan
    return False


def _progress(row: JobRow) -> Content:
    name = row.name
    with suppress(Damaged):  # its settings are not whole: the job itself says so
        files = order_of(row.job).files
        name = Path(files[0]).name + (f" and {len(files) - 1} more" if len(files) > 1 else "")
    parts = [Content.styled("making", "bold"), Content(name), state_content(row.state)]
    if row.total:
        counts = f" {row.step:,} of {row.total:,} passages"
        parts.append(bar(row.step, row.total, _BAR) + counts)
    return Content("   ").join(parts)
