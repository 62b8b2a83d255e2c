"""The command that adds a package that a library could not import."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import installation

LOCKS = Path(__file__).parents[2] / "locks"


def test_torchvision_is_the_one_that_fits_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other would bring another torch, and PyPI's cannot be imported beside a CPU's."""
    monkeypatch.setattr(installation, "fitting_set", lambda: "cpu")
    on_cpu = installation.missing_package("torchvision")
    assert "--no-deps" in on_cpu and on_cpu.endswith("whl/cpu")
    monkeypatch.setattr(installation, "fitting_set", lambda: "gpu")
    on_gpu = installation.missing_package("torchvision.transforms")
    assert on_gpu.rpartition(" ")[2] in (LOCKS / "gpu.txt").read_text().splitlines()


def test_of_a_module_the_package_is_installed() -> None:
    assert installation.missing_package("einops.layers").endswith(" einops")
