"""The certificate in a run's folder: written, read, outdated, damaged; and the job that a run
orders."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from models import certificate
from models.certificate import Certificate, Check, Column, Verdict
from models.standing import Standing, standing


def make(run: Path, *verdicts: Verdict) -> Certificate:
    """A certificate of a run whose base lies beside it, with a check for each verdict."""
    base, adapter = run / "base", run / "adapter"
    for path in (base / "model.safetensors", base / "README.md", adapter / "adapter_config.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return Certificate(
        run=run.name,
        base=str(base),
        adapter=str(adapter),
        merged=None,
        made=1.0,
        seconds=60.0,
        sample={"turns": 2, "tokens": 300, "file": "heldout.jsonl", "conversations": 2},
        columns=[Column("base", "vLLM", 2.5, 300, 1, 2)],
        checks=[
            Check(f"check {number}", verdict, f"Reason {number}.", 1.0, 2.0)
            for number, verdict in enumerate(verdicts)
        ],
        versions={"device": "cpu"},
        files=certificate.stamps(base, adapter),
    )


def test_what_is_written_is_read_and_says_its_verdict(tmp_path: Path) -> None:
    made = make(tmp_path, "green", "amber", "red")
    certificate.write(tmp_path, made)
    assert certificate.read(tmp_path) == made
    told = json.loads((tmp_path / "certificate.json").read_text())
    assert told["verdict"] == "red"
    assert told["reasons"] == ["Reason 2.", "Reason 1."]
    assert standing(tmp_path) == Standing("red", "Reason 2.")


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [(["green", "green"], "green"), (["green", "amber"], "amber"), ([], "green")],
)
def test_the_verdict_is_the_worst_one(
    tmp_path: Path, verdicts: list[Verdict], expected: str
) -> None:
    assert make(tmp_path, *verdicts).verdict == expected


def test_none_and_damaged(tmp_path: Path) -> None:
    assert certificate.read(tmp_path) is None
    assert standing(tmp_path) == Standing(None)
    (tmp_path / "certificate.json").write_text('{"run":')
    with pytest.raises(LuthierError, match="damaged"):
        certificate.read(tmp_path)
    assert standing(tmp_path).verdict == "amber"


def test_files_that_were_touched_since_make_it_outdated(tmp_path: Path) -> None:
    certificate.write(tmp_path, make(tmp_path, "green"))
    (tmp_path / "base" / "README.md").write_text("a model needs none")
    assert standing(tmp_path) == Standing("green")
    weights = tmp_path / "base" / "model.safetensors"
    os.utime(weights, ns=(1, 1))
    assert standing(tmp_path) == Standing(
        "amber", "model.safetensors has changed since the certificate was made.", True
    )
    weights.unlink()
    assert standing(tmp_path).outdated
    certificate.write(tmp_path, make(tmp_path, "red"))
    weights.unlink()
    assert standing(tmp_path).verdict == "red"


def test_a_merge_made_since_is_not_vouched_for(tmp_path: Path) -> None:
    certificate.write(tmp_path, make(tmp_path, "green"))
    (tmp_path / "merged").mkdir()
    assert standing(tmp_path).verdict == "green"  # being made
    (tmp_path / "merged" / "config.json").write_text("{}")
    current_standing = standing(tmp_path)
    assert (current_standing.verdict, current_standing.outdated) == (
        "amber",
        True,
    ) and "newer than the certificate" in current_standing.reason


def test_the_order_is_a_spec_that_names_the_runs_own_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    spec = Spec(
        **certificate.order(
            "a-name-of-quite-some-length-that-goes-on", "{job}", "builtin", tmp_path, ["cpu"]
        )
    )
    assert (spec.kind, spec.module, spec.slots, spec.then) == (
        "certify",
        "serve.certificate.worker",
        ["cpu"],
        [],
    )
    assert spec.gpu_bytes == 0
    assert (
        Spec(**certificate.order("x", "{job}", "builtin", tmp_path, ["gpu"])).gpu_bytes
        == 6_000_001_200
    )
    assert spec.settings["run"] == "{job}"
    assert spec.name.endswith("-certificate") and len(spec.name) <= 40
