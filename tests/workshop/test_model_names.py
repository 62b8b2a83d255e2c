"""What a run is called as a model of a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.job import create
from jobs.spec import Spec
from models.runs import LONGEST_MODEL_NAME, Run
from serve.planning import check_names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mine", "mine"),
        ("my data", "my-data"),
        ('it\'s "mine" $x', "it-s-mine-x"),
        ("-new\nline-", "new-line"),
        ("x" * 60, "x" * (LONGEST_MODEL_NAME - len("@1000"))),
    ],
)
def test_a_run_of_any_name_can_be_served(
    name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data file's name becomes the run's, blanks and all."""
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path))
    run = Run(create(Spec("run", name, "trainer.worker")))
    assert run.model_name("@1000") == f"{expected}@1000"
    check_names([run.model_name(), run.model_name("@1000")], set())


def test_a_name_of_which_nothing_fits_gives_way_to_the_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path))
    run = Run(create(Spec("run", "狗", "trainer.worker")))
    assert run.model_name() == run.id
    check_names([run.model_name()], set())
