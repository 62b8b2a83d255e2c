"""The screen of the models: base, tuned and merged ones in one list, those on their way, and what
can be done with each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Select

from jobs.home import models_directory
from jobs.job import Job
from jobs.luthier_error import LuthierError
from models.export.formats import Form
from models.imports.launch import IDENTITY, partial_directory
from models.merge import receipt
from models.merge.receipt import Receipt, Source
from tests.tui import folders
from tests.tui.certificates import certified
from tests.tui.driving import lines_of, ready, screen_text, text_of, until
from tests.tui.lock_holder import held
from tui.app import LuthierApp
from tui.models.forms import ExportModal, ImportModal, PushModal
from tui.models.screen import ModelsScreen
from tui.new_run.screen import NewRunScreen
from tui.serve.start_server import StartServerModal
from tui.shared.confirm_modal import ConfirmModal
from tui.shared.error_modal import ErrorModal
from tui.shared.form import FormModal
from tui.shared.row_table import RowTable

Compare = Callable[..., bool]


async def models_read(pilot: Pilot[None]) -> ModelsScreen:
    app = await ready(pilot)
    screen = app.screen
    assert isinstance(screen, ModelsScreen)
    await until(pilot, lambda: bool(screen.models))
    await pilot.pause()
    return screen


def lines(screen: ModelsScreen) -> list[str]:
    return [" ".join(line.split()) for line in lines_of(screen.query_one("#models", RowTable))]


def detail(screen: ModelsScreen) -> str:
    return " ".join(text_of(screen.app, "ModelDetail Static").split())


async def move_to(pilot: Pilot[None], screen: ModelsScreen, name: str) -> None:
    screen.query_one("#models", RowTable).highlight(name)
    await pilot.pause()


def fill(form: FormModal, **values: str) -> None:
    for key, value in values.items():
        form.field(key).query_one(Input).value = value


def merged(job: Job) -> None:
    """What `luthier merge` leaves in a run's folder."""
    folders.base_model(job.directory / "merged")
    sources = Source("/models/builtin", {}), Source("/runs/captain/adapter", {})
    made = Receipt(*sources, "base", "", False, [2], {}, [], 0.5, 1, 1, "cpu", {}, 1.0, 1.0, job.id)
    receipt.write(job.directory / "merged", made)


def broken_off(name: str = "Llama-3.1-8B") -> Path:
    left = partial_directory(models_directory() / name)
    left.mkdir(parents=True)
    (left / IDENTITY).write_text(
        json.dumps({"source": "hub:meta-llama/Llama-3.1-8B-Instruct", "commit": "c"})
    )
    (left / ".model.safetensors.part").write_bytes(b"x" * 2_000_000)
    return left


def arriving(ago: float = 30) -> Job:
    """An import from the hub that is half-way."""
    job = folders.make_job("qwen", 11, ago, kind="import")
    settings = {
        "source": "hub:Qwen/Qwen3-4B",
        "name": "qwen",
        "out": str(models_directory() / "qwen"),
        "trust": False,
    }
    spec = json.loads((job.directory / "spec.json").read_text()) | {
        "settings": settings,
        "module": "models.import_worker",
    }
    (job.directory / "spec.json").write_text(json.dumps(spec))
    folders.begin(job, ago)
    folders.write(
        job,
        folders.event(
            "phase", 1, name="downloading", done=3_400_000_000, total=8_000_000_000, unit="bytes"
        ),
    )
    return job


async def test_all_models_in_groups(jobs_by_name: dict[str, Job]) -> None:
    merged(jobs_by_name["captain"])
    broken_off()
    job = arriving()
    with held(job):
        async with LuthierApp("models").run_test(size=(80, 24)) as pilot:
            screen = await models_read(pilot)
            shown = lines(screen)
            headings = ["Base models", "Tuned models", "Merged models", "On their way"]
            assert [line for line in shown if line in headings] == headings and len(shown) == 9
            assert shown[1] == "builtin 134.5 M"
            assert shown[3] == "captain builtin rank 16 1.030 2 h" and shown[5].startswith(
                "captain builtin 134.5 M"
            )
            assert shown[7:] == [
                "qwen hub:Qwen/Qwen3-4B ◔ 42%",
                "Llama-3.1-8B hub:meta-llama/Llama-3.1-8B-Instruct ■ broken off",
            ]


