"""A tiny run is trained again: the same bits, and another seed is apart."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from threading import Event

import pytest

from jobs.job import Job, all_jobs
from jobs.state import Done
from models.hashing import file_hash
from models.runs import Run
from serve.certificate.models_apart import ModelsApart, measure
from serve.certificate.turns import choose_samples
from tests.real.conftest import LUTHIER
from trainer.examples import CAPTAIN
from workshop.reproduction import checks
from workshop.reproduction.result import read

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def luthier(*arguments: str) -> str:
    ended = subprocess.run([*LUTHIER, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def tiny_run(builtin_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("tiny")
    rows = (CAPTAIN / "train.jsonl").read_text().splitlines(keepends=True)[:10]
    (folder / "few.jsonl").write_text("".join(rows))
    (folder / "few.toml").write_text(
        'data = ["few.jsonl"]\nmodel = "builtin"\nname = "few"\ncertify = false\n'
        "[train]\nepochs = 1\nglobal_batch = 3\nlearning_rate = 0.001\n"
        "[heldout]\nat_least = 4\n[evaluation]\nsamples = 0\n"
    )
    luthier("train", str(folder / "few.toml"), "--follow")
    return Run.named("few").job


def test_again_is_the_same_bits_and_another_seed_is_not(tiny_run: Job) -> None:
    ended = luthier("reproduce", tiny_run.id, "--another-seed", "--json")
    result = json.loads(ended)
    assert result["same_bits"] and result["distance"] == 0.0
    assert result["seed_distance"] > 0.001
    assert result["verdict"] == "green", result["checks"]
    names = [check["name"] for check in result["checks"]]
    assert {"base weights", "data", "prepared samples", "weights", "distance"} <= set(names)
    (job,) = all_jobs("reproduce")
    assert isinstance(job.state(), Done)
    assert Run.named(result["seed_run"]).id != Run.named(result["again"]).id


def test_a_nudged_adapter_is_nearer_than_another_seed(tiny_run: Job, tmp_path: Path) -> None:
    """The runs of the reproduction above, beside a copy of the first with all of B 1 % larger."""
    import torch
    from safetensors.torch import load_file, save_file

    (job,) = all_jobs("reproduce")
    reproduction = read(job.directory)
    assert reproduction is not None
    again, seed = Run.named(reproduction.again), Run.named(reproduction.seed_run)
    nudged = shutil.copytree(Run(tiny_run).adapter(), tmp_path / "nudged")
    weights = nudged / "adapter_model.safetensors"
    tensors = load_file(weights)
    larger = {name: 1.01 * value if "lora_B" in name else value for name, value in tensors.items()}
    assert any(not torch.equal(larger[name], tensors[name]) for name in tensors)
    save_file(larger, weights, {"format": "pt"})
    assert not checks.weights({weights.name: file_hash(weights)}, again.adapter())[0]
    folders = {"original": nudged, "again": again.adapter(), "seed": seed.adapter()}
    _, samples = choose_samples(again.folder.data)
    models = {name: str(folder) for name, folder in folders.items()}
    orders = ModelsApart(str(again.base), models, "original", "cpu", samples)
    apart = measure(orders, tmp_path, Event().wait)
    assert apart is not None and not apart.problem
    assert apart.distances["original"] == 0.0
    assert 0.0 < apart.distances["again"] < 0.25 * apart.distances["seed"]
    assert apart.distances["seed"] == pytest.approx(reproduction.seed_distance, rel=0.2)
