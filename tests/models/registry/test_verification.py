"""`luthier verify`: every planted forgery is red with its reason, and a healthy export is not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from jobs import job as jobs
from jobs.home import models_directory
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from jobs.worker import WorkerContext
from models import export_worker
from models.certificate import Check
from models.chapters import Chapter, write
from models.export.launch import ExportSettings
from models.hashing import file_hash
from models.verification.signature import SIGNATURE_FILE, sign
from models.verification.verify import Verification, verify
from tests.models.registry.made import model_folder, run_of
from tests.tui.certificates import certified

Plant = Callable[[Path], None]


@pytest.fixture
def export(home: Path, tmp_path: Path) -> Path:
    """A tuned model's export: certified, with a chapter."""
    run = run_of(model_folder(models_directory() / "small", licence="mit"))
    certified(run)
    check = Check("facts", "green", "Nothing was lost.", 0, 1, 2)
    write(run.directory, Chapter("guard", "", "It lost 0 of 40 items.", 0, 1, "job", [check]))
    out = tmp_path / "export"
    settings = ExportSettings("captain", "", str(out))
    job = jobs.create(Spec("export", "export", "models.export_worker", vars(settings)))
    assert export_worker.main(WorkerContext(job)) is not None
    return out


def key_pair(folder: Path, name: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    path = folder / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def red(verification: Verification) -> dict[str, str]:
    return {check.name: check.sentence for check in verification.checks if check.verdict == "red"}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def reseal(folder: Path, *names: str) -> None:
    """As a forger does who knows of the manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] |= {name: file_hash(folder / name) for name in names}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_healthy_export_has_no_wrong_claim(export: Path) -> None:
    verification = verify(export)
    assert red(verification) == {}
    assert [check.name for check in verification.faults] == ["signature"]
    assert "only a signature finds forgery" in verification.faults[0].sentence
    names = [check.name for check in verification.checks]
    assert {"files, weights", "weights of the run", "template of the run", "card"} <= set(names)
    assert "chapter, guard" in names


def flip_a_byte(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def swap_the_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    reseal(folder, "chat_template.jinja")


def edit_the_card(folder: Path) -> None:
    edit(folder / "README.md", "| 10 | 2.5000 |", "| 10 | 1.5000 |")
    reseal(folder, "README.md")


def soften_a_check(folder: Path) -> None:
    for name in ("certificate.json", "luthier.json"):
        path = folder / name
        content = json.loads(path.read_text())
        check = next(
            check
            for check in content.get("certificate", content)["checks"]
            if check["threshold"] and not check["at_least"]
        )
        check["figure"] = 10 * check["threshold"]
        path.write_text(json.dumps(content))
    reseal(folder, "certificate.json", "luthier.json")


def take_another_certificate(folder: Path) -> None:
    path = folder / "certificate.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "run": "20260101-0000-other-0000"}))
    reseal(folder, "certificate.json")


def change_the_recipe(folder: Path) -> None:
    edit(folder / "recipe.toml", "r = 4", "r = 8")
    reseal(folder, "recipe.toml")


def name_another_base(folder: Path) -> None:
    edit(folder / "adapter_config.json", '"small"', '"large"')
    reseal(folder, "adapter_config.json")


def hide_a_bad_chapter(folder: Path) -> None:
    path = folder / "chapters" / "guard.json"
    edit(path, '"figure": 0', '"figure": 9')
    reseal(folder, "chapters/guard.json")


@pytest.mark.parametrize(
    ("plant", "claim", "reason"),
    [
        (flip_a_byte, "files, weights", "adapter_model.safetensors has changed"),
        (flip_a_byte, "weights of the run", "not what the run made"),
        (swap_the_template, "template of the run", "not the one that the run trained with"),
        (edit_the_card, "card", "1.5000"),
        (soften_a_check, "certificate", "calls itself green"),
        (take_another_certificate, "certificate", "20260101-0000-other-0000"),
        (change_the_recipe, "recipe", "lora.r"),
        (name_another_base, "base", "names large"),
        (hide_a_bad_chapter, "chapter, guard", "green ends at 1"),
        (lambda folder: (folder / "x.jinja").write_text(""), "files, chat template", "x.jinja is"),
        (
            lambda folder: (folder / "model.bin").write_text("x"),
            "files, weights",
            "model.bin is new",
        ),
        (lambda folder: (folder / "modeling.py").write_text(""), "files, code", "modeling.py is"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "files, tokenizer", "is missing"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "unreadable manifest", ""),
    ],
)
def test_a_planted_fault_is_red_with_its_reason(
    export: Path, plant: Plant, claim: str, reason: str
) -> None:
    plant(export)
    faults = red(verify(export))
    assert reason in faults[claim], faults


def test_a_note_beside_the_model_is_no_forgery(export: Path) -> None:
    (export / "notes.txt").write_text("mine")
    (export / ".git").mkdir()
    (export / ".git" / "config").write_text("")
    verification = verify(export)
    assert red(verification) == {}
    assert any("notes.txt is new" in check.sentence for check in verification.faults)


def test_a_signature_finds_what_hashes_cannot(export: Path, tmp_path: Path) -> None:
    mine, other = key_pair(tmp_path, "mine"), key_pair(tmp_path, "other")
    public = sign(export, mine)
    assert verify(export, public).verdict == "green"
    unproved = verify(export)
    assert [check.name for check in unproved.faults] == ["signature"]
    assert "--key PUBLIC_KEY" in unproved.faults[0].sentence

    forged = shutil.copytree(export, tmp_path / "forged")
    edit_the_papers_alike(forged)
    assert red(verify(forged)) == {}  # every hash was made to fit
    assert "README.md" in red(verify(forged, public))["signature"]

    sign(forged, other)
    assert "Another key signed" in red(verify(forged, public))["signature"]
    (forged / SIGNATURE_FILE).unlink()
    assert "Nobody has signed" in red(verify(forged, public))["signature"]


def edit_the_papers_alike(folder: Path) -> None:
    edit(folder / "README.md", "| 10 | 2.5000 |", "| 10 | 1.5000 |")
    record = json.loads((folder / "luthier.json").read_text())
    record["losses"] = [[step, 1.5 if loss == 2.5 else loss] for step, loss in record["losses"]]
    (folder / "luthier.json").write_text(json.dumps(record))
    reseal(folder, "README.md", "luthier.json")


def test_a_forged_signature_of_the_right_name(export: Path, tmp_path: Path) -> None:
    """The fingerprint of the key can be written by anybody; the signature itself cannot."""
    mine, other = key_pair(tmp_path, "mine"), key_pair(tmp_path, "other")
    public = sign(export, mine)
    hint = json.loads((export / SIGNATURE_FILE).read_text())["verificationMaterial"]
    sign(export, other)
    forged = json.loads((export / SIGNATURE_FILE).read_text()) | {"verificationMaterial": hint}
    (export / SIGNATURE_FILE).write_text(json.dumps(forged))
    assert "was not made with the key" in red(verify(export, public))["signature"]


def test_keys_that_cannot_sign_are_said_in_words(export: Path, tmp_path: Path) -> None:
    public = sign(export, key_pair(tmp_path, "mine"))
    with pytest.raises(LuthierError, match="not a PEM file"):
        sign(export, public)
    with pytest.raises(LuthierError, match="No such file"):
        sign(export, tmp_path / "none.pem")
    with pytest.raises(LuthierError, match="not a PEM file"):
        verify(export, tmp_path / "mine.pem")


def test_it_needs_a_record(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match=r"has no luthier\.json"):
        verify(tmp_path)
    with pytest.raises(LuthierError, match="does not exist"):
        verify(tmp_path / "none")


@pytest.mark.heavy
def test_a_copy_is_verified_on_a_bare_machine(export: Path, tmp_path: Path) -> None:
    """An empty home, no network, and nothing of torch or transformers is loaded."""
    copy = shutil.copytree(export, tmp_path / "elsewhere" / "copy")
    shutil.rmtree(export)
    script = (
        "import socket, sys; from tui.cli import main\n"
        "socket.socket.connect = None\n"
        "status = 0\n"
        "sys.argv[1:] = ['verify', sys.argv[1]]\n"
        "try: main()\n"
        "except SystemExit as end: status = end.code or 0\n"
        "assert not {'torch', 'transformers', 'numpy', 'huggingface_hub'} & set(sys.modules)\n"
        "sys.exit(status)"
    )
    environment = {**os.environ, "LUTHIER_HOME": str(tmp_path / "bare"), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", script, str(copy)]
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    assert "No claim is wrong" in ended.stdout
    flip_a_byte(copy)
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 1
