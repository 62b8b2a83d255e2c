"""The first minute, by the real parts: from a home without a model to a run in three keys, from a
finished run to its chat in one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.pilot import Pilot

from jobs.job import Job, stop, wait
from jobs.state import Done, Running, Starting
from models.builtin import BUILTIN
from models.registry import is_unprepared_builtin
from serve.chats.turns import ChatSettings, Complete
from serve.client import Sampling
from serve.servers import running_servers
from tests.tui.driving import ready, screen_text, text_of, until
from tui.app import LuthierApp
from tui.chat.screen import ChatScreen
from tui.new_run.screen import NewRunScreen
from tui.runs.run_screen import RunScreen

pytestmark = pytest.mark.real


@pytest.fixture
def questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and a folder with one data file, in which the app is started."""
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    folder = tmp_path / "work"
    folder.mkdir()
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"What is {number} and {number}?"},
                {"role": "assistant", "content": f"Aye, {2 * number}."},
            ]
        }
        for number in range(40)
    ]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(folder)
    return folder


async def _begun(pilot: Pilot[None]) -> Job:
    """Part of the name, Enter, Enter."""
    app = await ready(pilot)
    await until(pilot, lambda: "40 rows" in screen_text(app))
    await pilot.press(*"sums", "enter")
    await until(pilot, lambda: isinstance(app.screen, NewRunScreen))
    await until(pilot, lambda: "served" in screen_text(app))
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, RunScreen))
    assert isinstance(app.screen, RunScreen)
    return app.screen.job


@pytest.mark.usefixtures("questions")
async def test_path_enter_enter_is_a_run_that_prepares_its_model() -> None:
    app = LuthierApp("home")
    async with app.run_test(size=(120, 40)) as pilot:
        job = await _begun(pilot)
        try:
            await until(pilot, lambda: isinstance(job.state(), Running | Done))
            assert not is_unprepared_builtin(BUILTIN)
            assert isinstance(app.screen, RunScreen)
            await until(pilot, lambda: "training" in text_of(app, "#run-title"))
        finally:
            if isinstance(job.state(), Running | Starting):
                stop(job)
            assert wait(job, 120)


@pytest.mark.timeout(300)
async def test_one_key_on_a_finished_run_is_a_chat_in_which_base_and_tuned_answer(
    captain_run: Job,
) -> None:
    servers_before = {server.job.id for server in running_servers()}
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        app.open_run(captain_run)
        await until(pilot, lambda: "a chat   t certificate" in screen_text(app))
        try:
            await pilot.press("a")
            await until(pilot, lambda: isinstance(app.screen, ChatScreen))
            chat = app.screen
            assert isinstance(chat, ChatScreen)
            await until(pilot, lambda: chat.sides.display and chat.prompt.has_focus)
            chat.use_settings(ChatSettings("", Sampling(temperature=0.0, max_tokens=24)))
            await pilot.press(*"Hi", "enter")
            panes = chat.session.panes
            await until(
                pilot,
                lambda: (
                    len(panes) == 2
                    and all(
                        pane.answers and isinstance(pane.answers[0].state, Complete)
                        for pane in panes
                    )
                ),
            )
        finally:
            for server in running_servers():
                if server.job.id not in servers_before:
                    stop(server.job)
                    assert wait(server.job, 60)
        base, tuned = panes
        assert base.speaker is not None and base.speaker.kind == "base"
        assert tuned.speaker is not None and tuned.speaker.run == captain_run.id
        texts = [pane.answers[0].text for pane in panes]
        assert all(texts) and texts[0] != texts[1], texts
        for text in texts:
            assert text.split()[0] in screen_text(app)