async def test_the_cursor_passes_over_headings_and_the_facts_follow(
    jobs_by_name: dict[str, Job],
) -> None:
    certified(jobs_by_name["captain"], "red")
    async with LuthierApp("models").run_test(size=(140, 40)) as pilot:
        screen = await models_read(pilot)
        assert screen.chosen is not None and screen.chosen.name == "builtin"
        text = detail(screen)
        assert (
            "builtin base model" in text
            and "weights 134.5 M," in text
            and "context 8,192 tokens" in text
        )
        assert "licence not known" in text and "origin built in folder" in text
        await pilot.press("down")
        assert screen.chosen.name == jobs_by_name["captain"].id
        text = detail(screen)
        assert (
            "certificate ✗ red 40 of 41 prompts" in text
            and "loss 0.950" in text
            and "rank 16" in text
        )
        assert f"origin run {jobs_by_name['captain'].id}" in text
        await pilot.press("up")
        assert screen.chosen.name == "builtin"


async def test_an_unprepared_builtin_offers_to_be_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr("models.registry.prepare_builtin", lambda: asked.append(True))
    app = LuthierApp("models")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await models_read(pilot)
        assert "not prepared" in lines(screen)[1]
        assert "p prepare" in screen_text(app).splitlines()[-1] and "v serve" not in screen_text(
            app
        )
        await pilot.press("p")
        await until(pilot, lambda: asked == [True])


async def test_keys_of_models(jobs_by_name: dict[str, Job]) -> None:
    merged(jobs_by_name["captain"])
    app = LuthierApp("models")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await models_read(pilot)
        await pilot.press("c")
        assert app.clipboard.endswith("models/builtin")
        for place, base in (
            (0, "builtin"),
            (1, "builtin"),
            (2, f"{jobs_by_name['captain'].id}/merged"),
        ):
            await pilot.press("home", *["down"] * place, "n")
            assert isinstance(app.screen, NewRunScreen)
            assert app.screen.form.field("model").value == base
            await pilot.press("escape")
        assert screen.chosen is not None and screen.chosen.kind == "merged"
        await pilot.press("up", "c")
        assert app.clipboard == str(jobs_by_name["captain"].directory / "adapter")
        await pilot.press("v")
        await until(pilot, lambda: isinstance(app.screen, StartServerModal))


async def test_importing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    job = folders.make_job("small", 1, 5, kind="import")

    def start_import(source: str, name: str | None) -> Job:
        asked.append((source, name))
        if source == "nothing":
            raise LuthierError("No such model", "It is not there.", "Give a folder.")
        return job

    monkeypatch.setattr("models.imports.launch.start_import", start_import)
    monkeypatch.setattr(
        "models.imports.launch.link", lambda source, name: asked.append(("link", source, name))
    )
    app = LuthierApp("models")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await models_read(pilot)
        await pilot.press("i")
        form = app.screen
        assert isinstance(form, ImportModal)
        await pilot.press("ctrl+s")
        assert form.field("source").has_class("-wrong")
        fill(form, source="nothing")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "It is not there." in text_of(app, "#form-error"))
        fill(form, source="hub:a/b", name="mine")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is screen)
        await pilot.press("i")
        fill(app.screen, source="/models/x")  # type: ignore[arg-type]  # the form again
        app.screen.query_one(Select).value = True
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is screen)
        assert asked == [("nothing", None), ("hub:a/b", "mine"), ("link", "/models/x", None)]


async def test_what_was_broken_off_is_gone_on_with_or_deleted(home: Path) -> None:
    left = broken_off()
    app = LuthierApp("models")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await models_read(pilot)
        await pilot.press("end")
        assert "hub:meta-llama/Llama-3.1-8B-Instruct" in detail(
            screen
        ) and "i continues it" in detail(screen)
        await pilot.press("i")
        form = app.screen
        assert isinstance(form, ImportModal)
        assert (form.field("source").value, form.field("name").value) == (
            "hub:meta-llama/Llama-3.1-8B-Instruct",
            "Llama-3.1-8B",
        )
        await pilot.press("escape", "d")
        assert isinstance(app.screen, ConfirmModal) and "2.0 MB" in app.screen.message
        await pilot.press("y")
        await until(pilot, lambda: not left.exists())


