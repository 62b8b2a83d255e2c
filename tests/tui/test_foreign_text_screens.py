"""No screen and no dialog paints what a terminal would obey, whatever names, answers, events and
files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.openai_server import FakeServer
from tests.tui import folders, hostile
from tests.tui.every_screen import DIALOGS, PLACES, screens
from tests.tui.lock_holder import held
from tests.tui.terminal import foreign, sent

pytestmark = pytest.mark.heavy


def test_every_screen_is_looked_at() -> None:
    assert screens() == {*DIALOGS, *PLACES}


def test_no_screen_sends_a_terminal_what_is_not_its_own(home: Path) -> None:
    with FakeServer() as server:
        made = hostile.fill(home, server)
        with held(*(made[name] for name in folders.LIVING)):
            painted = sent("tests.tui.every_screen", home=home)
    assert "Traceback" not in painted, painted[painted.index("Traceback") :]
    assert foreign(painted) == []
    # there was something to clean, and no markup
    assert painted.count("␛") > 100 and painted.count("[red]b[/]") > 20
