"""The certificate wherever the model appears: lists, its own window, server, chat, command line."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner
from textual.pilot import Pilot

from jobs.job import Job
from models import certificate
from models.certificate import NO_CERTIFICATE, Standing
from serve.client import Endpoint
from tests.tui.certificates import RED, certified
from tests.tui.chat_driving import SPEAKERS, make_app
from tests.tui.driving import lines_of, ready, screen_text, text_of, until
from tui.app import LuthierApp
from tui.commands import certify as command
from tui.models.screen import ModelsScreen
from tui.serve.screen import ServeScreen
from tui.shared import certificate_badge
from tui.shared.certificate_modal import CertificateModal
from tui.shared.row_table import RowTable
from workshop.chat.server import ChatServer

Compare = Callable[..., bool]


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


@pytest.mark.parametrize(("verdict", "shown"), [("green", "✓ green"), ("red", "✗ red")])
async def test_list_of_models(made: dict[str, Job], verdict: str, shown: str) -> None:
    certified(made["captain"], verdict)  # type: ignore[arg-type]
    async with LuthierApp("models").run_test(size=(80, 24)) as pilot:
        screen = await tuned_list(pilot)
        assert any(
            "captain" in line and shown in line
            for line in lines_of(screen.query_one("#models", RowTable))
        )


async def test_a_certificate_is_read_and_made_anew(
    made: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("serve.certificate.launch.certify", lambda run: asked.append(run.id))
    certified(made["captain"], "red")
    async with LuthierApp("models").run_test(size=(120, 40)) as pilot:
        await open_certificate(pilot)
        text = " ".join(screen_text(pilot.app).split())
        assert "✗ red" in text and "the model never saw such prompts" in text
        assert "✗ token ids 40 at most 0 of 41 prompts" in text
        assert "✓ vLLM + adapter, top-1 1.9 % at most 4.9 % of tokens" in text.replace(
            "4.8 %", "4.9 %"
        )
        assert "tuned vLLM 2.8193 1 596 12 of 12" in text
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, ModelsScreen) and asked == []
        await pilot.press("t")
        await until(pilot, lambda: isinstance(pilot.app.screen, CertificateModal))
        await pilot.press("c")
        await until(pilot, lambda: asked == [made["captain"].id])


async def test_where_there_is_none_it_says_what_it_would_be(made: dict[str, Job]) -> None:
    async with LuthierApp("models").run_test(size=(80, 24)) as pilot:
        await open_certificate(pilot)
        assert "No certificate was made" in screen_text(pilot.app) and "c certify" in screen_text(
            pilot.app
        )


async def test_an_outdated_one_names_what_changed(made: dict[str, Job]) -> None:
    certified(made["captain"])
    (made["captain"].directory / "adapter" / "adapter_config.json").write_text(
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


async def test_server_and_its_form_show_it(made: dict[str, Job]) -> None:
    certified(made["captain"], "red")
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
def test_command_line_and_its_status(made: dict[str, Job], verdict: str, status: int) -> None:
    certified(made["captain"], verdict)  # type: ignore[arg-type]
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


def test_command_line_without_a_certificate(made: dict[str, Job]) -> None:
    result = CliRunner().invoke(command.certify, ["captain", "--show"])
    assert "has no certificate yet" in str(result.exception)


def test_chat_and_serve_on_the_command_line_say_it_first(
    made: dict[str, Job], capsys: pytest.CaptureFixture[str]
) -> None:
    certified(made["captain"], "red")
    command.say_if_red({"captain": made["captain"].directory, "pirate": made["pirate"].directory})
    said = " ".join(capsys.readouterr().err.split())
    assert "captain has a red certificate: 40 of 41 prompts" in said and "pirate" not in said
    assert f"luthier certify {made['captain'].id} --show" in said


@pytest.mark.parametrize("size", [(80, 24), (140, 40)], ids=["80x24", "140x40"])
@pytest.mark.parametrize("verdict", ["green", "red"])
def test_picture(
    made: dict[str, Job], snap_compare: Compare, verdict: str, size: tuple[int, int]
) -> None:
    certified(made["captain"], verdict)  # type: ignore[arg-type]
    assert snap_compare(LuthierApp("models"), terminal_size=size, run_before=open_certificate)


def test_figures_keep_their_meaning() -> None:
    check = certificate.Check("x", "green", "", 0.0188, 0.05, 0.1, "of tokens")
    assert (certificate_badge.figure(check), certificate_badge.bound(check)) == (
        "1.9 %",
        "at most 5.0 %",
    )
