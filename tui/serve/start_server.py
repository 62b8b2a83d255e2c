"""The form that starts a server: one base model, and a box for each tuned model of it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Label, Select, Static
from textual.widgets.selection_list import Selection

from jobs.job import Job
from jobs.luthier_error import LuthierError
from models.standing import NO_CERTIFICATE, Standing
from serve.planning import Outlook
from tui.serve.plan_modal import PlanModal
from tui.shared.certificate_badge import badge
from tui.shared.check_list import CheckList
from tui.shared.form import Field, FormModal, JobStarted
from tui.shared.key_line import KeyHint
from workshop import number_format


@dataclass(frozen=True)
class TunedChoice:
    """A run that left an adapter: `base` is the model that it was trained on, `standing` says
    whether it may be trusted."""

    run: Job
    base: str
    standing: Standing = NO_CERTIFICATE


@dataclass(frozen=True)
class Wanted:
    """What the form was filled with; `extra_args` are arguments for vLLM."""

    base: str
    runs: list[Job]
    port: int | None
    extra_args: list[str]


@dataclass
class Planned(Message):
    outlook: Outlook


class StartServerModal(FormModal):
    """`models` are the names that can be a base; `base` and `ticked` run ids are marked
    beforehand."""

    heading: ClassVar[str] = "Start a server"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+l", "plan", priority=True)]
    hints: ClassVar[list[KeyHint]] = [
        KeyHint("tab", "tab", "next field"),
        KeyHint("space", "space", "choose"),
        KeyHint("enter", "enter", "start"),
        KeyHint("ctrl+l", "^l", "plan"),
    ]

    def __init__(
        self,
        models: Sequence[str],
        choices: Sequence[TunedChoice],
        base: str | None = None,
        ticked: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.models, self.choices, self.ticked = models, choices, ticked
        self.base = base if base in models else models[0]

    def compose_fields(self) -> ComposeResult:
        with Horizontal(classes="field"):
            yield Label("base model")
            yield Select(
                [(Text(name), name) for name in self.models],
                value=self.base,
                allow_blank=False,
                compact=True,
            )
        with Horizontal(classes="field", id="tuned-field"):
            yield Label("tuned models")
            yield CheckList(compact=True)
            yield Static("none of this base yet", id="no-tuned", classes="hint")
        yield Field("port", "port", placeholder="the last one, or a free one")
        yield Field("more", "for vLLM", placeholder="more arguments, such as --max-num-seqs=8")

    @on(Select.Changed)
    def fill_tuned(self) -> None:
        """Only adapters of the chosen base: others would be refused."""
        boxes = self.query_one(CheckList)
        boxes.clear_options()
        fitting = [choice for choice in self.choices if choice.base == self.query_one(Select).value]
        boxes.add_options(
            [
                Selection(_told_apart(choice), choice.run.id, choice.run.id in self.ticked)
                for choice in fitting
            ]
        )
        boxes.highlighted = 0 if fitting else None
        boxes.display = bool(fitting)
        self.query_one("#no-tuned").display = not fitting

    def submit(self) -> None:
        order = self._wanted()
        if order is None:
            return

        def start() -> None:
            self.post_message(JobStarted(_serve(order).id))

        self.show_problem(Content.styled("Checking the models.", "$foreground-muted"))
        self.run_worker(start, thread=True, exclusive=True, group="start", exit_on_error=False)

    def _wanted(self) -> Wanted | None:
        """What the fields say; None with an error beside the one that is wrong."""
        port = self.number_in("port", least=1, integer=True) if self.field("port").value else None
        try:
            extra_arguments = shlex.split(self.field("more").value)
        except ValueError as error:
            self.field("more").show_error(f"{error}".lower())
        if self.query(".field.-wrong"):
            return None
        selected = set(self.query_one(CheckList).selected)
        runs = [choice.run for choice in self.choices if choice.run.id in selected]
        return Wanted(
            str(self.query_one(Select).value),
            runs,
            None if port is None else int(port),
            extra_arguments,
        )

    def action_plan(self) -> None:
        """Show what would be started."""
        self.clear_errors()
        order = self._wanted()
        if order is not None:
            self.run_worker(
                lambda: self.post_message(Planned(_look(order))),
                thread=True,
                exclusive=True,
                group="plan",
                exit_on_error=False,
            )

    def on_planned(self, message: Planned) -> None:
        self.app.push_screen(PlanModal(message.outlook))


def _told_apart(choice: TunedChoice) -> Content:
    """Name and age, for runs of one recipe share their name; and the certificate."""
    age = (f"  {number_format.age(choice.run.created)}  ", "$foreground-muted")
    return Content.assemble(choice.run.spec.name, age, badge(choice.standing))


def _look(order: Wanted) -> Outlook:
    """The plan of a new server, whether or not one of this base runs."""
    from models.registry import resolve
    from models.runs import Run
    from serve.planning import ServeOptions, look_ahead
    from workshop.served_runs import adapters_of

    adapters = adapters_of([Run(run) for run in order.runs])[1] if order.runs else []
    return look_ahead(
        resolve(order.base),
        order.base,
        adapters,
        "127.0.0.1",
        order.port,
        ServeOptions(extra_args=order.extra_args),
    )


def _serve(order: Wanted) -> Job:
    """A new server; or, if one of this base runs and no port was asked for, that one, with the
    adapters added."""
    from models.registry import resolve
    from models.runs import Run
    from serve.launch import serve
    from serve.planning import ServeOptions
    from workshop.served_runs import adapters_of
    from workshop.servers import add_adapters, server_of

    adapters = adapters_of([Run(run) for run in order.runs])[1] if order.runs else []
    running = server_of(resolve(order.base), "127.0.0.1") if order.port is None else None
    if running is None:
        return serve(
            order.base, adapters, port=order.port, options=ServeOptions(extra_args=order.extra_args)
        )
    if order.extra_args:
        message = (
            f"{running.job.id} serves {order.base} already; arguments for vLLM are for a new"
            " server."
        )
        raise LuthierError(
            "A server runs", message, "Stop it first, or give this one a port of its own."
        )
    add_adapters(running, adapters)
    return running.job
