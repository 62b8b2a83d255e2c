"""vLLM's development mode, which its sleep needs: none of its real routes is reached without the
control key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(200)]


def test_only_the_control_key_opens_them_and_a_sleeping_engine_is_left_alone() -> None:
    environment = {
        **os.environ,
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
    }
    command = [sys.executable, "-m", "tests.real.dev_routes"]
    answer = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    found = {one["route"]: one for one in json.loads(answer.stdout.splitlines()[-1])}
    assert {"POST /sleep", "POST /wake_up", "GET /is_sleeping", "POST /collective_rpc"} <= set(
        found
    )
    assert {one["nobody"] for one in found.values()} == {401}
    assert {one["client"] for one in found.values()} == {403}
    reached = {
        route
        for route, one in found.items()
        if one["resting"] == "reached" and route.startswith("POST")
    }
    assert reached == {"POST /sleep", "POST /wake_up"}
