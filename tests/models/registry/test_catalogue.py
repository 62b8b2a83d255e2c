"""One list of base, tuned and merged models; who needs them; and removing them."""

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
from models import certificate, registry
from models.catalogue import find_entry, list_entries, remove, repository_of_base, uses
from models.description import front_matter, label_of, licence, template_label
from models.imports.launch import link
from models.merge import receipt
from models.merge.receipt import Receipt, Source
from tests.models.merge.headers import write_adapter, write_base
from tests.models.registry.made import CHATML, model_folder, run_of
from tests.tui.certificates import certified
from tests.tui.lock_holder import held


@pytest.fixture
def base() -> Path:
    folder = write_base(model_folder(models_directory() / "small", licence="apache-2.0"))
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


@pytest.fixture
def run(base: Path) -> Job:
    return run_of(base)


def merged_of(run: Job, out: Path) -> Path:
    """What `luthier merge` leaves, as far as the registry looks at it."""
    base = Path(run.spec.settings["model_directory"])
    shutil.copytree(base, out)
    made = Receipt(
        base=Source(str(base), {}),
        adapter=Source(str(run.directory / "adapter"), {}),
        into="base",
        dtype="",
        tied=False,
        stop_token_ids=[2],
        files={},
        tensors=[],
        largest_change=0.5,
        changed=1,
        copied=3,
        device="cpu",
        versions={},
        seconds=1.0,
        created=1.0,
        run=run.id,
    )
    receipt.write(out, made)
    return out


def test_all_kinds_in_one_list(run: Job, tmp_path: Path) -> None:
    certified(run)
    merged_of(run, run.directory / "merged")
    merged_of(run, models_directory() / "mine")
    write_adapter(models_directory() / "lora", base_model_name_or_path="pirates/base")
    link(str(model_folder(tmp_path / "elsewhere", licence="mit")), "linked")
    entries = {entry.name: entry for entry in list_entries()}
    assert {name: entry.kind for name, entry in entries.items()} == {
        "builtin": "base",
        "linked": "base",
        "small": "base",
        run.id: "tuned",
        "lora": "tuned",
        "mine": "merged",
        f"{run.id}/merged": "merged",
    }
    assert not entries["builtin"].ready
    tuned = entries[run.id]
    assert (tuned.title, tuned.base, tuned.rank, tuned.parameters, tuned.run) == (
        "captain",
        "small",
        4,
        80,
        run.id,
    )
    assert (
        tuned.licence == "apache-2.0"
        and str(tuned.template) == str(label_of(CHATML))
        and tuned.standing.verdict == "amber"
    )
    own = entries[f"{run.id}/merged"]
    assert (own.title, own.base, own.origin) == (
        "captain",
        "small",
        f"merged from small + {run.id}",
    ) and own.parameters == 436
    assert (
        entries["linked"].origin == f"a link to {tmp_path / 'elsewhere'}"
        and entries["linked"].licence == "mit"
    )
    assert (
        entries["lora"].base == "pirates/base"
        and repository_of_base(entries["lora"]) == "pirates/base"
    )
    json.dumps([entry.to_json() for entry in entries.values()])


def test_a_model_that_a_run_trained_as_a_whole(base: Path) -> None:
    run = run_of(base, "whole")
    shutil.rmtree(run.directory / "adapter")
    shutil.copytree(base, run.directory / "model")
    (run.directory / "model" / "card.json").write_text(
        json.dumps({"source": "trained", "base": str(base), "run": run.id})
    )
    entry = find_entry("whole")
    assert (entry.kind, entry.name, entry.title, entry.base, entry.run) == (
        "full",
        f"{run.id}/model",
        "whole",
        "small",
        run.id,
    )
    assert entry.path == registry.resolve(f"{run.id}/model")
    assert entry in list_entries()
    with pytest.raises(LuthierError, match="made"):
        remove(entry)


