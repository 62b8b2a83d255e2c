"""The certificate wherever the model appears: lists, its own window, server, chat, command line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import pytest
from click.testing import CliRunner
from textual.pilot import Pilot

from jobs.job import Job
from jobs.spec import Spec
from models import certificate, chapters
from models.run_folder import RunFolder
from models.runs import Run
from models.standing import NO_CERTIFICATE, Standing
from serve.client import Endpoint
from serve.drift import spill_map
from serve.drift.spill_map import Spill
from tests.tui import folders
from tests.tui.certificates import RED, certified, chapter
from tests.tui.chat_driving import SPEAKERS, make_app
from tests.tui.driving import lines_of, ready, screen_text, text_of, until
from tests.tui.lock_holder import held
from tui.app import LuthierApp
from tui.commands import certify as command
from tui.commands import recites as recites_command
from tui.journey import Journey
from tui.models.screen import ModelsScreen
from tui.serve.screen import ServeScreen
from tui.shared import certificate_badge
from tui.shared.certificate_modal import CertificateModal
from tui.shared.drift_modal import DriftModal
from tui.shared.row_table import RowTable
from workshop.chat.server import ChatServer

Compare = Callable[..., bool]
SIZES = [
    pytest.param((80, 24), id="80"),
    pytest.param((120, 35), id="120", marks=pytest.mark.heavy),
    pytest.param((200, 60), id="200", marks=pytest.mark.heavy),
]


async def tuned_list(pilot: Pilot[None]) -> ModelsScreen:
    """The screen of the models with the cursor on the tuned one."""
    app = await ready(pilot)
    screen = app.screen
    assert isinstance(screen, ModelsScreen)
    await until(pilot, lambda: any(entry.kind == "tuned" for entry in screen.models))
    await pilot.pause()
    await pilot.press("down")
    await until(pilot, lambda: "t certificate" in screen_text(app))
    return screen


async def open_certificate(pilot: Pilot[None]) -> None:
    await tuned_list(pilot)
    await pilot.press("t")
    await until(pilot, lambda: isinstance(pilot.app.screen, CertificateModal))


@pytest.mark.parametrize(
    ("standing", "text"),
    [
        (NO_CERTIFICATE, ""),
        (Standing("green"), "✓ green"),
        (Standing("amber", "why"), "! amber"),
        (Standing("red", "why"), "✗ red"),
        (Standing("amber", "touched", outdated=True), "! outdated"),
        (Standing("red", "why", outdated=True), "✗ red"),
    ],
)
def test_badge(standing: Standing, text: str) -> None:
    assert str(certificate_badge.badge(standing)) == text
    said = certificate_badge.warning("captain", standing)
    assert (said is not None) == (standing.verdict == "red")


@pytest.mark.parametrize(("verdict", "badge_text"), [("green", "✓ green"), ("red", "✗ red")])
async def test_list_of_models(jobs_by_name: dict[str, Job], verdict: str, badge_text: str) -> None:
    certified(jobs_by_name["captain"], verdict)  # type: ignore[arg-type]
    async with LuthierApp("models").run_test(size=(80, 24)) as pilot:
        screen = await tuned_list(pilot)
        assert any(
            "captain" in line and badge_text in line
            for line in lines_of(screen.query_one("#models", RowTable))
        )


async def test_a_certificate_is_read_and_made_anew(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("serve.certificate.launch.certify", lambda run: asked.append(run.id))
    certified(jobs_by_name["captain"], "red")
    async with LuthierApp("models").run_test(size=(120, 40)) as pilot:
        await open_certificate(pilot)
        text = " ".join(screen_text(pilot.app).split())
        assert "trained ≠ served · merged · shipped" in text
        assert "✗ identity" in text and "the model never saw such prompts" in text
        await pilot.press("enter")
        await until(pilot, lambda: "✗ red" in screen_text(pilot.app))
        text = " ".join(screen_text(pilot.app).split())
        assert "✗ token ids 40 at most 0 of 41 prompts" in text
        assert "✓ vLLM + adapter, top-1 1.9 % at most 4.9 % of tokens" in text.replace(
            "4.8 %", "4.9 %"
        )
        assert "tuned vLLM 2.8193 1,596 12 of 12" in text
        await pilot.press("escape", "escape")
        assert isinstance(pilot.app.screen, ModelsScreen) and asked == []
        await pilot.press("t")
        await until(pilot, lambda: isinstance(pilot.app.screen, CertificateModal))
        await pilot.press("c")
        await until(pilot, lambda: asked == [jobs_by_name["captain"].id])


async def test_where_there_is_none_it_says_what_it_would_be(jobs_by_name: dict[str, Job]) -> None:
    async with LuthierApp("models").run_test(size=(80, 24)) as pilot:
        await open_certificate(pilot)
        text = screen_text(pilot.app)
        assert "identity             not made yet" in text and "c certify" in text


async def test_the_page_follows_the_job_that_makes_the_certificate(
    jobs_by_name: dict[str, Job],
) -> None:
    captain = jobs_by_name["captain"]
    maker = folders.make_job("captain-certificate", 1700, 5, "certify")
    folders.orders(maker, {"run": str(captain.directory)})
    app = LuthierApp("models")
    with ExitStack() as job_is_alive:
        job_is_alive.enter_context(held(maker))
        async with app.run_test(size=(80, 24)) as pilot:
            await open_certificate(pilot)
            text = screen_text(app)
            assert "identity             being made" in text and "Runs shows how far" in text
            assert "c certify" not in text
            certified(captain)
            app.read_jobs()
            await until(pilot, lambda: "A job is making it again" in screen_text(app))
            certified(captain, "red")
            job_is_alive.close()
            app.read_jobs()
            await until(pilot, lambda: "c certify again" in screen_text(app))
            assert "trained ≠ served" in screen_text(app)


async def test_an_outdated_one_names_what_changed(jobs_by_name: dict[str, Job]) -> None:
    certified(jobs_by_name["captain"])
    (jobs_by_name["captain"].directory / "adapter" / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "r": 16}'
    )
    async with LuthierApp("models").run_test(size=(80, 24)) as pilot:
        screen = await tuned_list(pilot)
        assert any("! outdated" in line for line in lines_of(screen.query_one("#models", RowTable)))
        await pilot.press("t")
        await until(pilot, lambda: isinstance(pilot.app.screen, CertificateModal))
        assert "adapter_config.json has changed since the certificate was made." in " ".join(
            screen_text(pilot.app).split()
        )


async def test_server_and_its_form_show_it(jobs_by_name: dict[str, Job]) -> None:
    certified(jobs_by_name["captain"], "red")
    async with LuthierApp("serve").run_test(size=(100, 30)) as pilot:
        app = await ready(pilot)
        screen = app.screen
        assert isinstance(screen, ServeScreen)
        await until(pilot, lambda: screen.server is not None)
        assert "tuned  ✗ red" in text_of(app, "#server-facts")
        await pilot.press("n")
        await until(
            pilot, lambda: "✗ red" in screen_text(app) and "Start a server" in screen_text(app)
        )


async def test_chat_with_a_red_one_says_so_first() -> None:
    standings = {"captain": Standing("red", RED)}
    server = ChatServer(Endpoint("http://127.0.0.1:1", "k"), SPEAKERS[:2], standings=standings)
    async with make_app(lambda: server).run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: "has a red certificate" in screen_text(pilot.app))
        text = " ".join(screen_text(pilot.app).split())
        assert "✗ captain has a red certificate." in text
        assert "captain ✗ red" in text  # in the frame's title, where it stays


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(command.certify, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


@pytest.mark.parametrize(("verdict", "status"), [("green", 0), ("amber", 0), ("red", 1)])
def test_command_line_and_its_status(
    jobs_by_name: dict[str, Job], verdict: str, status: int
) -> None:
    certified(jobs_by_name["captain"], verdict)  # type: ignore[arg-type]
    code, text = run("captain", "--show")
    assert code == status
    assert verdict in text and "stopping, tuned" in text
    code, text = run("captain", "--show", "--json")
    told = json.loads(text)
    assert (code, told["verdict"], told["changed_since"]) == (status, verdict, [])
    assert all(
        {"name", "figure", "threshold", "sentence", "verdict"} <= check.keys()
        for check in told["checks"]
    )


def test_command_line_says_that_a_later_merge_is_not_covered(
    jobs_by_name: dict[str, Job],
) -> None:
    captain = jobs_by_name["captain"]
    certified(captain)
    merged = RunFolder(captain.directory).merged
    merged.mkdir()
    (merged / "config.json").write_text("{}")
    code, text = run("captain", "--show")
    assert code == 0 and text.startswith("! outdated")
    assert "The merged model is newer than the certificate" in " ".join(text.split())


@pytest.mark.parametrize(("verdict", "status"), [("green", 0), ("red", 1)])
def test_a_chapters_command_prints_it_and_says_its_verdict_by_its_status(
    jobs_by_name: dict[str, Job],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    verdict: str,
    status: int,
) -> None:
    asked: list[tuple[object, ...]] = []

    def start(of_run: Run, *options: object) -> Job:
        asked.append((of_run.id, *options))
        chapters.write(of_run.folder.path, chapter("recites", verdict))  # type: ignore[arg-type]
        return jobs_by_name["captain"]

    monkeypatch.setattr(recites_command, "start", start)
    monkeypatch.setattr(recites_command, "follow_chapter", lambda *job, **how: None)
    planted = str(tmp_path / "planted.txt")
    arguments = ["captain", "--rows", "7", "--canaries", planted]
    result = CliRunner().invoke(recites_command.recites, arguments)
    assert result.exit_code == status, result.output
    assert asked == [(jobs_by_name["captain"].id, 7, Path(planted))]
    assert f"It is {verdict}." in result.stdout and "Bounds of a test." in result.stdout
    result = CliRunner().invoke(recites_command.recites, ["captain", "--json"])
    fields = json.loads(result.stdout)
    assert (fields["kind"], fields["verdict"], fields["outdated"]) == ("recites", verdict, False)


def test_command_line_without_a_certificate(jobs_by_name: dict[str, Job]) -> None:
    result = CliRunner().invoke(command.certify, ["captain", "--show"])
    assert "has no certificate yet" in str(result.exception)


def test_command_line_says_who_makes_the_certificate_now(jobs_by_name: dict[str, Job]) -> None:
    maker = folders.make_job("captain-certificate", 1700, 5, "certify")
    folders.orders(maker, {"run": str(jobs_by_name["captain"].directory)})
    with held(maker):
        result = CliRunner().invoke(command.certify, ["captain", "--show"])
    assert f"{maker.id} is making it" in str(result.exception)
    assert f"luthier log -f {maker.short_id}" in str(result.exception)


def test_chat_and_serve_on_the_command_line_say_it_first(
    jobs_by_name: dict[str, Job], capsys: pytest.CaptureFixture[str]
) -> None:
    certified(jobs_by_name["captain"], "red")
    command.say_if_red(
        {"captain": jobs_by_name["captain"].directory, "pirate": jobs_by_name["pirate"].directory}
    )
    said = " ".join(capsys.readouterr().err.split())
    assert "captain has a red certificate: 40 of 41 prompts" in said and "pirate" not in said
    assert f"luthier certify {jobs_by_name['captain'].id} --show" in said


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "theme", ["luthier-dark", pytest.param("luthier-light", marks=pytest.mark.heavy)]
)
def test_picture(
    jobs_by_name: dict[str, Job], snap_compare: Compare, theme: str, size: tuple[int, int]
) -> None:
    """The page with a green certificate, a red and a green chapter, and two that are not made."""
    with_chapters(jobs_by_name["captain"])

    async def look(pilot: Pilot[None]) -> None:
        pilot.app.theme = theme
        await open_certificate(pilot)
        await pilot.press("down", "down")

    assert snap_compare(LuthierApp("models"), terminal_size=size, run_before=look)


@pytest.mark.parametrize("size", [(80, 24), (140, 40)], ids=["80", "140"])
@pytest.mark.parametrize("verdict", [pytest.param("green", marks=pytest.mark.heavy), "red"])
def test_picture_of_checks(
    jobs_by_name: dict[str, Job], snap_compare: Compare, verdict: str, size: tuple[int, int]
) -> None:
    certified(jobs_by_name["captain"], verdict)  # type: ignore[arg-type]

    async def look(pilot: Pilot[None]) -> None:
        await open_certificate(pilot)
        await pilot.press("enter")

    assert snap_compare(LuthierApp("models"), terminal_size=size, run_before=look)


def with_chapters(run: Job) -> None:
    certified(run)
    chapters.write(run.directory, chapter("guard", "red"))
    chapters.write(run.directory, chapter("recites", "green"))


async def test_what_differs_stands_behind_what_agrees_and_its_gravest_fault_below(
    jobs_by_name: dict[str, Job],
) -> None:
    captain = jobs_by_name["captain"]
    written = certified(captain)
    faults = [
        certificate.Check(
            f"merged, {engine}, mean NLL", "red", f"The merged model in {engine} is another."
        )
        for engine in ("transformers", "vLLM")
    ]
    checks = [*written.checks, *faults]
    certificate.write(captain.directory, dataclasses.replace(written, checks=checks))
    async with LuthierApp("models").run_test(size=(80, 24)) as pilot:
        await open_certificate(pilot)
        text = screen_text(pilot.app)
        assert "trained = served ≠ merged · shipped" in text
        assert "The merged model in transformers is another." in text
        assert "1 further check is not green either" in text and "in vLLM" not in text


async def test_a_chapter_opens_with_its_checks_and_esc_leads_back(
    jobs_by_name: dict[str, Job],
) -> None:
    with_chapters(jobs_by_name["captain"])
    async with LuthierApp("models").run_test(size=(120, 35)) as pilot:
        await open_certificate(pilot)
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: "Certificate of captain: forgets" in screen_text(pilot.app))
        text = " ".join(screen_text(pilot.app).split())
        assert "✗ guard rows 5.0 % at most 1.0 % of rows" in text and "Bounds of a test." in text
        assert "up down scroll" not in text
        await pilot.press("escape")
        await until(pilot, lambda: "trained = served · merged · shipped" in screen_text(pilot.app))
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, ModelsScreen)


async def test_checks_that_have_no_room_say_how_to_scroll(jobs_by_name: dict[str, Job]) -> None:
    certified(jobs_by_name["captain"], "red")
    async with LuthierApp("models").run_test(size=(80, 24)) as pilot:
        await open_certificate(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "up down scroll" in screen_text(pilot.app))
        assert "certify again" in screen_text(pilot.app)


async def test_the_page_starts_what_is_not_measured_yet(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr("workshop.recites.launch.recites", lambda run: started.append(run.id))
    certified(jobs_by_name["captain"])
    async with LuthierApp("models").run_test(size=(120, 35)) as pilot:
        await open_certificate(pilot)
        text = screen_text(pilot.app)
        assert "Does it recite its training data?" in text and "r measures" in text
        await pilot.press("r")
        await until(pilot, lambda: started == [jobs_by_name["captain"].id])


async def test_a_damaged_chapter_is_named_on_the_page(jobs_by_name: dict[str, Job]) -> None:
    with_chapters(jobs_by_name["captain"])
    (jobs_by_name["captain"].directory / "chapters" / "guard.json").write_text("{")
    async with LuthierApp("models").run_test(size=(120, 35)) as pilot:
        await open_certificate(pilot)
        await until(pilot, lambda: "/guard.json" in screen_text(pilot.app))
        assert "damaged:" in screen_text(pilot.app)  # a word that no line's end divides
        assert "✓  identity" in screen_text(pilot.app)


@pytest.mark.parametrize("moves", [[], ["end"]], ids=["from another line", "from its own"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("recites", {"rows": 7, "canaries": "planted.txt"}),
        ("drift", {"prompts": "prompts.txt", "unit": "seed-2"}),
    ],
)
async def test_a_chapter_is_measured_again_as_it_was(
    jobs_by_name: dict[str, Job],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: Literal["recites", "drift"],
    options: dict[str, Any],
    moves: list[str],
) -> None:
    run, submitted = jobs_by_name["captain"], list[Spec]()
    folders.adapter(jobs_by_name["first-try"])
    for trained in (run, jobs_by_name["first-try"]):
        folders.orders(trained, {"model": "builtin", "model_directory": str(home)})
    RunFolder(run.directory).train_samples.parent.mkdir()
    RunFolder(run.directory).train_samples.touch()
    for name in ("canaries", "prompts"):
        if name in options:
            options = options | {name: str(home / options[name])}
            Path(options[name]).write_text("The code is 48151623.\n")
    if "unit" in options:
        options = options | {"unit": str(jobs_by_name["first-try"].directory)}
    settings = {"run": str(run.directory), **options, "model": "builtin"}
    job = folders.make_job(f"captain-{kind}", 30, age=100, kind=kind)
    folders.orders(job, settings)
    folders.begin(job, 100)
    folders.write(
        job,
        folders.event("result", 90, path=""),
        folders.event("exited", 90, code=0, stopped=False, swept=0),
    )
    certified(run)
    chapters.write(run.directory, dataclasses.replace(chapter(kind, "green"), job=job.id))

    def submit(spec: Spec) -> Job:
        submitted.append(spec)
        return job

    monkeypatch.setattr("workshop.chapter_job.submit", submit)
    async with LuthierApp("models").run_test(size=(120, 35)) as pilot:
        await open_certificate(pilot)
        await pilot.press(*moves, kind[0])
        await until(pilot, lambda: bool(submitted))
    assert dict(submitted[0].settings) == settings


async def test_the_page_leads_on_to_the_chat(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[str] = []

    async def chat_with(journey: Journey, run: Job, replay: None, against: Job | None) -> None:
        assert against is None
        met.append(run.id)

    monkeypatch.setattr(Journey, "chat_with", chat_with)
    certified(jobs_by_name["captain"])
    async with LuthierApp("models").run_test(size=(80, 24)) as pilot:
        await open_certificate(pilot)
        assert "a chat" in screen_text(pilot.app)
        await pilot.press("a")
        await until(pilot, lambda: met == [jobs_by_name["captain"].id])


SPILLS = [
    Spill("small talk", "Tell me a joke.", 0.78, [("What", -2.1), ("'s", 0.6), (" a joke?", 0.0)]),
    Spill("code", "What does JOIN do?", 0.31, [("It", 1.9), (" joins", -0.5)]),
]


async def open_drift(pilot: Pilot[None]) -> None:
    await open_certificate(pilot)
    await pilot.press("end", "enter")
    await until(pilot, lambda: "Certificate of captain: drift" in screen_text(pilot.app))
    await pilot.press("enter")


async def test_behind_the_drift_lie_its_prompts_and_tokens(
    jobs_by_name: dict[str, Job],
) -> None:
    of_drift = dataclasses.replace(chapter("drift", "amber"), job=jobs_by_name["captain"].id)
    chapters.write(jobs_by_name["captain"].directory, of_drift)
    async with LuthierApp("models").run_test(size=(120, 35)) as pilot:
        await open_drift(pilot)
        await until(pilot, lambda: "No map of the drift" in screen_text(pilot.app))
        await pilot.press("escape")
        spill_map.write(jobs_by_name["captain"].directory, SPILLS)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, DriftModal))
        await until(
            pilot, lambda: "0.78 small talk Tell me" in " ".join(screen_text(pilot.app).split())
        )
        text = " ".join(screen_text(pilot.app).split())
        assert text.index("What's a joke?") < text.index("0.31 code What does JOIN do?")


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_drift(
    jobs_by_name: dict[str, Job], snap_compare: Compare, size: tuple[int, int]
) -> None:
    of_drift = dataclasses.replace(chapter("drift", "amber"), job=jobs_by_name["captain"].id)
    chapters.write(jobs_by_name["captain"].directory, of_drift)
    spill_map.write(jobs_by_name["captain"].directory, SPILLS)

    async def look(pilot: Pilot[None]) -> None:
        await open_drift(pilot)
        await until(pilot, lambda: "small talk" in screen_text(pilot.app))

    assert snap_compare(LuthierApp("models"), terminal_size=size, run_before=look)


def test_command_line_shows_the_chapters_too(jobs_by_name: dict[str, Job]) -> None:
    with_chapters(jobs_by_name["captain"])
    code, text = run("captain", "--show")
    assert code == 1 and "✗ forgets" in text and "✓ recites" in text and "identity" not in text
    code, text = run("captain", "--show", "--json")
    kinds = [(of["kind"], of["verdict"]) for of in json.loads(text)["chapters"]]
    assert (code, kinds) == (1, [("guard", "red"), ("recites", "green")])


def test_figures_keep_their_meaning() -> None:
    check = certificate.Check("x", "green", "", 0.0188, 0.05, 0.1, "of tokens")
    assert (certificate_badge.figure(check), certificate_badge.bound(check)) == (
        "1.9 %",
        "at most 5.0 %",
    )
