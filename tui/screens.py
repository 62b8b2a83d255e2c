"""The screens of the app, once each. A new one is written in two places: its room, and this table;
the app's modes, the header's tabs, the help's sections and the registry of actions come from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tui.board.key_bindings import BOARD
from tui.chat.key_bindings import CHAT
from tui.compare.key_bindings import COMPARE, REPORT
from tui.data.key_bindings import DATA
from tui.home.key_bindings import HOME
from tui.models.key_bindings import MODELS
from tui.new_run.key_bindings import NEW_RUN
from tui.runs.key_bindings import JOB, RUN, RUNS
from tui.serve.key_bindings import SERVE
from tui.settings.key_bindings import SETTINGS
from tui.shared.action import Action, Place, handled

if TYPE_CHECKING:
    from tui.shared.screen import LuthierScreen


@dataclass(frozen=True)
class ScreenInfo:
    """A screen, and all that is said of it elsewhere."""

    place: Place
    title: str
    actions: list[Action]
    """What can be done there."""
    load: Callable[[], type[LuthierScreen]]
    """Its class, imported when it is first shown: the app starts quicker."""
    key: str = ""
    """The key that leads there, in the header; empty for one that another screen opens."""
    tab_help: str = ""
    """What the key shows."""
    summary: str = ""
    """What the help says of the screen before its actions."""

    def make(self) -> LuthierScreen:
        """A new one, as the key opens it."""
        return self.load()()


def _runs() -> type[LuthierScreen]:
    from tui.runs.runs_screen import RunsScreen

    return RunsScreen


def _run() -> type[LuthierScreen]:
    from tui.runs.run_screen import RunScreen

    return RunScreen


def _job() -> type[LuthierScreen]:
    from tui.runs.job_screen import JobScreen

    return JobScreen


def _models() -> type[LuthierScreen]:
    from tui.models.screen import ModelsScreen

    return ModelsScreen


def _serve() -> type[LuthierScreen]:
    from tui.serve.screen import ServeScreen

    return ServeScreen


def _chat() -> type[LuthierScreen]:
    from tui.chat.screen import ChatScreen

    return ChatScreen


def _data() -> type[LuthierScreen]:
    from tui.data.screen import DataScreen

    return DataScreen


def _compare() -> type[LuthierScreen]:
    from tui.compare.screen import CompareScreen

    return CompareScreen


def _report() -> type[LuthierScreen]:
    from tui.compare.report_screen import ReportScreen

    return ReportScreen


def _board() -> type[LuthierScreen]:
    from tui.board.screen import BoardScreen

    return BoardScreen


def _settings() -> type[LuthierScreen]:
    from tui.settings.screen import SettingsScreen

    return SettingsScreen


def _home() -> type[LuthierScreen]:
    from tui.home.screen import HomeScreen

    return HomeScreen


def _new_run() -> type[LuthierScreen]:
    from tui.new_run.screen import NewRunScreen

    return NewRunScreen


SCREENS = [
    ScreenInfo(
        "runs",
        "Runs",
        RUNS,
        _runs,
        key="1",
        tab_help="Runs and other jobs, with their states.",
        summary="Every job of this machine, newest first. Jobs run without this window: closing it"
        " stops nothing.",
    ),
    ScreenInfo(
        "run",
        "Run",
        handled(RUN),
        _run,
        summary="One run, or up to four over each other. The left and right keys read the charts,"
        " up and down what is below them.",
    ),
    ScreenInfo(
        "job",
        "Job",
        handled(JOB),
        _job,
        summary="A certificate, a merge, an export or another job beside the runs: its phases, its"
        " result and its log.",
    ),
    ScreenInfo(
        "models",
        "Models",
        MODELS,
        _models,
        key="2",
        tab_help="Base models and tuned adapters.",
        summary="Base models, the adapters of your runs, and merged models. Import, export and push"
        " them here.",
    ),
    ScreenInfo(
        "serve",
        "Serve",
        handled(SERVE),
        _serve,
        key="3",
        tab_help="The server, and how programs reach it.",
        summary="One server holds a base model and any number of tuned ones, each under its own"
        " name.",
    ),
    ScreenInfo(
        "chat",
        "Chat",
        handled(CHAT),
        _chat,
        key="4",
        tab_help="Chat with base and tuned models side by side.",
        summary="Chat with base and tuned models side by side.",
    ),
    ScreenInfo(
        "data",
        "Data",
        DATA,
        _data,
        key="5",
        tab_help="What happens to each row of a data set, and which tokens are trained.",
    ),
    ScreenInfo(
        "compare",
        "Compare",
        handled(COMPARE),
        _compare,
        key="6",
        tab_help="Base and tuned models on a file of prompts.",
        summary="Base and tuned models answer every prompt of a file, if you like with a judge. A"
        " comparison is a job: it keeps running without this window.",
    ),
    ScreenInfo(
        "report",
        "Report",
        handled(REPORT),
        _report,
        summary="A comparison, prompt by prompt, all answers side by side.",
    ),
    ScreenInfo(
        "board",
        "Board",
        handled(BOARD),
        _board,
        key="7",
        tab_help="The machine, its jobs and its server at a glance.",
        summary="The machine, the server's traffic, the loss of the run in progress, the queue and"
        " the jobs that ended last. Leave it open.",
    ),
    ScreenInfo(
        "settings",
        "Settings",
        handled(SETTINGS),
        _settings,
        key="8",
        tab_help="The settings of config.toml.",
        summary="Everything that config.toml can say. A change is saved at once, and comments in"
        " the file stay.",
    ),
    ScreenInfo(
        "home",
        "Home",
        HOME,
        _home,
        summary="Begin with a data file, the demo, or a server that you already have.",
    ),
    ScreenInfo(
        "new_run",
        "New run",
        NEW_RUN,
        _new_run,
        summary="The few choices of a run, and what they mean on this machine. Nothing starts"
        " until you press enter.",
    ),
]

TABS = [screen for screen in SCREENS if screen.key]
"""The screens that a key leads to, from left to right."""

BASE_SCREENS = {screen.place: screen for screen in SCREENS if screen.key or screen.place == "home"}
"""By their places: those that others are opened on. The app keeps each as it was."""

SUMMARIES = {screen.place: screen.summary for screen in SCREENS if screen.summary}

PLACE_TITLES: dict[Place, str] = {
    "app": "Everywhere",
    "list": "In lists",
    "log": "In logs",
    "search": "Looking for text in logs",
    "samples": "In samples",
    **{screen.place: screen.title for screen in SCREENS},
}
"""Every place where something can be done: screens, and widgets with keys of their own."""