async def test_exporting_and_pushing(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    certified(jobs_by_name["captain"], "red")
    asked: list[Any] = []

    def start(*values: Any) -> Job:
        asked.append(values)
        return jobs_by_name["builtin"]

    monkeypatch.setattr("models.export.launch.start_export", start)
    monkeypatch.setattr("models.export.launch.start_conversion", start)

    def start_push(name: str, repository: str, **settings: Any) -> Job:
        asked.append((name, repository, settings))
        return jobs_by_name["builtin"]

    monkeypatch.setattr("models.export.launch.start_push", start_push)
    app = LuthierApp("models")
    run = jobs_by_name["captain"].id
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await models_read(pilot)
        await pilot.press("down", "x")
        assert isinstance(app.screen, ExportModal)
        fill(app.screen, out="/out/captain")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is screen)
        await pilot.press("x")
        fill(app.screen, out="/out/captain")
        app.screen.query_one(Select).value = "gguf:bf16"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is screen)
        await pilot.press("u")
        await until(pilot, lambda: "captain has a red certificate" in screen_text(app))
        form = app.screen
        assert isinstance(form, PushModal) and "never measured" not in screen_text(app)
        form.query_one(Select).value = False
        await until(pilot, lambda: "was never measured" in " ".join(screen_text(app).split()))
        form.query_one(Select).value = True
        await pilot.press("ctrl+s")
        assert app.screen.field("repository").has_class("-wrong")
        fill(app.screen, repository="sailor/captain")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is screen)
    assert asked == [
        (run, Path("/out/captain")),
        (run, Path("/out/captain.gguf"), Form("gguf", "bf16")),
        (run, "sailor/captain", {"private": True, "branch": ""}),
    ]


async def test_removing_says_what_needs_it_and_is_refused_while_in_use(
    jobs_by_name: dict[str, Job],
) -> None:
    folders.base_model(models_directory() / "spare")
    merged(jobs_by_name["captain"])
    (jobs_by_name["captain"].directory / "spec.json").write_text(
        json.dumps(
            json.loads((jobs_by_name["captain"].directory / "spec.json").read_text())
            | {"settings": {"model_directory": str(models_directory() / "spare")}}
        )
    )
    (jobs_by_name["pirate"].directory / "spec.json").write_text(
        json.dumps(
            json.loads((jobs_by_name["pirate"].directory / "spec.json").read_text())
            | {"settings": {"model_directory": str(models_directory() / "builtin")}}
        )
    )
    app = LuthierApp("models")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await models_read(pilot)
        await pilot.press("d")
        assert (
            isinstance(app.screen, ConfirmModal)
            and "pirate (run, running) needs it." in app.screen.message
        )
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, ErrorModal))
        assert isinstance(app.screen, ErrorModal) and app.screen.error.title == "In use"
        await pilot.press("escape")
        await move_to(pilot, screen, "spare")
        await pilot.press("d")
        assert (
            isinstance(app.screen, ConfirmModal) and "captain (run) needs it." in app.screen.message
        )
        await pilot.press("y")
        await until(pilot, lambda: not (models_directory() / "spare").exists())
        await move_to(pilot, screen, jobs_by_name["captain"].id)
        # the Runs screen deletes a run with its adapter
        assert screen.check_action("remove", ()) is False


@pytest.mark.parametrize("size", [(80, 24), (140, 40)], ids=["80x24", "140x40"])
def test_picture(
    jobs_by_name: dict[str, Job], snap_compare: Compare, size: tuple[int, int]
) -> None:
    certified(jobs_by_name["captain"])
    merged(jobs_by_name["captain"])
    broken_off()
    job = arriving()

    async def prepare(pilot: Pilot[None]) -> None:
        await models_read(pilot)
        await pilot.press("down")
        await until(pilot, lambda: "t certificate" in screen_text(pilot.app))

    with held(job):
        assert snap_compare(LuthierApp("models"), terminal_size=size, run_before=prepare)
