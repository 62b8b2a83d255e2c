"""The form that starts a server: one base model, and a box for each tuned model of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Label, Select, Static
from textual.widgets.selection_list import Selection

from jobs.job import Job
from models.certificate import NO_CERTIFICATE, Standing
from tui import figures
from tui.certificate_badge import badge
from tui.widgets.check_list import CheckList
from tui.widgets.form import Field, FormModal, JobStarted
from tui.widgets.key_line import KeyHint


@dataclass(frozen=True)
class TunedChoice:
    """A run that left an adapter: `base` is the model that it was trained on, `standing` says whether it may be trusted."""

    run: Job
    base: str
    standing: Standing = NO_CERTIFICATE


class StartServerModal(FormModal):
    """`models` are the names that can be a base; `base` and `chosen` run ids are marked beforehand."""

    heading: ClassVar[str] = "Start a server"
    hints: ClassVar[list[KeyHint]] = [
        KeyHint("tab", "tab", "next field"),
        KeyHint("space", "space", "choose"),
        KeyHint("ctrl+s", "^s", "start"),
        KeyHint("escape", "esc", "cancel"),
    ]

    def __init__(
        self, models: Sequence[str], choices: Sequence[TunedChoice], base: str | None = None, chosen: Collection[str] = ()
    ) -> None:
        super().__init__()
        self.models, self.choices, self.chosen = models, choices, chosen
        self.base = base if base in models else models[0]

    def compose_fields(self) -> ComposeResult:
        with Horizontal(classes="field"):
            yield Label("base model")
            yield Select([(name, name) for name in self.models], value=self.base, allow_blank=False, compact=True)
        with Horizontal(classes="field", id="tuned-field"):
            yield Label("tuned models")
            yield CheckList(compact=True)
            yield Static("none of this base yet", id="no-tuned", classes="hint")
        yield Field("port", "port", placeholder="the last one, or a free one")

    @on(Select.Changed)
    def fill_tuned(self) -> None:
        """Only adapters of the chosen base: others would be refused."""
        boxes = self.query_one(CheckList)
        boxes.clear_options()
        fitting = [choice for choice in self.choices if choice.base == self.query_one(Select).value]
        boxes.add_options([Selection(_told_apart(choice), choice.run.id, choice.run.id in self.chosen) for choice in fitting])
        boxes.highlighted = 0 if fitting else None
        boxes.display = bool(fitting)
        self.query_one("#no-tuned").display = not fitting

    def submit(self) -> None:
        port = self.number_in("port", least=1, whole=True) if self.field("port").value else None
        if self.query(".field.-wrong"):
            return
        base = str(self.query_one(Select).value)
        selected = set(self.query_one(CheckList).selected)
        runs = [choice.run for choice in self.choices if choice.run.id in selected]

        def start() -> None:
            self.post_message(JobStarted(_serve(base, runs, None if port is None else int(port)).id))

        self.show_problem(Content.styled("Checking the models.", "$foreground-muted"))
        self.run_worker(start, thread=True, exclusive=True, group="start", exit_on_error=False)


def _told_apart(choice: TunedChoice) -> Content:
    """Name and age, for runs of one recipe share their name; and the certificate."""
    age = (f"  {figures.age(choice.run.created)}  ", "$foreground-muted")
    return Content.assemble(choice.run.spec.name, age, badge(choice.standing))


def _serve(base: str, runs: list[Job], port: int | None) -> Job:
    """A new server; or, if one of this base runs and no port was asked for, that one, with the adapters added."""
    from models.registry import resolve
    from serve.launch import serve
    from tui.serving import adapters_of, add_adapters, server_of

    adapters = adapters_of(runs)[1] if runs else []
    running = server_of(resolve(base), "127.0.0.1") if port is None else None
    if running is None:
        return serve(base, adapters, port=port)
    add_adapters(running, adapters)
    return running.job
