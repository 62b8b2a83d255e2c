"""A home in which one of everything is damaged, in many ways: the healthy ones are shown as ever,
the damaged ones with their reason."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import OptionList

from jobs import job as jobs
from jobs.home import jobs_directory, models_directory
from jobs.job import Job
from jobs.spec import Spec
from models import catalogue
from serve.chats import database, search
from serve.planning import living_servers
from tests.serve import chat_writing
from tests.tui import folders
from tests.tui.driving import lines_of, ready, screen_text, until
from tests.tui.lock_holder import held
from tests.tui.test_homes import luthier
from tui.app import LuthierApp
from tui.chat.chats_modal import ChatsModal
from tui.models.screen import ModelsScreen
from tui.runs.runs_screen import RunsScreen
from tui.serve.screen import ServeScreen
from tui.shared.confirm_modal import ConfirmModal
from tui.shared.error_modal import ErrorModal
from tui.shared.row_table import RowTable

DEEP = "[" * 100_000 + "]" * 100_000
JUNK = {
    "deep": DEEP,
    "a list": "[1]",
    "cut off": '{"a": ',
    "empty": "",
    "not UTF-8": "\udcff",
    "numbers": '{"t": 1e400, "a": NaN}',
}


def spoil(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(errors="surrogateescape"))


def change(path: Path, **values: Any) -> None:
    path.write_text(
        json.dumps({**(json.loads(path.read_text()) if path.is_file() else {}), **values})
    )


def a_run(name: str) -> Job:
    run = folders.make_job(name, 40, age=90)
    folders.adapter(run)
    folders.begin(run, 90)
    folders.write(
        run,
        folders.event("result", 50, loss=0.5),
        folders.event("exited", 49, code=0, stopped=False, swept=0),
    )
    return run


def a_model(name: str) -> Path:
    folders.base_model(models_directory() / name)
    return models_directory() / name


RUN_FILES = (
    *("spec.json", "events.jsonl", "certificate.json", "hashes.json", "fingerprint.json"),
    *("adapter/adapter_config.json", "adapter/card.json"),
)
MODEL_FILES = (
    "config.json",
    "card.json",
    "merge.json",
    "tokenizer_config.json",
    "generation_config.json",
    "model.safetensors",
)
HOME_FILES = ("config.toml", "memory.json", "repairs.json")


def in_place_of_events(run: Path, model: Path) -> None:
    (run / "events.jsonl").unlink()
    (run / "events.jsonl").mkdir()


Damage = Callable[[Path, Path], None]
PARTICULAR: dict[str, Damage] = {
    "rank_pattern a list": lambda run, model: change(
        run / "adapter" / "adapter_config.json", rank_pattern=[1]
    ),
    "r a text": lambda run, model: change(run / "adapter" / "adapter_config.json", r="abc"),
    "max_position_embeddings a text": lambda run, model: change(
        model / "config.json", max_position_embeddings="abc"
    ),
    "text_config a list": lambda run, model: change(model / "config.json", text_config=[1]),
    "architectures a text": lambda run, model: change(model / "config.json", architectures="abc"),
    "card a number": lambda run, model: spoil(model / "card.json", "5"),
    "a sweep without parts": lambda run, model: change(
        run / "spec.json", settings={"sweep": {"id": "a"}}
    ),
    "odd events": lambda run, model: spoil(
        run / "events.jsonl",
        '{"t": 1e400, "kind": "step"}\n{"t": 1, "kind": "step", "step": "abc"}\n{"t": 1, "kind":'
        ' "phase"}\n',
    ),
    "a folder in the place of the events": in_place_of_events,
}


def written_into(part: int, name: str, text: str) -> Damage:
    """A file of the run (0), of the model (1) or of the home (2)."""
    return lambda run, model: spoil((run, model, model.parents[1])[part] / name, text)


DAMAGES: dict[str, dict[str, Damage]] = {
    name: {how: written_into(part, name, text) for how, text in JUNK.items()}
    for part, names in enumerate((RUN_FILES, MODEL_FILES, HOME_FILES))
    for name in names
} | {"values": PARTICULAR}
COMMANDS = (
    ("runs",),
    ("runs", "--all", "--json"),
    ("log", "captain"),
    ("models", "list"),
    ("models", "show", "builtin"),
    ("sweep",),
    ("server", "status"),
    ("chats",),
)


def without_steps(job: Job) -> None:
    lines = job.events_path.read_text().splitlines(keepends=True)
    job.events_path.write_text("".join(line for line in lines if '"kind": "step"' not in line))


@pytest.mark.heavy
@pytest.mark.parametrize("file", DAMAGES)
def test_one_damaged_file_takes_nothing_else_down(
    file: str,
    jobs_by_name: dict[str, Job],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for job in jobs_by_name.values():
        without_steps(job)  # read again and again, they were half of the time
    for how, damage in DAMAGES[file].items():
        run, model = a_run("odd"), a_model("odd-model")
        damage(run.directory, model)
        for command in COMMANDS:
            status, told = luthier(monkeypatch, *command), capsys.readouterr()
            assert status == 0, (how, command, told.err)
            if command[0] == "runs":
                assert (
                    all(
                        job.id in told.out
                        for job in jobs_by_name.values()
                        if job.spec.kind == "run"
                    )
                    and run.id in told.out
                )
            if command == ("models", "list"):
                assert all(name in told.out for name in ("builtin", "captain", "odd-model"))
        assert {job.id for job in jobs_by_name.values()} <= {job.id for job in jobs.all_jobs()}
        assert run.id in {job.id for job in jobs.all_jobs()} | {
            found.id for found in jobs.damaged_jobs()
        }
        shutil.rmtree(run.directory)
        shutil.rmtree(model)


@pytest.fixture
def damaged(jobs_by_name: dict[str, Job]) -> Iterator[dict[str, Job]]:
    """One of everything, damaged, beside what is whole."""
    deep, settings = a_run("deep"), folders.make_job("settings", 41, age=80)
    spoil(deep.directory / "spec.json", DEEP)
    change(settings.directory / "spec.json", settings=[1])
    listed = folders.make_job("listed", 42, age=70)
    folders.adapter(listed)
    change(listed.directory / "adapter" / "adapter_config.json", rank_pattern=[1])
    server = folders.make_job("by-hand", 43, age=60, kind="server")
    Spec("server", "by-hand", "server.worker", {"model": "builtin"}, ready_phase="ready").write(
        server.directory
    )
    folders.begin(server, 60)
    folders.write(server, folders.event("phase", 50, name="ready"))
    spoil(server.directory / "server.json", DEEP)
    change(a_model("odd-model") / "config.json", max_position_embeddings="abc")
    spoil(a_model("odd-card") / "card.json", "[]")
    with held(server):
        yield jobs_by_name


def test_a_server_made_by_hand_is_left_out_of_plans(damaged: dict[str, Job]) -> None:
    assert "by-hand" not in {job.spec.name for job, _ in living_servers()}


def test_models_are_listed_with_their_damage(damaged: dict[str, Job]) -> None:
    entries = {entry.title: entry for entry in catalogue.list_entries()}
    assert (
        not entries["odd-model"].ready
        and "max_position_embeddings is text" in entries["odd-model"].damage
    )
    assert entries["odd-card"].ready and "card.json is damaged" in entries["odd-card"].damage
    assert not entries["listed"].ready and "rank_pattern is a list" in entries["listed"].damage
    assert entries["captain"].ready and not entries["captain"].damage
    catalogue.remove(entries["odd-model"])
    assert not (models_directory() / "odd-model").exists()


async def test_the_runs_screen_opens_copies_and_deletes_a_damaged_folder(
    damaged: dict[str, Job],
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        table = screen.query_one("#jobs", RowTable)
        lines = [line for line in lines_of(table) if "damaged" in line]
        assert (
            len(lines) == 2 and "nested too deeply" in lines[0] and "settings is a list" in lines[1]
        )
        assert sum("captain" in line for line in lines_of(table)) == 2
        ids = [option.id for option in table.query_one(OptionList).options]
        deep = next(name for name in ids if name is not None and "-deep-" in name)
        table.highlight(deep)
        await pilot.pause()
        assert screen.check_action("copy", ()) and not screen.check_action("stop", ())
        await pilot.press("c")
        assert app.clipboard == str(jobs_directory() / deep)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ErrorModal))
        assert (
            isinstance(app.screen, ErrorModal) and "nested too deeply" in app.screen.error.message
        )
        await pilot.press("escape")
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, ConfirmModal))
        await pilot.press("y")
        await until(pilot, lambda: deep not in {one.id for one in app.damaged})
        assert not (jobs_directory() / deep).exists()


async def test_the_models_screen_shows_what_is_damaged(damaged: dict[str, Job]) -> None:
    app = LuthierApp("models")
    async with app.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        screen = app.screen
        assert isinstance(screen, ModelsScreen)
        await until(pilot, lambda: bool(screen.models))
        await pilot.pause()
        lines = lines_of(screen.query_one("#models", RowTable))
        assert {line.split()[0] for line in lines if "damaged" in line} == {"odd-model", "listed"}
        screen.query_one("#models", RowTable).highlight("odd-model")
        await pilot.pause()
        assert "max_position_embeddings" in screen_text(app) and screen.check_action("remove", ())
        assert not screen.check_action("serve", ())


async def test_the_serve_and_chat_screens_open_beside_what_is_damaged(
    damaged: dict[str, Job],
) -> None:
    app = LuthierApp("serve")
    async with app.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        assert isinstance(app.screen, ServeScreen)
        await pilot.pause(0.2)
        await pilot.press("4")
        await pilot.pause(0.2)
        assert not isinstance(app.screen, ErrorModal)


WRONG_ROWS = {
    "created": "UPDATE chats SET created = 'abc' WHERE id = ?",
    "updated": "UPDATE chats SET updated = x'00' WHERE id = ?",
    "settings": "UPDATE chats SET settings = 'abc' WHERE id = ?",
    "deep settings": f"UPDATE chats SET settings = '{DEEP}' WHERE id = ?",
    "settings of another type": "UPDATE chats SET settings = '[]' WHERE id = ?",
    "title": "UPDATE chats SET title = x'ff' WHERE id = ?",
    "speaker": "UPDATE panes SET speaker = '[]' WHERE chat = ?",
    "speaker's bytes": "UPDATE panes SET speaker = x'ff' WHERE chat = ?",
}
WRONG_PARTS = {
    "messages": "UPDATE turns SET messages = '[]' WHERE chat = ?",
    "number": "UPDATE turns SET number = 'abc' WHERE chat = ?",
    "state": "UPDATE answers SET state = 'abc' WHERE chat = ?",
    "detail": "UPDATE answers SET detail = '[]' WHERE chat = ?",
    "calls": "UPDATE answers SET calls = '{}' WHERE chat = ?",
    "text": "UPDATE answers SET text = x'ff' WHERE chat = ?",
    "skipped": "UPDATE answers SET skipped = 'abc' WHERE chat = ?",
    "shown": "UPDATE panes SET shown = 'abc' WHERE chat = ?",
}


def test_answers_that_follow_each_other_in_a_circle(monkeypatch: pytest.MonkeyPatch) -> None:
    _, odd = two_chats()
    execute("UPDATE answers SET parent = id WHERE chat = ?", odd)
    assert (
        luthier(monkeypatch, "chats", "export", odd) == luthier(monkeypatch, "votes", "export") == 0
    )


def two_chats() -> tuple[str, str]:
    good, odd = chat_writing.new_chat(), chat_writing.new_chat()
    chat_writing.write(good, "hello there", ["general", "kenobi"])
    chat_writing.write(odd, "hello again", ["who", "is it"])
    return good.id, odd.id


def execute(statement: str, chat: str) -> None:
    connection = sqlite3.connect(database.path())
    connection.execute(statement, (chat,))
    connection.commit()
    connection.close()


@pytest.mark.parametrize("column", [*WRONG_ROWS, *WRONG_PARTS])
def test_a_damaged_chat_is_one_row(
    column: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, odd = two_chats()
    execute((WRONG_ROWS | WRONG_PARTS)[column], odd)
    found = {chat.id: chat for chat in search.chats()}
    assert not found[good].damage and bool(found[odd].damage) == (column in WRONG_ROWS)
    for command in (
        ("chats",),
        ("chats", "search", "hello"),
        ("chats", "export", good),
        ("votes", "show"),
        ("votes", "export"),
    ):
        assert luthier(monkeypatch, *command) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert luthier(monkeypatch, "chats", "export", odd) == 1
    assert f"luthier chats remove {odd}" in capsys.readouterr().err
    assert luthier(monkeypatch, "chats", "remove", "--yes", odd) == 0
    assert [chat.id for chat in search.chats()] == [good]


async def test_the_chats_are_listed_in_the_app(jobs_by_name: dict[str, Job]) -> None:
    _, odd = two_chats()
    execute(WRONG_ROWS["created"], odd)
    app = LuthierApp("chat")
    async with app.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        await pilot.press("ctrl+l")
        await until(
            pilot, lambda: isinstance(app.screen, ChatsModal) and app.screen.highlighted is not None
        )
        text = screen_text(app)
        assert "hello there" in text and "damaged" in text
        modal = app.screen
        assert isinstance(modal, ChatsModal)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ErrorModal))
        assert isinstance(app.screen, ErrorModal) and odd in app.screen.error.hint
