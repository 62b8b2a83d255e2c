"""Trackers: nothing unless named, and what is missing is said before a run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from trainer.recipe import parse
from trainer.run.trackers import Trackers, installed, installed_version


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages, and no wandb key anywhere."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path


def test_none_is_named_by_default() -> None:
    recipe = parse('data = ["x"]', "r.toml")
    assert recipe.trackers == Trackers([], "luthier")
    recipe.trackers.check()
    with pytest.raises(LuthierError, match=r"trackers.report_to\[0\]"):
        parse('data = ["x"]\n[trackers]\nreport_to = ["comet"]', "r.toml")


@pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is not None, reason="mlflow is installed here"
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(elsewhere: Path) -> None:
    with pytest.raises(LuthierError) as caught:
        parse('data = ["x"]\n[trackers]\nreport_to = ["mlflow"]', "r.toml").trackers.check()
    assert "names mlflow, which is not installed" in caught.value.message
    assert f"{sys.executable} -m pip install mlflow" in caught.value.hint
    assert "mlflow" not in installed()


def test_a_package_that_is_there_is_enough(elsewhere: Path) -> None:
    (elsewhere / "tensorboardX").mkdir()
    (elsewhere / "tensorboardX" / "__init__.py").touch()
    importlib.invalidate_caches()
    assert installed_version("tensorboard")
    Trackers(["tensorboard"]).check()


def test_wandb_needs_a_key_before_the_run(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "wandb.py").touch()
    importlib.invalidate_caches()
    with pytest.raises(LuthierError, match="wandb has no key"):
        Trackers(["wandb"]).check()
    monkeypatch.setenv("WANDB_MODE", "offline")
    Trackers(["wandb"]).check()
    monkeypatch.delenv("WANDB_MODE")
    (elsewhere / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    Trackers(["wandb"]).check()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    with pytest.raises(LuthierError, match="wandb has no key"):
        Trackers(["wandb"]).check()
