"""Reproducing a run: its ingredients by hash, what may be called the same, what an export lacks.
tests/real/test_reproduction.py trains."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from jobs import job as jobs
from jobs.home import models_directory
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from jobs.worker import WorkerContext
from models import export_worker
from models.certificate import Check
from models.export.launch import ExportSettings
from models.runs import Run
from tests.fakes.hub import HubServer
from tests.models.registry.made import model_folder, run_of
from trainer.resume import identity as identity_of
from trainer.resume import installed_versions, write
from workshop.reproduction import checks
from workshop.reproduction.launch import Order, read_original, start_reproduction
from workshop.reproduction.original import Original, of_folder, of_run
from workshop.reproduction.result import Reproduction
from workshop.reproduction.worker import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "talk.jsonl"
    path.write_text('{"messages": []}\n')
    return path


@pytest.fixture
def run(home: Path, data: Path) -> Job:
    base = model_folder(models_directory() / "small", licence="mit")
    job = run_of(base, data=[str(data)])
    fingerprint = {
        "recipe": {},
        "data": {str(data): identity_of(data)},
        "samples": {},
        "model": {},
        "template": "",
        "versions": installed_versions(),
        "devices": ["cpu"],
        "compute_dtype": "float32",
        "threads": 2,
    }
    write(job.directory, fingerprint)
    return job


@pytest.fixture
def export(run: Job, tmp_path: Path) -> Path:
    out = tmp_path / "export"
    job = jobs.create(
        Spec("export", "e", "models.export_worker", vars(ExportSettings("captain", "", str(out))))
    )
    export_worker.main(WorkerContext(job))
    return out


def red(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.sentence for check in checks if check.verdict == "red"}


def test_ingredients_that_are_as_they_were(run: Job) -> None:
    original = of_run(Run(run))
    assert original.recipe.train.compute_dtype == "float32"  # as it was measured then
    assert not original.recipe.certify
    assert {check.verdict for check in checks.ingredients(original)} == {"green"}


def test_each_ingredient_that_changed_is_named(run: Job, data: Path) -> None:
    original = of_run(Run(run))
    base = models_directory() / "small"
    (base / "tokenizer.json").write_text('{"a": 1}')
    (base / "chat_template.jinja").write_text("other")
    data.write_text('{"messages": [1]}\n')
    faults = red(checks.ingredients(original))
    assert faults.keys() == {"tokenizer", "chat template", "data"}
    assert "tokenizer.json has changed" in faults["tokenizer"]
    assert "talk.jsonl has changed" in faults["data"]
    with pytest.raises(LuthierError, match=r"talk\.jsonl has changed") as refusal:
        start_reproduction(Order(run.id))
    assert "--anyway" in refusal.value.hint
    assert jobs.all_jobs("reproduce") == []


def test_other_versions_are_said_and_no_obstacle(run: Job) -> None:
    original = of_run(Run(run))
    older = Original(**{**vars(original), "versions": {**original.versions, "torch": "1.0"}})
    (versions,) = [check for check in checks.ingredients(older) if check.name == "versions"]
    assert versions.verdict == "amber" and "torch was 1.0" in versions.sentence


def test_an_export_names_its_data_and_takes_it_under_any_name(
    export: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(LuthierError, match=r"talk\.jsonl \(17 bytes\)") as refusal:
        of_folder(export, [], "")
    assert "--data talk.jsonl" in refusal.value.hint
    copy = shutil.copy(data, tmp_path / "mine.jsonl")
    original = of_folder(export, [Path(copy)], "")
    assert original.recipe.data == [str(tmp_path / "mine.jsonl")]
    assert original.weights == export and original.samples is None
    assert original.recipe.train.compute_dtype == "float32" and original.recipe.lora.r == 4
    assert red(checks.ingredients(original)) == {}


def test_what_cannot_be_reproduced_says_why(run: Job, export: Path, tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match="is a run of this machine"):
        read_original(Order(run.id, data=["x.jsonl"]))
    (tmp_path / "plain").mkdir()
    with pytest.raises(LuthierError, match=r"has no luthier\.json"):
        read_original(Order(str(tmp_path / "plain")))
    record = json.loads((export / "luthier.json").read_text())
    (export / "luthier.json").write_text(json.dumps({**record, "hashes": {}}))
    with pytest.raises(LuthierError, match="no hashes of the base"):
        of_folder(export, [], "")
    with pytest.raises(LuthierError, match="exclude each other"):
        start_reproduction(Order(run.id, seed_run="x", another_seed=True))
    with pytest.raises(LuthierError, match="needs another run"):
        start_reproduction(Order(run.id, seed_run=run.id, anyway=True))
    (run.directory / "hashes.json").unlink()
    with pytest.raises(LuthierError, match="recorded no hashes"):
        of_run(Run(run))


def test_the_same_bits_and_near(run: Job, tmp_path: Path) -> None:
    original = of_run(Run(run))
    adapter = run.directory / "adapter"
    assert checks.weights(original.result, adapter)[0]
    copy = shutil.copytree(adapter, tmp_path / "copy")
    with (copy / "adapter_model.safetensors").open("ab") as file:
        file.write(b" ")
    is_equal, check = checks.weights(original.result, copy)
    assert not is_equal and "adapter_model.safetensors" in check.sentence
    verdicts = [checks.distance(nats, 0.12).verdict for nats in (0.0007, 0.06, 0.2)]
    assert verdicts == ["green", "amber", "red"]
    assert checks.distance(0.06, None).verdict == "amber"


def test_prepared_samples_are_compared_without_their_source(run: Job, tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    for folder, source, ids in ((first, "/a/x", [1, 2]), (again, "/b/y", [1, 2])):
        folder.mkdir()
        sample = {"source": {"file": source, "row": 0}, "input_ids": ids, "labels": ids}
        (folder / "train.jsonl").write_text(json.dumps(sample) + "\n")
    assert red(checks.prepared(first, again)) == {}
    (again / "train.jsonl").write_text(json.dumps({"input_ids": [1, 3], "labels": [1, 3]}) + "\n")
    assert "other tokens" in red(checks.prepared(first, again))["prepared samples"]


def test_the_headline() -> None:
    equal = Reproduction("captain", "a", "b", [], True, "c", 0.0, 0.12)
    assert equal.headline == "The same bits. Another seed is 0.1200 nats a token away."
    near = Reproduction("captain", "a", "b", [], False, "c", 0.0007, 0.12)
    assert near.headline.endswith("0.0007 nats a token apart; another seed is 0.1200 away.")


def order(source: str, data: Path) -> WorkerContext:
    settings = {"source": source, "data": [str(data)]}
    spec = Spec("reproduce", "r", "workshop.reproduction.worker", settings)
    return WorkerContext(jobs.create(spec))


def test_a_model_of_the_hub_brings_its_papers(
    server: HubServer, export: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.repositories["me/captain"] = {
        path.name: path.read_bytes() for path in export.iterdir() if path.is_file()
    }
    server.repositories["me/other"] = {"config.json": b"{}"}
    with pytest.raises(LuthierError, match=r"has no luthier\.json"):
        main(order("hub:me/other", data))
    (models_directory() / "small" / "tokenizer.json").write_text('{"a": 1}')
    context = order("hub:me/captain", data)
    with pytest.raises(LuthierError, match=r"tokenizer\.json has changed"):
        main(context)
    source = context.directory / "source"
    assert (source / "adapter_model.safetensors").read_bytes() == (
        export / "adapter_model.safetensors"
    ).read_bytes()
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    with pytest.raises(LuthierError) as refusal:
        main(order("hub:me/captain", data))
    assert "HF_HUB_OFFLINE" in refusal.value.message
