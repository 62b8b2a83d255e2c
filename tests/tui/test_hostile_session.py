"""A session of random keys, pastes, clicks and resizes, while jobs change underneath: nothing is
raised, nothing blocks for a second, and nothing of the user's is lost.
LUTHIER_HOSTILE_SESSIONS plays more of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tui.hostile_session import play

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]

_SEEDS = range(1, 1 + int(os.environ.get("LUTHIER_HOSTILE_SESSIONS", "2")))
_STEPS = 120


@pytest.mark.parametrize("seed", _SEEDS)
def test_whatever_is_pressed(tmp_path: Path, seed: int) -> None:
    session = play(seed, _STEPS, tmp_path)
    assert not session.problems, session.report()
    assert session.done == _STEPS
