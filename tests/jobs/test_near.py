"""What a misspelt name was meant to be, asked the same way everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.home import models_directory
from jobs.job import create, find
from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean
from jobs.spec import Spec
from models import endpoints, registry
from tests.trainer.shapes import llama
from trainer.presets import find_preset
from trainer.recipe import parse
from tui.cli import luthier


def test_at_most_three_are_asked_for_the_nearest_first() -> None:
    assert did_you_mean("captan", ["parrot"]) == ""
    assert did_you_mean("captan", ["parrot", "captain", "captain"]) == "Did you mean captain? "
    assert did_you_mean("run1", ["run2", "run3", "run4", "run5"]).count("run") == 3
    assert did_you_mean("captan", ["captain", "captains"]) == "Did you mean captain or captains? "


def test_a_run_of_nearly_that_name_is_asked_for(home: Path) -> None:
    job = create(Spec(kind="run", name="captain", module="trainer.worker"))
    for text, meant in (("captan", "captain"), (f"{job.id[:-2]}zz", job.id)):
        with pytest.raises(LuthierError) as caught:
            find(text, "run")
        assert f"Did you mean {meant}? " in caught.value.hint
    error = CliRunner().invoke(luthier, ["log", "captan"]).exception
    assert isinstance(error, LuthierError) and "Did you mean captain? " in error.hint


@pytest.mark.parametrize(
    ("resolve", "meant"),
    [
        (lambda: registry.resolve("lama-8b"), "llama-8b"),
        (lambda: find_preset("mistral-7b-oast"), "mistral-7b-oasst"),
        (lambda: endpoints.remove("opnai"), "openai"),
        (lambda: parse('data = "x"\n[train]\nlr = 1e-3\n', "a.toml"), "train.learning_rate"),
        (lambda: parse('data = "x"\n[train]\nclip = 1.0\n', "a.toml"), "train.max_gradient_norm"),
        (lambda: parse('data = "x"\n[train]\nepoch = 1\n', "a.toml"), "train.epochs"),
    ],
)
def test_every_kind_of_name_is_asked_for(
    home: Path, resolve: Callable[[], object], meant: str
) -> None:
    llama(models_directory() / "llama-8b")
    (home / "config.toml").write_text('[endpoints.openai]\nurl = "https://api.openai.com/v1"\n')
    with pytest.raises(LuthierError) as caught:
        resolve()
    assert meant in caught.value.hint
