"""Home: the first minute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from jobs.job import Job
from models.environment import Check
from tests.fakes.openai_server import FAKE_KEY, FakeServer
from tests.tui import data_folders, folders
from tests.tui.driving import ready, screen_text, until
from tests.tui.test_new_run import ROW
from trainer.plan.plan import Plan
from trainer.recipe import Recipe
from tui.app import LuthierApp
from tui.chat.endpoint_form import EndpointForm
from tui.chat.screen import ChatScreen
from tui.data.screen import DataScreen
from tui.home.screen import HomeScreen
from tui.new_run.data_look import DataLook
from tui.new_run.screen import NewRunScreen
from tui.runs.run_screen import RunScreen
from tui.runs.runs_screen import RunsScreen
from tui.themes import PALETTE_THEME
from workshop.machine import Machine


@pytest.fixture(autouse=True)
def near(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a data file, one in a folder of its own, and one that holds none."""
    monkeypatch.setattr(DataLook, "job_for", lambda recipe: (None, False))
    folder = home / "near"
    (folder / "raw").mkdir(parents=True)
    rows = "".join(ROW.replace("Hm", f"Hm {number}") + "\n" for number in range(40))
    (folder / "pirates.jsonl").write_text(rows)
    (folder / "raw" / "support.csv").write_text("prompt,response\nWho?,Me.\n")
    (folder / "package.json").write_text('{"a": 1}')
    (folder / "a-model").mkdir()
    for name in ("config.json", "tokenizer.json"):  # no data, and not listed
        (folder / "a-model" / name).write_text("{}")
    job = folder / "jobs" / "20261118-0003-captain-00ff"  # of a home that is not in use
    job.mkdir(parents=True)
    for name in ("spec.json", "events.jsonl"):
        (job / name).write_text(ROW + "\n")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    recipes: list[Recipe] = []

    def train(recipe: Recipe, plan: Plan | None = None) -> Job:
        recipes.append(recipe)
        return folders.make_job(recipe.name, 1, age=0)

    monkeypatch.setattr("trainer.launch.train", train)
    return recipes


async def opened(pilot: Pilot[None]) -> HomeScreen:
    app = await ready(pilot)
    await until(
        pilot, lambda: "40 rows" in screen_text(app) and "not recognised" in screen_text(app)
    )
    assert isinstance(app.screen, HomeScreen)
    return app.screen


async def test_home_lists_the_data_files_with_their_rows(near: Path) -> None:
    app = LuthierApp("home")
    async with app.run_test(size=(120, 40)) as pilot:
        home = await opened(pilot)
        await until(pilot, lambda: "of memory" in screen_text(app))
        lines = screen_text(app).splitlines()
        (first,) = [line for line in lines if "pirates.jsonl" in line]
        assert "40 rows" in first and "messages" in first
        assert home.choices.highlighted_id == str(near / "pirates.jsonl")
        # what cannot be trained on comes last
        names = [option.id for option in home.choices.options]
        assert not any("a-model" in str(name) or "jobs" in str(name) for name in names)
        assert names[:3] == [
            str(near / name) for name in ("pirates.jsonl", "raw/support.csv", "package.json")
        ]
        assert "teaches a chat model from your conversations" in screen_text(app)
        assert "Try the demo" in screen_text(app) and "Connect an endpoint" in screen_text(app)


async def test_what_is_missing_is_said_with_what_helps_in_one_line(
    near: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = Check("packages", False, "not installed: torch", "Install the libraries.")
    monkeypatch.setattr("workshop.machine.quick_checks", lambda: iter([missing]))
    app = LuthierApp("home")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        notice = "missing packages: `luthier doctor --fix` shows what helps"
        await until(pilot, lambda: any(notice in line for line in screen_text(app).splitlines()))


async def test_part_of_a_name_enter_enter_is_a_run(near: Path, started: list[Recipe]) -> None:
    app = LuthierApp("home")
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press(*"pir", "enter")
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen))
        assert app.screen.query_one("#field-data Input", Input).value == "pirates.jsonl"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        await pilot.press("f2")  # home is as it was: the form has done its work
        await until(pilot, lambda: isinstance(app.screen, HomeScreen))
    assert started[0].data == [str(near / "pirates.jsonl")]


async def test_a_path_counts_before_the_list_and_a_wrong_one_is_named(near: Path) -> None:
    app = LuthierApp("home")
    async with app.run_test(size=(80, 24)) as pilot:
        home = await opened(pilot)
        await pilot.press(*"zither", "enter")
        assert app.screen is home
        assert "No such file or folder, and no file here has a name" in screen_text(app)
        await pilot.press("escape")  # takes back what was typed
        assert home.typed == "" and "No such file" not in screen_text(app)
        home.query_one("Input").value = "x" * 60_000  # type: ignore[attr-defined]
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: "File name too long, and no file here" in screen_text(app))
        assert "x…" in screen_text(app)
        home.query_one("Input").value = str(near / "raw")  # type: ignore[attr-defined]
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen))
        assert isinstance(app.screen, NewRunScreen)
        assert app.screen.draft.sources == [str(near / "raw")]
        await pilot.press("escape")
        assert app.screen is home


