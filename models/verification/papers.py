"""Whether what an export says of itself hangs together: record, recipe, card, certificate, and the
model that they speak of. Each function answers for one claim."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs import foreign_json
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models.adapters import read_adapter
from models.certificate import CERTIFICATE_FILE, Certificate, Check
from models.certificate import read as read_certificate
from models.chapters import Chapter
from models.export.card import model_card
from models.export.files import CARD
from models.export.model_record import RECORD_FILE, Record, own_version
from models.folder import ModelFolder
from models.hashing import bytes_hash
from models.run_folder import RECIPE_FILE

_USAGE = "## Use"  # names the folder, or the hub's repository that the model was pushed to
_FIGURES = ("|", "## Certificate", "> ", "license", "base_model")
"""How a card's lines begin that claim something: rows of tables, the verdict, its reasons."""


def weights(record: Record, present: Mapping[str, str]) -> list[Check]:
    """The weights are those that the run made, or that the merge wrote."""
    by_run = record.hashes.get("adapter", {})
    recorded = record.merge.get("files", {}) if record.kind == "merged" else by_run
    expected = {name: hash_ for name, hash_ in recorded.items() if name.endswith(".safetensors")}
    if record.kind == "base":
        return []
    maker = "merge" if record.kind == "merged" else "run"
    name = f"weights of the {maker}"
    if not expected:
        return [Check(name, "amber", f"The {maker} recorded no hashes of its weights.")]
    wrong = [
        f"{file} is {'not the recorded one' if file in present else 'missing'}"
        for file, hash_ in expected.items()
        if present.get(file) != hash_
    ]
    if wrong:
        sentence = f"The weights are not what the {maker} made: {', '.join(wrong[:3])}."
        return [Check(name, "red", sentence, len(wrong), 0, 0, "differences")]
    sentence = f"The weights are byte for byte what the {maker} made."
    return [Check(name, "green", sentence, 0, 0, 0, "differences")]


def template(folder: Path, record: Record) -> list[Check]:
    """The chat template is the one that the run was trained with."""
    trained = record.hashes.get("template")
    if not trained:
        return []
    name = "template of the run"
    tokens: dict[str, Any] = record.recipe.get("tokens", {})
    if tokens.get("add") or tokens.get("template"):
        sentence = "The run brought its own tokens or template; the file hashes above vouch for it."
        return [Check(name, "green", sentence)]
    if bytes_hash((ModelFolder(folder).chat_template or "").encode()) == trained:
        return [Check(name, "green", "The chat template is the one that the run trained with.")]
    sentence = (
        "The chat template is not the one that the run trained with, so the model reads prompts"
        " that it never saw in training."
    )
    return [Check(name, "red", sentence)]


def base(folder: Path, record: Record) -> list[Check]:
    """An adapter names the base that the record names."""
    if record.kind != "tuned":
        return []
    expected = record.repository or record.base
    base_name = str(read_adapter(folder).config.get("base_model_name_or_path", ""))
    if base_name == expected:
        return [Check("base", "green", f"Adapter and record name the same base, {base_name}.")]
    sentence = f"The adapter names {base_name or 'no base'}, but the record names {expected}."
    return [Check("base", "red", sentence)]


