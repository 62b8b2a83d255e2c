"""Making conversations from Data: the form, the line that shows how far it is, and the look at what
was made."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from jobs.job import Job, all_jobs, wait
from tests.tui import data_folders, folders
from tests.tui.driving import ready, screen_text, text_of, until
from tests.tui.lock_holder import held
from tests.workshop.making import written
from trainer.recipe import Recipe
from tui.app import LuthierApp
from tui.data.make_form import MakeModal
from tui.data.making_line import MakingLine, end_in_words
from tui.data.making_plan_modal import MakingPlanModal
from tui.data.screen import DataScreen
from tui.shared.form import Field
from workshop.asking.budget import Ceiling
from workshop.making.location import Location
from workshop.making.order import Order, Terms, order_of
from workshop.making.preview import DocumentPlan, PassagePlan, Plan, SpeakerPlan
from workshop.making.recipe import load

Compare = Callable[..., bool]


def fill(form: MakeModal, **values: str) -> None:
    for key, value in values.items():
        form.field(key).query_one(Input).value = value


@pytest.mark.parametrize(
    ("further", "says", "severity"),
    [
        ({}, "1 conversation is in made.", "information"),
        ({"rejected": 3, "train": 9}, "9 conversations are in made. 3 passages", "information"),
        ({"unanswered": 4, "at_ceiling": True}, "4 are open", "warning"),
        ({"unanswered": 4, "first_failure": "No: it is late"}, "No: it is late.", "warning"),
    ],
)
def test_the_end_says_what_became_of_the_passages(
    further: dict[str, Any], says: str, severity: str
) -> None:
    figures = {"train": 1, "heldout": 0, "rejected": 0, "unanswered": 0, **further}
    notice = end_in_words(figures, "made")
    assert says in notice["message"]
    assert notice["severity"] == severity


async def opened(pilot: Pilot[None]) -> MakeModal:
    """The form that makes conversations."""
    app = await ready(pilot)
    await pilot.press("m")
    assert isinstance(app.screen, MakeModal)
    return app.screen


def running() -> Job:
    order = Order(["/books/memoir.epub", "/books/letters.pdf"], "/made", load("interview"))
    job = folders.make_job("make-memoir", 9, 600, "make")
    folders.orders(job, msgspec.to_builtins(order))
    folders.begin(job, 600)
    folders.write(
        job,
        folders.event("phase", 500, name="asking base"),
        folders.event("step", 10, step=1240, total=3100),
    )
    return job


@pytest.mark.heavy
async def test_the_form_makes_conversations_and_opens_them(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Recipe] = []

    def look(recipe: Recipe) -> Job:
        looked.append(recipe)
        return data_folders.finished()

    monkeypatch.setattr("trainer.data.inspection.start", look)
    book, out = written.text_book(tmp_path / "keeper.txt"), tmp_path / "made"
    app = LuthierApp("data")
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        assert "m makes conversations" in text_of(app, "#no-data")
        form = await opened(pilot)
        await pilot.press("enter")
        assert [each.key for each in form.query(Field) if each.has_class("-wrong")] == ["document"]
        fill(form, document=str(book), recipe="interview", folder=str(out))
        await pilot.press("enter")
        await until(pilot, lambda: "No model to ask" in screen_text(app))
        fill(form, recipe="continue")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, MakingPlanModal))
        assert all_jobs("make") == []  # what reads for the plan is gone
        await pilot.press("escape")
        assert app.screen is form
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, MakingPlanModal))
        await until(pilot, lambda: "The lighthouse keeper rose" in screen_text(app))
        assert "can be used" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DataScreen))
        assert await asyncio.to_thread(wait, all_jobs("make")[0], 40)
        app.read_jobs()
        await until(pilot, lambda: bool(looked))
    assert looked[0].sources[0].path == str(out / "train.jsonl")
    assert (out / "README.md").is_file()


@pytest.mark.heavy
async def test_a_document_that_cannot_be_read_is_said_on_screen(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "scan.pdf"
    written.pdf(path, [[], []])
    app = LuthierApp("data")
    async with app.run_test(size=(100, 30)) as pilot:
        form = await opened(pilot)
        fill(form, document=str(path), recipe="continue", folder=str(tmp_path / "made"))
        await pilot.press("enter")
        await until(pilot, lambda: "pictures, as of a scanner" in screen_text(app))
        assert app.screen is form
        assert all_jobs("make") == []


@pytest.mark.heavy
async def test_who_leaves_while_it_reads_leaves_no_job(home: Path, tmp_path: Path) -> None:
    book = written.text_book(tmp_path / "keeper.txt")
    app = LuthierApp("data")
    async with app.run_test(size=(100, 30)) as pilot:
        form = await opened(pilot)
        fill(form, document=str(book), recipe="continue", folder=str(tmp_path / "made"))
        await pilot.press("enter")
        await until(pilot, lambda: bool(all_jobs("make")))
        await pilot.press("escape", "escape")  # the second one gives up what was typed
        assert isinstance(app.screen, DataScreen)
        await until(pilot, lambda: not all_jobs("make"))
        await pilot.pause(0.3)
        assert isinstance(app.screen, DataScreen)
    assert not (tmp_path / "made").exists()


@pytest.mark.heavy
async def test_speakers_are_shown_and_get_their_roles(home: Path, tmp_path: Path) -> None:
    talk, out = written.transcript(tmp_path / "talk.txt"), tmp_path / "made"
    app = LuthierApp("data")
    async with app.run_test(size=(100, 30)) as pilot:
        form = await opened(pilot)
        fill(form, document=str(talk), recipe="dialogue", folder=str(out))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, MakingPlanModal))
        modal = cast(MakingPlanModal, app.screen)
        assert modal.roles == {"OLE": "assistant", "MARA": "user"}
        await until(pilot, lambda: "From my grandmother" in screen_text(app))
        await pilot.press("space", "enter")
        await until(pilot, lambda: "nobody is the assistant" in screen_text(app))
        assert app.screen is modal
        await pilot.press("space", "space", "down", "space")
        assert modal.roles == {"OLE": "assistant", "MARA": "assistant"}
        await pilot.press("enter")
        await until(pilot, lambda: "nobody is the user" in screen_text(app))
        await pilot.press("up", "space", "space")
        roles = {"OLE": "user", "MARA": "assistant"}
        assert modal.roles == roles
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DataScreen))
        (job,) = all_jobs("make")
        assert await asyncio.to_thread(wait, job, 40)
    assert order_of(job).roles == roles
    rows = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    rows += [json.loads(line) for line in (out / "heldout.jsonl").read_text().splitlines()]
    assistant_texts = {
        message["content"]
        for row in rows
        for message in row["messages"]
        if message["role"] == "assistant"
    }
    assert assistant_texts & {text for name, text in written.TALK if name == "MARA"}


async def test_a_text_in_which_nobody_speaks_is_no_dialogue(home: Path) -> None:
    order = Order(["/books/memoir.epub"], "/work/made", load("dialogue"))
    document = DocumentPlan("memoir.epub", "EPUB", 900, 3, "en", {})
    read = Plan([document], [], "Nobody speaks. Take qa.", [], 3, 3, 0, 0, 0.0)
    app = LuthierApp("data")
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        modal = MakingPlanModal(order, read)
        app.push_screen(modal)
        await until(pilot, lambda: "Nobody speaks. Take qa." in screen_text(app))
        await pilot.press("enter", "space")
        assert app.screen is modal
        assert "start" not in text_of(app, "DialogKeys")
        await pilot.press("escape")
        assert app.screen is not modal


async def test_the_form_has_what_the_recipe_and_the_endpoint_need(home: Path) -> None:
    (home / "config.toml").write_text('[endpoints.mine]\nurl = "https://example.org/v1"\n')
    app = LuthierApp("data")
    async with app.run_test(size=(100, 30)) as pilot:
        form = await opened(pilot)
        always = ["document", "recipe", "passages", "folder"]

        async def shown(**values: str) -> list[str]:
            fill(form, **values)
            await pilot.pause()
            return [field.key for field in form.query(Field) if field.display]

        assert await shown(recipe="dialogue") == always
        assert await shown(recipe="qa") == [*always, "endpoint", "model"]
        assert await shown(endpoint="mine") == [*always, "endpoint", "model", "prices", "cost"]
        hosted = [*always, "endpoint", "model", "key", "prices", "cost"]
        assert await shown(endpoint="https://example.org/v1") == hosted
        fill(form, document=str(home), prices="1", cost="x", passages="0")
        await pilot.press("enter")
        wrong = [field.key for field in form.query(Field) if field.has_class("-wrong")]
        assert wrong == ["passages", "model", "prices", "cost"]
        (home / "a.txt").write_text("A text.")
        fill(form, document=str(home / "a.txt"), model="m", prices="1, 2", cost="3", passages="")
        fill(form, key="sk-abcdefghijklmnop")
        await pilot.press("enter")
        await until(pilot, lambda: "The key itself is not typed here" in screen_text(app))
        assert all_jobs("make") == []


def hosted_plan() -> MakingPlanModal:
    terms = Terms("gpt-5-mini", "openai", ceiling=Ceiling(0.25, 2.0, cost=1.0))
    order = Order(["/books/memoir.epub"], "/work/made-memoir-interview", load("interview"), terms)
    documents = [
        DocumentPlan("memoir.epub", "EPUB", 412_000, 318, "en", {"footnotes": 41}),
        DocumentPlan("letters.pdf", "PDF", 80_200, 64, "fr", {}),
    ]
    text = written.PARAGRAPHS[0]
    example = PassagePlan(Location("memoir.epub", 0, len(text), "Chapter One", 7), text)
    return MakingPlanModal(
        order, Plan(documents, [], "", [example], 382, 377, 127, 1_240_000, 1.46)
    )


def talk_plan() -> MakingPlanModal:
    order = Order(["/talks/episode.vtt"], "/work/made-episode-dialogue", load("dialogue"))
    document = DocumentPlan("episode.vtt", "WebVTT", 48_000, 212, "en", {"sounds": 12})
    speakers = [
        SpeakerPlan("Ada", "", 91, 6210, "Thank you for having me. It began with a clock."),
        SpeakerPlan("Host", "", 88, 1930, "Welcome to the workshop. Who is here?"),
        SpeakerPlan("Announcer", "", 3, 64, "This episode is brought to you by nobody."),
    ]
    plan = MakingPlanModal(order, Plan([document], speakers, "", [], 212, 212, 0, 0, 0.0))
    plan.roles |= {"Ada": "assistant", "Announcer": "drop"}
    return plan


@pytest.mark.parametrize("size", [(80, 24), (140, 40)], ids=["80x24", "140x40"])
@pytest.mark.parametrize(
    "view",
    [
        "form",
        *(pytest.param(view, marks=pytest.mark.heavy) for view in ("line", "plan", "speakers")),
    ],
)
def test_pictures(snap_compare: Compare, view: str, size: tuple[int, int]) -> None:
    data_folders.finished()

    async def drive(pilot: Pilot[None]) -> None:
        await ready(pilot)
        if view == "line":
            await until(pilot, lambda: pilot.app.screen.query_one(MakingLine).display)
            await until(pilot, lambda: "tokens trained" in screen_text(pilot.app))
        elif view == "form":
            await pilot.press("m")
        else:
            pilot.app.push_screen(hosted_plan() if view == "plan" else talk_plan())
        await pilot.pause(0.1)

    with ExitStack() as stack:
        if view == "line":
            stack.enter_context(held(running()))
        assert snap_compare(LuthierApp("data"), terminal_size=size, run_before=drive)
