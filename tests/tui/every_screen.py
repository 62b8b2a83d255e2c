"""The app on a terminal, through every screen and dialog: `python -m tests.tui.every_screen`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Static

import tui
from jobs import job as jobs
from jobs.job import Job
from jobs.luthier_error import LuthierError
from models import catalogue
from models.runs import Run
from serve.chats import search, store
from serve.chats.turns import ChatSettings
from serve.client import ContextExceeded
from serve.drift.spill_map import Spill
from serve.planning import ServeOptions, look_ahead
from tests.tui.hostile import FILE_NAME, FOREIGN, RECIPE
from tests.tui.stylesheets import parsed_once
from trainer.data.inspection import StoredProposal, Vocabulary
from trainer.plan.plan import make_plan
from trainer.recipe import load
from trainer.recipe_draft import RecipeDraft
from tui.app import LuthierApp
from tui.board.screen import BoardScreen
from tui.chat.chats_modal import ChatsModal
from tui.chat.code_picker import CodeBlock, CodePicker
from tui.chat.context_modal import ContextModal
from tui.chat.correct_modal import CorrectModal
from tui.chat.endpoint_form import EndpointForm
from tui.chat.model_picker import ModelPicker
from tui.chat.replay_form import ReplayModal
from tui.chat.screen import ChatScreen
from tui.chat.settings_form import ChatSettingsModal
from tui.chat.vote_modal import VoteModal
from tui.chat.votes_modal import VotesModal
from tui.commands.chart import read_tracks
from tui.compare.form import CompareForm
from tui.compare.report_screen import ReportScreen
from tui.compare.screen import CompareScreen
from tui.data.forms import FormatModal, LookModal
from tui.data.make_form import MakeModal
from tui.data.making_plan_modal import MakingPlanModal
from tui.data.proposals_modal import ProposalsModal
from tui.data.screen import DataScreen
from tui.home.screen import HomeScreen
from tui.models import forms
from tui.models.merge_form import MergeModal
from tui.models.screen import ModelsScreen
from tui.new_run.files_modal import FilesModal
from tui.new_run.keys_modal import KeysModal, KeyValueModal
from tui.new_run.screen import NewRunScreen
from tui.runs import export_modal
from tui.runs.job_screen import JobScreen
from tui.runs.overlay_modal import OverlayModal
from tui.runs.panels import PANELS
from tui.runs.plan_modal import RunPlanModal
from tui.runs.recipe_editor import RecipeEditor
from tui.runs.run_screen import RunScreen
from tui.runs.runs_screen import RunsScreen
from tui.serve import adapter_picker, start_server
from tui.serve.plan_modal import PlanModal
from tui.serve.screen import ServeScreen
from tui.serve.server_question import ServerQuestion
from tui.serve.start_server import StartServerModal
from tui.settings.picker import SettingPicker
from tui.settings.screen import SettingsScreen
from tui.settings.table import SETTINGS, Choice
from tui.shared.certificate_modal import CertificateModal
from tui.shared.confirm_modal import ConfirmModal
from tui.shared.drift_modal import DriftModal
from tui.shared.error_modal import ErrorModal
from tui.shared.help_modal import HelpModal
from tui.shared.job_actions import proofs_of
from tui.shared.jump import JumpOverlay
from tui.shared.palette import Palette
from tui.shared.path_modal import PathModal
from tui.shared.shipped_form import ShippedForm
from tui.shared.theme_picker import ThemePicker
from tui.shared.toml_modal import TomlModal
from workshop import job_list, served_runs
from workshop.asking.budget import Ceiling
from workshop.chat.server import Reachable, newest_server
from workshop.making.location import Location
from workshop.making.order import Order, Terms
from workshop.making.preview import DocumentPlan, PassagePlan, SpeakerPlan
from workshop.making.preview import Plan as MakingPlan
from workshop.making.recipe import load as load_making
from workshop.runs.chart_metrics import METRICS
from workshop.runs.track import Track

_CAPTAIN, _LEARNING = "20261118-0003-captain-00ff", "20261118-0007-pirate-00ff"
IMPORT = "20261118-0001-builtin-00ff"
_FAILED, _STARTING = "20261118-0004-too-large-00ff", "20261118-0008-parrot-00ff"
PLACES = (
    RunsScreen,
    ModelsScreen,
    ServeScreen,
    ChatScreen,
    DataScreen,
    RunScreen,
    JobScreen,
    CompareScreen,
    ReportScreen,
    BoardScreen,
    SettingsScreen,
    HomeScreen,
    NewRunScreen,
)


def run() -> Job:
    return jobs.find(_CAPTAIN)


def entry() -> catalogue.Entry:
    return catalogue.find_entry(_CAPTAIN)


def tracks() -> list[Track]:
    return read_tracks((_LEARNING, _CAPTAIN))


def choices() -> list[served_runs.AdapterChoice]:
    return [served_runs.AdapterChoice(f"a{FOREIGN}", FOREIGN, Path(FILE_NAME))]


def reachable() -> Reachable:
    return Reachable(newest_server(), problem=FOREIGN)


def outlook() -> Any:
    entry = catalogue.find_entry(FILE_NAME)
    return look_ahead(
        entry.path,
        f"m{FOREIGN}",
        [("captain", run().directory / "adapter", None)],
        "127.0.0.1",
        None,
        ServeOptions(),
    )


def making_plan() -> MakingPlanModal:
    terms = Terms(FOREIGN, FOREIGN, ceiling=Ceiling(1.0, 2.0, cost=3.0))
    order = Order([FILE_NAME], FILE_NAME, load_making("dialogue"), terms)
    document = DocumentPlan(FOREIGN, FOREIGN, 10, 2, FOREIGN, {FOREIGN: 3})
    speakers = [SpeakerPlan(f"{FOREIGN}{role}", role, 2, 9, FOREIGN) for role in ("assistant", "")]
    example = PassagePlan(Location(FOREIGN, 0, 9, FOREIGN), FOREIGN)
    read = MakingPlan([document], speakers, FOREIGN, [example], 2, 2, 3, 400, 5.0)
    return MakingPlanModal(order, read)


def plan() -> RunPlanModal:
    recipe = load(Path(RECIPE))
    return RunPlanModal(recipe, make_plan(recipe), f"of a sweep {FOREIGN}")


DIALOGS: dict[type[Screen[Any]], Callable[[], Screen[Any]]] = {
    MakeModal: MakeModal,
    MakingPlanModal: making_plan,
    Palette: lambda: Palette(id="--command-palette"),
    adapter_picker.AdapterPicker: lambda: adapter_picker.AdapterPicker(FOREIGN, choices(), FOREIGN),
    CertificateModal: lambda: CertificateModal(lambda: proofs_of(Run(run()), [])),
    DriftModal: lambda: DriftModal(
        FOREIGN, [Spill(FOREIGN, FOREIGN, 0.5, [(FOREIGN, -2.0), (FOREIGN, 0.1)])]
    ),
    ChatSettingsModal: lambda: ChatSettingsModal(ChatSettings(FOREIGN)),
    ChatsModal: ChatsModal,
    CompareForm: lambda: CompareForm([row for row in job_list.read_rows({}) if row.kind == "run"]),
    ConfirmModal: lambda: ConfirmModal(FOREIGN, FOREIGN, FOREIGN, FOREIGN),
    ContextModal: lambda: ContextModal(FOREIGN, ContextExceeded(FOREIGN, 10, 20), can_forget=True),
    CodePicker: lambda: CodePicker([CodeBlock(FOREIGN, FOREIGN)] * 2),
    CorrectModal: lambda: CorrectModal(FOREIGN, FOREIGN, FOREIGN),
    EndpointForm: EndpointForm,
    ErrorModal: lambda: ErrorModal(LuthierError(FOREIGN, FOREIGN, FOREIGN), [FOREIGN]),
    FormatModal: lambda: FormatModal(load(Path(RECIPE)), {"columns": {FOREIGN: FOREIGN}}),
    HelpModal: lambda: HelpModal("chat"),
    JumpOverlay: lambda: JumpOverlay([Static()]),
    LookModal: lambda: LookModal(FILE_NAME, FOREIGN),
    MergeModal: lambda: MergeModal(entry()),
    ModelPicker: lambda: ModelPicker(reachable()),
    KeysModal: lambda: KeysModal(RecipeDraft(), lambda draft: None),
    KeyValueModal: lambda: KeyValueModal("train.epochs", RecipeDraft()),
    FilesModal: FilesModal,
    TomlModal: lambda: TomlModal(FOREIGN, FOREIGN),
    OverlayModal: lambda: OverlayModal(FOREIGN, job_list.read_rows({}), []),
    PathModal: lambda: PathModal(FOREIGN, Path(FILE_NAME), FOREIGN, lambda path: None),
    PlanModal: lambda: PlanModal(outlook()),
    ProposalsModal: lambda: ProposalsModal(
        load(Path(RECIPE)), [StoredProposal(FILE_NAME, FOREIGN, FOREIGN, {})], Vocabulary([], [])
    ),
    RecipeEditor: lambda: RecipeEditor(run()),
    ReplayModal: ReplayModal,
    RunPlanModal: plan,
    ServerQuestion: lambda: ServerQuestion(run(), [FOREIGN]),
    ShippedForm: lambda: ShippedForm(run(), []),
    SettingPicker: lambda: SettingPicker(SETTINGS[0], [Choice(FOREIGN, FOREIGN, FOREIGN)], FOREIGN),
    StartServerModal: lambda: StartServerModal(
        ["builtin", FILE_NAME], [start_server.TunedChoice(run(), FILE_NAME)], FILE_NAME
    ),
    ThemePicker: ThemePicker,
    VoteModal: lambda: VoteModal({"A": FOREIGN, "B": FOREIGN}, lambda judgement: None),
    VotesModal: VotesModal,
    export_modal.ExportModal: lambda: export_modal.ExportModal(
        tracks(), METRICS[0], RunScreen(run()).board.view
    ),
    forms.ExportModal: lambda: forms.ExportModal(FILE_NAME, FOREIGN),
    forms.ImportModal: lambda: forms.ImportModal(FOREIGN, FOREIGN),
    forms.PushModal: lambda: forms.PushModal(FILE_NAME, FOREIGN),
}


def screens() -> set[type[Screen[Any]]]:
    """Every screen of Luthier's that is no other's beginning."""
    for module in walk_packages(tui.__path__, "tui."):
        import_module(module.name)
    kinds = {kind for kind in _below(Screen) if kind.__module__.startswith("tui.")}
    return {kind for kind in kinds if not kinds & set(kind.__subclasses__())}


def _below(kind: type[Screen[Any]]) -> Iterable[type[Screen[Any]]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


async def look(pilot: Pilot[Any]) -> None:
    """Go everywhere, and have each be painted."""
    app = pilot.app
    assert isinstance(app, LuthierApp)
    while app.rows is None:
        await pilot.pause(0.02)
    await visit(pilot, app)
    app.push_screen(Screen())  # nothing to be painted again below each dialog
    for make in DIALOGS.values():
        dialog = make()
        app.push_screen(dialog)
        await painted(pilot)
        if app.screen is dialog:
            dialog.dismiss(None)
            await pilot.pause()
    app.notify(FOREIGN, title=FOREIGN)
    app.show_failure(ValueError(FOREIGN))
    app.copy_to_clipboard(FOREIGN)
    await painted(pilot)
    app.exit(message=None)


async def painted(pilot: Pilot[None]) -> None:
    while any(not worker.is_finished for worker in pilot.app.workers):
        await pilot.pause(0.02)
    await pilot.pause()


async def visit(pilot: Pilot[None], app: LuthierApp) -> None:
    for name in (_FAILED, _STARTING, _CAPTAIN, _LEARNING):
        app.open_run(jobs.find(name), [run()])
        await painted(pilot)
        if name != _LEARNING:
            app.pop_screen()
    for _ in PANELS:
        await pilot.press("tab")
        await painted(pilot)
    app.pop_screen()
    app.open_job(jobs.find(IMPORT))
    await painted(pilot)
    app.pop_screen()
    await painted(pilot)
    for place in ("models", "serve", "data", "compare", "board", "settings"):
        await app.action_show(place)
        await painted(pilot)
        for key in ("end", "up", "enter"):
            await pilot.press(key)
            await painted(pilot)
        while app.screen.is_modal:
            app.pop_screen()
    await app.action_home()
    await painted(pilot)
    await app.journey.plan_run()
    await painted(pilot)
    await chat(pilot, app)


async def chat(pilot: Pilot[None], app: LuthierApp) -> None:
    """A chat of before, and a question that is answered now."""
    await app.action_show("chat")
    await painted(pilot)
    screen = app.screen
    assert isinstance(screen, ChatScreen)
    while screen.session.reachable.server is None:
        await pilot.pause(0.02)
    (kept,) = search.chats()
    screen.files.open_chat(store.load(kept.id), ["answer"])
    await painted(pilot)
    screen.prompt.text = FOREIGN
    screen.asking.send()
    while screen.session.answering:
        await pilot.pause(0.02)
    await painted(pilot)


if __name__ == "__main__":
    with parsed_once():
        LuthierApp().run(auto_pilot=look)
