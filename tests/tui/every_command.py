"""Every command, one after the other, in one process on a terminal: `python -m
tests.tui.every_command CALLS.json`."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from unittest.mock import patch

from jobs import job as jobs
from jobs.job import Job
from trainer import launch
from tui.cli import main

BETWEEN = "---- "
CRASHED = "---- crashed: "


def run(arguments: list[str]) -> None:
    print(f"{BETWEEN}{json.dumps(arguments)}", flush=True)
    sys.argv = ["luthier", *arguments]
    try:
        main()
    except SystemExit:
        pass
    except BaseException:  # noqa: BLE001
        print(f"{CRASHED}{traceback.format_exc()!a}", flush=True)


def trained(recipe: object) -> Job:
    """A run that is over, in place of one that would take hours."""
    return jobs.find("20261118-0003-captain-00ff")


if __name__ == "__main__":
    with patch.object(launch, "train", trained), patch("tui.commands.train.prepare_model"):
        for call in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
            run(call)
