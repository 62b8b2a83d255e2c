"""A new run: left the few choices, right what they come to, worked out while one types."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import ClassVar

from textual import getters, on
from textual.app import SuspendNotSupported
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input
from textual.worker import Worker, WorkerState

from jobs.job import Job
from jobs.luthier_error import LuthierError
from models.builtin import BUILTIN
from models.runs import Run
from trainer.plan.plan import Plan
from trainer.recipe import Recipe
from trainer.recipe_draft import RecipeDraft
from trainer.sweep import Sweep
from tui import key_bindings
from tui.new_run.data_look import DataLook
from tui.new_run.form import RunForm, shown_source
from tui.new_run.outlook import ProposalShown, RunOutlook
from tui.new_run.outlook_text import Outlook
from tui.new_run.planning import Refusal, outlook_of, refusal_of, with_proposal
from tui.shared.action import Place
from tui.shared.form import Field
from tui.shared.screen import LuthierScreen
from tui.shared.styles import DIALOGS

_TYPING_SECONDS = 0.3  # of silence before what was typed is worked out
_NO_DATA = Content.styled(
    "Name a data file. Here you will see what happens to its rows, which tokens are trained, and"
    " how much memory and time the run takes.",
    "$foreground-muted",
)


class NewRunScreen(LuthierScreen):
    """`source` is data or a recipe's file; `draft` is a recipe that was begun elsewhere."""

    place: ClassVar[Place] = "new_run"
    poll_seconds = 0.4
    CSS_PATH: ClassVar[list[str | PurePath]] = [DIALOGS, "new_run.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("new_run")
    AUTO_FOCUS = "#field-data Input"
    form = getters.query_one(RunForm)
    right = getters.query_one(RunOutlook)

    def __init__(
        self, source: str = "", model: str = BUILTIN, draft: RecipeDraft | None = None
    ) -> None:
        super().__init__()
        self.draft = draft or RecipeDraft()
        if model != BUILTIN and draft is None:
            self.draft = self.draft.with_value("model", model)
        self._source = source
        self._first_values: list[str] | None = None
        self._first_draft = self.draft
        self._values_read: list[str] = []
        """What the fields had when they were read."""
        self._version = 0
        self._outlook: Outlook | None = None
        self._refusal: Refusal | None = None
        self._proposal_shown = 0
        """Which of the refusal's proposals."""
        self._look = DataLook()
        self.job: Job | None = None
        """The look at the data, which is shown here: no notice needs to say that it is done."""
        self._typing: Timer | None = None
        self._rejected = ""
        """A text of the editor that is no recipe: it is opened again."""
        self._starting = False

    def compose_body(self) -> Iterable[Widget]:
        with Horizontal(id="new-run"):
            yield RunForm()
            yield RunOutlook()

    def on_mount(self) -> None:
        key = "recipe" if self._source.endswith(".toml") else "data"
        if self._source:
            self.form.input(key).value = shown_source(self._source)
        else:
            self.form.show(self.draft)
        self._read_fields()
        self._first_values, self._first_draft = self.form.values(), self.draft

    def on_unmount(self) -> None:
        if not self._starting:
            self._look.end()

    # What is typed becomes a draft, and the draft an outlook

    @on(Input.Changed)
    def typed(self) -> None:
        if self.form.values() == self._values_read:
            return
        if self._typing is not None:
            self._typing.stop()
        self._typing = self.set_timer(_TYPING_SECONDS, self._read_fields)

    def on_descendant_focus(self) -> None:
        nodes = self.focused.ancestors_with_self if self.focused is not None else []
        field = next((node for node in nodes if isinstance(node, Field)), None)
        self.form.show_help(field.key if field is not None else "")

    def _read_fields(self) -> None:
        self._typing = None
        try:
            draft = self.form.edited(self.draft)
        except LuthierError as error:
            self.form.field("recipe").show_error(f"{error.title}: {error.message}")
            return
        finally:
            self._values_read = self.form.values()
        if draft != self.draft or self._outlook is None:
            self._use(draft)

    def _read_now(self) -> None:
        """What was typed a moment ago counts for what is done with the draft."""
        if self._typing is not None:
            self._typing.stop()
        if self.form.values() != self._values_read:
            self._read_fields()

    def _use_from_elsewhere(self, draft: RecipeDraft) -> None:
        """What did not come from the fields: they show it, and whether it can be planned is
        open again."""
        self.form.forget_refusal()
        self.form.show(draft)
        self._use(draft)

    def _use(self, draft: RecipeDraft) -> None:
        """Plan it in a thread; what was typed meanwhile makes the answer void."""
        self.draft = draft
        self.form.show_changes(draft)
        self._version += 1
        self._outlook = self._refusal = None
        self.form.show_problem(Content(""))
        if not self.draft.sources:
            self.right.say(_NO_DATA)
            return
        if self.form.wrong:
            self.right.say(Content(""))
            return
        version = self._version
        self.in_thread(
            lambda: outlook_of(draft),
            lambda outlook: self._planned(version, outlook),
            group="plan",
            exclusive=True,
        )

    def _planned(self, version: int, outlook: Outlook | Refusal) -> None:
        if version != self._version:
            return
        if isinstance(outlook, Refusal):
            self._refused(outlook)
            return
        self._outlook = outlook
        self.right.show(outlook, self._look)
        self.refresh_hints()
        self.in_thread(
            lambda: _look_of(outlook.recipe),
            lambda new_look: self._looked(version, *new_look),
            group="look",
        )

    def _refused(self, refusal: Refusal, number: int = 0) -> None:
        """Say why there is no plan, and show one of the proposals, with what it would come to."""
        self._refusal, self._proposal_shown = refusal, number
        self.form.refuse(refusal.error, refusal.field, has_proposals=bool(refusal.proposals))
        self.refresh_hints()
        if not refusal.proposals:
            self.right.say(Content(""), refusal.first_rows)
            return
        proposal = ProposalShown(refusal.proposals[number], number + 1, len(refusal.proposals))
        self.right.propose(proposal, None, refusal.first_rows)
        draft, version = with_proposal(self.draft, proposal.change), self._version

        def planned(outlook: Outlook | Refusal) -> None:
            is_shown = (version, number) == (self._version, self._proposal_shown)
            if isinstance(outlook, Outlook) and is_shown:
                self.right.propose(proposal, outlook, refusal.first_rows)

        self.in_thread(lambda: outlook_of(draft), planned, group="proposal", exclusive=True)

    def _looked(self, version: int, job: Job | None, is_own: bool, problem: str) -> None:
        if version != self._version or not self.is_attached:
            if job is not None and is_own:
                orphan = DataLook()
                orphan.follow(job, is_own)
                orphan.end()
            return
        self._look.follow(job, is_own)
        self.job = job
        if problem:
            self._look.problem = problem
        self._show_look(changed=True)

    def advance(self) -> None:
        if self._look.is_under_way:
            look = self._look
            self.in_thread(look.advance, self._show_look, group="follow")

    def _show_look(self, changed: bool) -> None:
        if changed and self._outlook is not None:
            self.right.show(self._outlook, self._look)

    # What can be done

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "plan":
            return self._outlook is not None
        proposals = self._refusal.proposals if self._refusal is not None else ()
        if action == "accept":
            return bool(proposals)
        if action == "another":
            return len(proposals) > 1
        return super().check_action(action, parameters)

    def action_start(self) -> None:
        if self._starting:
            return
        self.form.forget_refusal()  # a file may have been repaired
        self._read_now()
        if not self.draft.sources:
            self.form.field("data").show_error("a data file or a folder is needed")
        if self.form.wrong:
            self.form.input(self.form.wrong[0]).focus()
            return
        draft, outlook = self.draft, self._outlook
        plan = outlook.plan if outlook is not None and outlook.runs == 1 else None
        self._starting = True
        self.form.show_problem(Content.styled("Starting the run.", "$foreground-muted"))
        self.in_thread(
            lambda: _start(draft, plan),
            self._started,
            group="start",
            exclusive=True,
        )

    def _started(self, started: list[Job] | Refusal) -> None:
        if isinstance(started, Refusal):
            self._starting = False
            self.form.refuse(started.error, started.field)
            if started.field:
                self.form.input(started.field).focus()
            self.app.show_failure(started.error)  # whole, and to be copied
            return
        for warning in Run(started[0]).warnings:
            self.notify(warning, severity="warning", timeout=20, markup=False)
        if len(started) > 1:
            self.notify(f"{len(started)} runs are queued. The first one is shown.", title="Sweep")
        # the app does it: a screen cannot wait for its own end
        self.app.call_later(self.app.journey.open_started, started[0].id)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.group == "start":
            self._starting = False

    def action_edit(self) -> None:
        """The whole recipe as TOML, in the user's editor."""
        from tui.shared.editor import handed_over
        from tui.shared.text_editor import edit_text

        self._read_now()
        text = self._rejected or self.draft.text
        try:
            with handed_over(self.app):
                saved = edit_text(text, ".toml")
        except SuspendNotSupported:
            from tui.shared.toml_modal import TomlModal

            self.app.push_screen(TomlModal("The recipe", text), self._edited)
            return
        self._edited(saved if saved is None else f"{saved}\n")

    def _edited(self, text: str | None) -> None:
        if text is None or text == self.draft.text:
            return
        draft = RecipeDraft(text, self.draft.path)
        try:
            _ = draft.values
        except LuthierError as error:
            self._rejected = text
            editor = key_bindings.key_of("new_run.edit")
            again = LuthierError(
                error.title, error.message, f"{editor} opens it again as you left it."
            )
            self.form.refuse(again)
            return
        self._rejected = ""
        self._use_from_elsewhere(draft)

    def action_keys(self) -> None:
        from tui.new_run.keys_modal import KeysModal

        self._read_now()

        self.app.push_screen(KeysModal(self.draft, self._use_from_elsewhere))

    def action_files(self) -> None:
        from tui.new_run.files_modal import FilesModal

        def chosen(path: Path | None) -> None:
            if path is not None:
                self.form.input("data").value = shown_source(str(path))

        self.app.push_screen(FilesModal(), chosen)

    def action_accept(self) -> None:
        """Change the recipe as it is proposed."""
        refusal = self._refusal
        if refusal is not None and refusal.proposals:
            self._use_from_elsewhere(
                with_proposal(self.draft, refusal.proposals[self._proposal_shown])
            )

    def action_another(self) -> None:
        refusal = self._refusal
        if refusal is not None and len(refusal.proposals) > 1:
            self._refused(refusal, (self._proposal_shown + 1) % len(refusal.proposals))

    def action_plan(self) -> None:
        from tui.runs.plan_modal import RunPlanModal

        outlook = self._outlook
        if outlook is None:
            return
        of_sweep = f"the first of {outlook.runs} runs" if outlook.runs > 1 else ""
        self.app.push_screen(
            RunPlanModal(outlook.recipe, outlook.plan, of_sweep),
            lambda start: self.action_start() if start else None,
        )

    def action_page(self, pages: int) -> None:
        self.right.scroll_relative(y=pages * self.right.size.height, animate=False)

    def step_back(self) -> bool:
        """Leave, but ask first where something was typed."""
        if self._starting or not self._is_changed():
            return False
        from tui.shared.confirm_modal import ConfirmModal

        def leave(leaves: bool | None) -> None:
            if leaves:
                self.app.pop_screen()

        self.app.push_screen(
            ConfirmModal(
                "Leave the new run?", "What you chose here is lost.", yes="leave", no="stay"
            ),
            leave,
        )
        return True

    def _is_changed(self) -> bool:
        return self.form.values() != self._first_values or self.draft != self._first_draft

    def unsaved(self) -> str:
        return "A new run is being planned." if self._is_changed() else ""


def _look_of(recipe: Recipe) -> tuple[Job | None, bool, str]:
    """In a thread: a look at the data, whether it was begun now, and why there is none."""
    try:
        return *DataLook.job_for(recipe), ""
    except LuthierError as error:
        return None, False, f"{error.title}. {error.message}"


def _start(draft: RecipeDraft, plan: Plan | None) -> list[Job] | Refusal:
    """In a thread: the runs that were started."""
    from trainer.launch import train
    from trainer.sweep import start_sweep

    try:
        asked = draft.asked()
        return start_sweep(asked)[1] if isinstance(asked, Sweep) else [train(asked, plan)]
    except LuthierError as error:
        return refusal_of(error, draft)
