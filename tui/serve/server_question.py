"""What is a run to do about the server that holds its GPU? Asked once; the answer is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from jobs.giving_way import SETTING
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.queue import NotWaiting
from tui.shared.dialog import Dialog, DialogKeys
from tui.shared.key_line import KeyHint
from tui.shared.styles import DIALOGS
from workshop import gpu_conflict
from workshop.gpu_conflict import CHOICES, Choice

_KEYS: dict[str, Choice] = {"s": "sleep", "h": "share", "w": "wait"}


@dataclass
class Settled(Message):
    """The answer was followed; or why it could not be."""

    problem: LuthierError | None


class ServerQuestion(Dialog[bool]):
    """With "share" remembered, it is tried before anybody is asked."""

    CSS_PATH = DIALOGS
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"settle({choice!r})") for key, choice in _KEYS.items()),
    ]

    def __init__(self, run: Job, servers: Sequence[str]) -> None:
        super().__init__()
        self.run_job = run
        self.servers = list(servers)

    def compose(self) -> ComposeResult:
        lines = [
            Content(gpu_conflict.question(self.run_job.spec.name, self.servers)),
            Content(""),
            *(
                Content.assemble((f"{key}  ", "bold $primary"), f"{choice:<7}", CHOICES[choice])
                for key, choice in _KEYS.items()
            ),
            Content(""),
            Content.styled(
                f"Later runs do the same: {SETTING} in config.toml.", "$foreground-muted"
            ),
        ]
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "One GPU for both"
            yield Static(Content("\n").join(lines))
            yield Static(id="server-problem")
            hints = [KeyHint(key, key, choice) for key, choice in _KEYS.items()]
            yield DialogKeys(*hints)

    def on_mount(self) -> None:
        self.query_one("#server-problem").display = False
        if gpu_conflict.remembered() == "share":
            self.action_settle("share")

    def action_settle(self, choice: Choice) -> None:
        def settle() -> None:
            problem = None
            try:
                gpu_conflict.answer(self.run_job, choice, remember=True)
            except LuthierError as error:
                problem = error
            # a settings file that cannot be written, or that is no TOML
            except (OSError, ValueError) as error:
                problem = LuthierError(
                    "The answer was not kept", str(error), "It holds for this run."
                )
            self.post_message(Settled(problem))

        self.run_worker(settle, thread=True, exclusive=True, exit_on_error=False)

    def on_settled(self, message: Settled) -> None:
        problem = message.problem
        if problem is None or isinstance(problem, NotWaiting):  # it has its turn meanwhile
            self.dismiss(True)
            return
        line = self.query_one("#server-problem", Static)
        line.display = True
        text = Content.assemble(
            (f"\n{problem.title}. ", "bold $error"),
            problem.message,
            (f" {problem.hint}", "$foreground-muted"),
        )
        line.update(text)
