"""Which prompts to go through: a file, or the held-out conversations of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from jobs.files import expanded, why_no_file
from jobs.luthier_error import LuthierError
from models.runs import Run
from serve.replay import read_scripts
from tui.shared.key_line import KeyHint
from tui.shared.pick_modal import Pick, PickModal
from workshop.chat.replay import Replay
from workshop.number_format import age

_HINT = (
    "A path: JSON Lines with messages, or a text with a prompt on each line. Or a run: its held-out"
    " conversations, with their answers."
)


@dataclass
class RunsFound(Message):
    picks: list[Pick[Path]]


@dataclass
class ScriptsRead(Message):
    """What a file holds, or why it cannot be read."""

    replay: Replay | None
    problem: LuthierError | None = None


class ReplayModal(PickModal[Path, Replay]):
    """Gives back the prompts, once they could be read."""

    heading: ClassVar[str] = "Go through prompts"
    takes_text: ClassVar[bool] = True
    placeholder: ClassVar[str] = "~/prompts.jsonl, or a part of a run's name"
    hints: ClassVar[list[KeyHint]] = [
        KeyHint("enter", "enter", "begin"),
        KeyHint("down", "up down", "choose a run"),
    ]

    def on_mount(self) -> None:
        def look() -> None:
            picks = [
                _pick(run.name, run.job.created, run.folder.heldout_samples)
                for run in Run.all()
                if run.folder.heldout_samples.is_file()
            ]
            self.post_message(RunsFound(picks))

        self.run_worker(look, thread=True, exit_on_error=False)

    def on_runs_found(self, message: RunsFound) -> None:
        self.set_picks(message.picks, _HINT)

    def take(self) -> None:
        typed = self.query_one(Input).value.strip()
        if typed and ("/" in typed or "." in typed or not self.highlighted):
            path = expanded(typed).absolute()
            self._read(path, path.name)
        elif self.highlighted is not None:
            path = self.highlighted.value
            self._read(path, f"held-out of {path.parents[1].name}")

    def _read(self, path: Path, name: str) -> None:
        def read() -> None:
            try:
                if reason := why_no_file(path):  # a pipe would be waited for
                    raise LuthierError("File not readable", f"{path}: {reason}.", "Check the path.")
                self.post_message(ScriptsRead(Replay(name, read_scripts(path))))
            except LuthierError as error:
                self.post_message(ScriptsRead(None, error))

        self.run_worker(read, thread=True, exclusive=True, group="read", exit_on_error=False)

    def on_scripts_read(self, message: ScriptsRead) -> None:
        if message.problem is None:
            self.dismiss(message.replay)
            return
        error = message.problem
        text = Content.assemble(
            (f"{error.title}. ", "bold $error"),
            error.message,
            "\n",
            (error.hint, "$foreground-muted"),
        )
        self.query_one("#pick-note", Static).update(text)


def _pick(name: str, created: float, path: Path) -> Pick[Path]:
    return Pick(
        path,
        Content.assemble(
            f"{name:<28} ", (f"held-out conversations, {age(created)}", "$foreground-muted")
        ),
        name,
    )