def recipe(folder: Path, record: Record) -> list[Check]:
    """recipe.toml is the recipe of the record."""
    if not record.recipe:
        return []
    try:
        written = tomllib.loads((folder / RECIPE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return [Check("recipe", "red", f"{RECIPE_FILE} is missing.")]
    except (OSError, ValueError) as error:
        return [Check("recipe", "red", f"{RECIPE_FILE} cannot be read: {error}.")]
    keys = _differing(written, record.recipe)
    if keys:
        sentence = (
            f"{RECIPE_FILE} and {RECORD_FILE} have different values of {', '.join(keys[:3])}."
        )
        return [Check("recipe", "red", sentence)]
    return [Check("recipe", "green", f"{RECIPE_FILE} is the recipe of the record.")]


def card(folder: Path, record: Record) -> list[Check]:
    """The card says what the record says: it is written again from the record, and compared. Its
    tables and the certificate's verdict must agree; sentences may have another version's words."""
    if record.kind == "base":
        return []
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return [Check("card", "red", f"{CARD} is missing, or not UTF-8.")]
    written, expected = (_lines_of_card(card) for card in (text, model_card(record)))
    if written == expected:
        return [Check("card", "green", "The card says what the record says, figure by figure.")]
    unbacked = [line for line in written if line not in expected]
    left_out = [line for line in expected if line not in written]
    claims = [line for line in unbacked if line.startswith((*_FIGURES, "- **"))]
    claims += [line for line in left_out if line.startswith(_FIGURES)]
    line = next(iter([*claims, *unbacked, *left_out]), "its order")
    if claims and record.versions.get("luthier") == own_version():
        sentence = f"The card does not say what the record says: “{line[:160]}”."
        return [Check("card", "red", sentence)]
    sentence = (
        f"This version of Luthier words the card otherwise (“{line[:100]}”). The hash vouches for"
        " the card; the record has the figures."
    )
    return [Check("card", "amber", sentence)]


def certificate(folder: Path, record: Record) -> list[Check]:
    """The certificate is this run's, the record's, and says what its own figures say."""
    if record.kind == "base":
        return []
    written = read_certificate(folder)
    if written is None:
        if record.certificate is not None:
            return [Check("certificate", "red", f"{CERTIFICATE_FILE} is missing.")]
        return [_not_certified()]
    fault = _certificate_fault(folder, written, record)
    if fault:
        return [Check("certificate", "red", fault)]
    return [_verdict_of(written)]


def certificate_within(record: Record) -> list[Check]:
    """The same of papers that have no file of their own for it."""
    written = record.certificate
    if record.kind == "base":
        return []
    if written is None:
        return [_not_certified()]
    fault = _fault_within(written, record)
    return [Check("certificate", "red", fault) if fault else _verdict_of(written)]


def _not_certified() -> Check:
    sentence = "There is no certificate: nobody measured whether trained and served agree."
    return Check("certificate", "amber", sentence)


def _verdict_of(written: Certificate) -> Check:
    if written.verdict != "green":
        first = written.reasons[0]
        return Check("certificate", written.verdict, f"It is {written.verdict}: {first}")
    tokens = written.sample.get("tokens", 0)
    sentence = (
        f"It is green, of this run, and its {len(written.checks)} checks say what their figures say"
        f" ({tokens:,} tokens)."
    )
    return Check("certificate", "green", sentence)


def further_chapters(chapters: Sequence[Chapter]) -> list[Check]:
    """The verdict of each chapter, and that its figures bear it out."""
    checks = []
    for chapter in chapters:
        name = f"chapter, {chapter.kind}"
        wrong = _too_kind(chapter.checks)
        if wrong is not None:
            checks.append(Check(name, "red", wrong))
        else:
            checks.append(Check(name, chapter.verdict, chapter.summary))
    return checks


def versions(record: Record) -> list[Check]:
    """Training and certificate name their libraries, and the same ones."""
    trained = {key: str(value) for key, value in record.fingerprint.get("versions", {}).items()}
    measured = record.certificate.versions if record.certificate is not None else {}
    if not trained:
        return []
    changed = [
        f"{name} {trained[name]} and {version}"
        for name, version in measured.items()
        if trained.get(name, version) != version
    ]
    if changed:
        sentence = f"The certificate was measured with other versions: {', '.join(changed)}."
        return [Check("versions", "amber", sentence)]
    libraries = ", ".join(f"{name} {trained[name]}" for name in ("torch", "transformers", "peft"))
    sentence = f"Trained {'and certified ' if measured else ''}with {libraries}."
    return [Check("versions", "green", sentence)]


def _certificate_fault(folder: Path, written: Certificate, record: Record) -> str:
    """What is wrong with it as a document; "" where nothing is."""
    fault = _fault_within(written, record)
    if fault:
        return fault
    claimed = _claimed_verdict(folder)
    if claimed != written.verdict:
        return f"It calls itself {claimed}, but its checks make it {written.verdict}."
    if record.certificate is None or record.certificate.to_json() != written.to_json():
        return f"{CERTIFICATE_FILE} is not the certificate of {RECORD_FILE}."
    return ""


def _fault_within(written: Certificate, record: Record) -> str:
    if written.run != record.run:
        return (
            f"The certificate is about the run {written.run}, but this model is of the run"
            f" {record.run}."
        )
    return _too_kind(written.checks) or ""


def _claimed_verdict(folder: Path) -> str:
    try:
        return str(foreign_json.read_object(folder / CERTIFICATE_FILE).get("verdict"))
    except Damaged as error:
        raise LuthierError("certificate", error.reason, "") from error


def _too_kind(checks: list[Check]) -> str | None:
    """A check whose verdict is better than its own figure allows."""
    for check in checks:
        if check.figure is None or not math.isfinite(check.figure):
            continue
        sign = -1.0 if check.at_least else 1.0
        bounds = {"green": check.threshold, "amber": check.red}
        bound = bounds.get(check.verdict)
        if bound is not None and sign * check.figure > sign * bound:
            return (
                f"The check “{check.name}” calls itself {check.verdict} with {check.figure:g}, but"
                f" {check.verdict} ends at {bound:g}."
            )
    return None


def _differing(first: dict[str, Any], second: dict[str, Any], before: str = "") -> list[str]:
    """The keys in which two recipes differ."""
    keys = []
    for key in sorted(first.keys() | second.keys()):
        mine, other = first.get(key), second.get(key)
        if isinstance(mine, dict) and isinstance(other, dict):
            keys += _differing(mine, other, f"{before}{key}.")
        elif mine != other:
            keys.append(f"{before}{key}")
    return keys


def _lines_of_card(text: str) -> list[str]:
    """Without the section that names the folder, or the hub's repository."""
    before, heading, after = text.partition(f"\n{_USAGE}\n")
    without_usage = before + after[after.find("\n## ") :] if heading else text
    return [line.strip() for line in without_usage.splitlines() if line.strip()]