@pytest.mark.parametrize("written", ["./pir", "NEAR/pir", "~/near/pir"])
async def test_the_beginning_of_a_path_finds_the_file_in_the_list(
    written: str, near: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(near.parent))
    app = LuthierApp("home")
    async with app.run_test(size=(80, 24)) as pilot:
        home = await opened(pilot)
        home.query_one("#home-path", Input).value = written.replace("NEAR", str(near))
        await until(pilot, lambda: home.choices.option_count == 4)
        assert home.choices.highlighted_id == str(near / "pirates.jsonl")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen))


async def test_tab_completes_the_path_as_in_a_shell(near: Path) -> None:
    app = LuthierApp("home")
    async with app.run_test(size=(80, 24)) as pilot:
        home = await opened(pilot)
        await pilot.press(*"./ra")
        await until(pilot, lambda: "./raw/" in screen_text(app))
        await pilot.press("tab")
        assert home.typed == "./raw/"
        await pilot.press("tab", "s")  # nothing is offered: the field keeps the focus
        await until(pilot, lambda: "./raw/support.csv" in screen_text(app))
        assert home.typed == "./raw/s"


async def test_the_demo_runs_as_a_job_and_is_certified(started: list[Recipe]) -> None:
    app = LuthierApp("home")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("end", *["down"] * 3, "enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
    assert [(run.name, run.certify) for run in started] == [("captain", True)]


async def test_an_endpoint_leads_to_a_chat_with_its_models(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_HOST_KEY", FAKE_KEY)
    app = LuthierApp("home")
    with FakeServer(("parrot",)) as server:
        async with app.run_test(size=(80, 24)) as pilot:
            await opened(pilot)
            await pilot.press("ctrl+o")
            assert isinstance(app.screen, EndpointForm)
            values = {"name": "mine", "url": f"{server.base_url}/v1", "key": "FAKE_HOST_KEY"}
            for key, value in values.items():
                app.screen.field(key).query_one(Input).value = value
            await pilot.press("enter")
            await until(pilot, lambda: app.current_mode == "chat")
            await until(pilot, lambda: "Choose a model" in screen_text(app))
            await until(pilot, lambda: "parrot" in screen_text(app))
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, ChatScreen))
            await pilot.press("H", "i", "enter")  # the other pane, without a model, is left out
            await until(pilot, lambda: "parrot says: Hi" in screen_text(app))
            assert "no model" not in screen_text(app)


async def test_home_can_be_reached_again_and_left(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("4", "f2")
        await until(pilot, lambda: isinstance(app.screen, HomeScreen))
        await until(pilot, lambda: "esc other screens" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))


async def test_its_text_keeps_a_margin_at_every_size() -> None:
    app = LuthierApp("home")
    async with app.run_test(size=(80, 24)) as pilot:
        home = await opened(pilot)
        for size in ((80, 24), (100, 24), (100, 30), (120, 35), (200, 60)):
            await pilot.resize_terminal(*size)
            while app.screen.size != size:
                await pilot.pause()
            await pilot.pause()
            for widget in home.query("#home-about, #home-line, #home-list, #home-machine"):
                region = widget.region
                left, right = region.x, size[0] - region.right
                assert left == right >= 2, f"{widget.id} at {size}: {left} and {right}"


async def test_the_cursor_hides_nothing_in_the_terminal_s_own_colours(near: Path) -> None:
    app = LuthierApp("home")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        app.theme = PALETTE_THEME
        await pilot.pause()
        strips = app.screen._compositor.render_strips()
        (line,) = [strip for strip in strips if "pirates.jsonl" in strip.text]
        assert "messages" in line.text
        for text, style, _ in line:
            if text.strip() and style is not None and style.bgcolor is not None:
                assert style.color != style.bgcolor, text


async def test_what_is_typed_is_still_there_after_a_look_elsewhere() -> None:
    app = LuthierApp("home")
    async with app.run_test(size=(80, 24)) as pilot:
        home = await opened(pilot)
        assert len(app.screen_stack) == 1  # no other screen was made beneath it
        await pilot.press(*"pir")
        await app.action_show("models")
        await pilot.press("f2")
        await until(pilot, lambda: app.screen is home)
        assert home.typed == "pir"


async def test_from_data_to_a_run_without_the_path() -> None:
    data_folders.finished()
    app = LuthierApp("data")
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        screen = app.screen
        assert isinstance(screen, DataScreen)
        await until(pilot, lambda: screen.inspection is not None)
        assert "t train" in screen_text(app)
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen))
        assert isinstance(app.screen, NewRunScreen)
        assert app.screen.form.field("data").value == data_folders.SOURCE


@pytest.mark.parametrize("size", [(80, 24), (120, 35)], ids=["80x24", "120x35"])
def test_picture(
    snap_compare: Callable[..., bool], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine("2 cores, 25 GB of memory, no GPU", "The built-in 135M model fits.", ())
    monkeypatch.setattr("workshop.machine.this_machine", lambda: machine)

    async def listed(pilot: Pilot[None]) -> None:
        await opened(pilot)
        await until(pilot, lambda: "2 cores" in screen_text(pilot.app))

    assert snap_compare(LuthierApp("home"), terminal_size=size, run_before=listed)
