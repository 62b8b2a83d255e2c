"""What somebody may type or paste into a field by mistake ends no app, in any dialog."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.screen import Screen
from textual.widgets import Input

from tests.fakes.openai_server import FakeServer
from tests.tui import folders, hostile
from tests.tui.driving import ready
from tests.tui.every_screen import DIALOGS, painted
from tests.tui.lock_holder import held
from tui.app import LuthierApp
from tui.shared.error_modal import ErrorModal

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]

TEXTS = (
    "x" * 60_000,
    f"/{'x' * 300}/rows.jsonl",  # a name that no file system takes
    "~nobody-of-that-name/rows.jsonl",
    "http://[::1",
    "judge@http://localhost:99999/v1",
    "9" * 400,
    "1e999",
    "./pipe",  # whoever opens it waits for ever
    "./ring",  # a link to itself
    "a\0b",
    "[/bold] {0} %s",
)


@pytest.fixture
def filled(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home in which every dialog has something to show, and nothing starts."""
    monkeypatch.chdir(home)
    monkeypatch.setattr("jobs.job.start", lambda job: None)
    os.mkfifo("pipe")
    Path("ring").symlink_to("ring")
    with FakeServer() as server:
        jobs_by_name = hostile.fill(home, server)
        with held(*(jobs_by_name[name] for name in folders.LIVING)):
            yield


@pytest.mark.usefixtures("filled")
async def test_no_text_in_a_field_ends_the_app() -> None:
    app = LuthierApp()
    submitted, errors = 0, set[str]()
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        app.push_screen(Screen())
        for make in DIALOGS.values():
            dialog: Screen[Any] | None = None
            for text in TEXTS:
                if app.screen is not dialog:
                    dialog = make()
                    app.push_screen(dialog)
                    await painted(pilot)
                fields = [box for box in app.screen.query(Input) if box.region.height]
                if not fields:
                    break
                for box in fields:
                    box.value = text
                fields[0].focus()
                await pilot.press("enter", "ctrl+s")
                await app.workers.wait_for_complete()
                submitted += 1
                while app.screen is not dialog and len(app.screen_stack) > 2:
                    if isinstance(app.screen, ErrorModal):
                        errors.add(app.screen.error.title)
                    await app.pop_screen()
            while len(app.screen_stack) > 2:
                await app.pop_screen()
    assert submitted > 100
    assert not any(title.startswith("Unexpected") for title in errors)
