"""The screen of the server, and its form."""

from __future__ import annotations

import pytest
from textual.widgets import Select, SelectionList

from jobs.errors import LuthierError
from jobs.job import Job
from tests.tui import folders
from tests.tui.driving import ready, screen_text, text_of, until
from tui.app import LuthierApp
from tui.screens.serve import ServeScreen
from tui.widgets.confirm_modal import ConfirmModal
from tui.widgets.error_modal import ErrorModal
from tui.widgets.start_server import StartServerModal


async def test_a_ready_server_shows_its_address_models_and_example(made: dict[str, Job]) -> None:
    app = LuthierApp("serve")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        screen = app.screen
        assert isinstance(screen, ServeScreen)
        await until(pilot, lambda: screen.server is not None)
        facts = text_of(app, "#server-facts")
        assert "http://127.0.0.1:8712/v1" in facts and "/home/luthier/keys/client" in facts
        assert "● base" in facts and "○ captain" in facts and "tuned" in facts
        key = screen.key
        assert len(key) > 20 and key not in screen_text(app)
        assert '"model": "captain"' in text_of(app, "#snippet") and "$(cat /home/luthier/keys/client)" in text_of(app, "#snippet")
        await pilot.press("r")
        assert key in text_of(app, "#snippet")
        await pilot.press("c")
        assert key in app.clipboard
        await pilot.press("r", "p", "c")
        assert app.clipboard.startswith("from openai import OpenAI") and key not in app.clipboard
        compile(app.clipboard, "snippet", "exec")


async def test_a_starting_server_shows_each_phase_with_its_time() -> None:
    job = folders.make_job("slow", 1, age=50, kind="server")
    folders.begin(job, 50)
    folders.write(job, folders.event("phase", 48, name="starting vLLM"), folders.event("phase", 20, name="loading the weights"))
    app = LuthierApp("serve")
    with folders.held(job):
        async with app.run_test(size=(80, 24)) as pilot:
            await ready(pilot)
            assert isinstance(app.screen, ServeScreen)
            await until(pilot, lambda: "loading the weights" in text_of(app, "#server-facts"))
            first, second = text_of(app, "#server-facts").splitlines()
            assert first.startswith("✓ starting vLLM") and first.endswith("28 s")
            assert second.startswith("◔ loading the weights") and second.endswith("20 s")


async def test_a_server_that_failed_says_why() -> None:
    job = folders.make_job("broken", 1, age=50, kind="server", log="ValueError: no room\n")
    folders.begin(job, 50)
    reason = {"title": "vLLM ended", "message": "ValueError: no room", "hint": "Give it more memory."}
    folders.write(job, folders.event("error", 10, **reason), folders.event("exited", 9, code=1, stopped=False, swept=0))
    app = LuthierApp("serve")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: "vLLM ended" in text_of(app, "#server-facts"))
        assert "Give it more memory." in text_of(app, "#server-facts") and "n starts another one" in text_of(app, "#server-facts")
        await pilot.press("e")
        assert isinstance(app.screen, ErrorModal)


async def test_the_form_marks_the_run_and_starts_the_server(made: dict[str, Job], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def serve(base: str, runs: list[Job], port: int | None) -> Job:
        asked.append((base, [run.id for run in runs], port))
        return made["captain-server"]

    monkeypatch.setattr("tui.widgets.start_server._serve", serve)
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await app.offer_server(run_id=made["captain"].id)
        await until(pilot, lambda: isinstance(app.screen, StartServerModal))
        await pilot.pause()
        form = app.screen
        assert form.query_one(Select).value == "builtin" and form.query_one(SelectionList).selected == [made["captain"].id]
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is not form)
        assert asked == [("builtin", [made["captain"].id], None)]


async def test_the_form_says_what_is_wrong(made: dict[str, Job], monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(base: str, runs: list[Job], port: int | None) -> Job:
        raise LuthierError("Port 80 is taken", "Another program listens there.", "Leave the port out.")

    monkeypatch.setattr("tui.widgets.start_server._serve", serve)
    app = LuthierApp("serve")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, StartServerModal))
        await pilot.pause()
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "Port 80 is taken" in text_of(app, "#form-error"))
        assert isinstance(app.screen, StartServerModal)


async def test_stop_and_follow_work_at_80x24(made: dict[str, Job]) -> None:
    app = LuthierApp("serve")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("home", "f", "s")
        assert isinstance(app.screen, ConfirmModal) and "whoever talks to it now is cut off" in app.screen.message
        await pilot.press("escape")
        assert isinstance(app.screen, ServeScreen) and made["captain-server"].alive()


async def test_without_a_server_the_next_key_is_named() -> None:
    app = LuthierApp("serve")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        assert "n starts one" in text_of(app, "#no-server")
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, ErrorModal))
        assert isinstance(app.screen, ErrorModal) and app.screen.error.title == "No model is ready"