def test_a_merged_model_has_the_certificate_that_speaks_of_it(run: Job) -> None:
    merged = merged_of(run, run.directory / "merged")
    other = merged_of(run, models_directory() / "mine")
    made = certified(run)
    certificate.write(run.directory, type(made)(**{**vars(made), "merged": str(merged)}))
    entries = {entry.path: entry for entry in list_entries()}
    assert entries[merged].standing.verdict == "green" and entries[other].standing.verdict is None


def test_a_template_that_was_swapped_after_training_shows(run: Job, base: Path) -> None:
    (base / "chat_template.jinja").write_text("[INST] {{ messages }}")
    template = find_entry(run.id).template
    assert (
        template is not None
        and template.family == "not Mistral"
        and template.hash == label_of(CHATML).hash
    )


def test_found_by_name_by_run_and_by_part_of_an_id(run: Job) -> None:
    merged_of(run, run.directory / "merged")
    assert (
        find_entry("captain").kind
        == find_entry(run.id).kind
        == find_entry(run.id[-9:]).kind
        == "tuned"
    )
    assert find_entry("captain", "merged").path == run.directory / "merged"
    assert (
        find_entry(f"{run.id}/merged").kind == "merged"
        and find_entry(f"{run.id}/merged", "adapter").kind == "tuned"
    )
    run_of(models_directory() / "small", "captain-two")
    with pytest.raises(LuthierError, match="More than one match"):
        find_entry("captai")


def test_what_needs_a_model(run: Job, base: Path) -> None:
    merged_of(run, models_directory() / "mine")
    assert [(use.kind, use.name, use.alive) for use in uses(find_entry("small"))] == [
        ("run", "captain", False),
        ("merged", "mine", False),
    ]
    server = jobs.create(
        Spec("server", "small", "serve.worker", settings={"base": str(base), "adapters": []})
    )
    (server.directory / "lock").touch()
    assert len(uses(find_entry("small"))) == 3  # younger than ten seconds: still being started
    with held(server):
        entry = find_entry("small")
        assert any(use.kind == "server" and use.alive for use in uses(entry))
        with pytest.raises(LuthierError, match="In use"):
            remove(entry)
    assert base.is_dir()


def test_an_ended_server_needs_nothing(run: Job, base: Path) -> None:
    server = jobs.create(
        Spec("server", "small", "serve.worker", settings={"base": str(base.resolve())})
    )
    server.events_path.write_text(
        json.dumps({"t": 1.0, "kind": "exited", "code": 0, "stopped": True}) + "\n"
    )
    assert [use.kind for use in uses(find_entry("small"))] == ["run"]


def test_removing(run: Job, base: Path, tmp_path: Path) -> None:
    merged = merged_of(run, run.directory / "merged")
    elsewhere = model_folder(tmp_path / "elsewhere")
    link(str(elsewhere), "linked")
    for name in ("linked", f"{run.id}/merged", "small"):
        remove(find_entry(name))
    assert elsewhere.is_dir() and not merged.exists() and not base.exists()
    with pytest.raises(LuthierError, match="It belongs to a run"):
        remove(find_entry("captain"))
    entry = find_entry("captain")
    assert entry.base == "small" and entry.base_path is None and entry.context_length is None


def test_licences(tmp_path: Path) -> None:
    assert licence(model_folder(tmp_path / "a", licence='"llama3.1"')) == "llama3.1"
    (model_folder(tmp_path / "b") / "LICENSE.txt").write_text("\n   Apache License\n   Version 2.0")
    assert licence(tmp_path / "b") == "apache-2.0" and licence(model_folder(tmp_path / "c")) == ""
    (tmp_path / "card").write_text(
        "---\r\nlicense: other\r\nlicense_name: 'pirate'\r\n---\r\nlicense: no"
    )
    assert front_matter(tmp_path / "card") == {"license": "other", "license_name": "pirate"}


def test_template_labels(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "a")
    assert (
        str(template_label(folder)) == str(label_of(CHATML)) and label_of(CHATML).family == "ChatML"
    )
    assert (
        label_of("{{ messages }}").family == "own"
        and label_of("<start_of_turn>model").family == "Gemma"
    )
    (folder / "chat_template.jinja").unlink()
    assert template_label(folder) is None
    assert registry.describe("a", folder).ready
